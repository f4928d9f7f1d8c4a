#![allow(clippy::unwrap_used)]
use super::*;
use nsrouter_router::{PortConfig, RouteKind, RouteNextHop, Settings};
use nsrouter_wire::eth::MacAddr;
use nsrouter_wire::frame::PortId;

const MAIN: (u32, u8) = (254, 0);

/// A table of one port, with two prefixes and an address of its own.
fn routes() -> Routes {
    let port = PortConfig {
        name: "eth".to_owned(),
        mac: MacAddr([2, 0, 0, 0, 0, 1]),
        mtu: 1500,
        addresses: vec!["10.0.0.2/24".parse().unwrap()],
        up: true,
    };
    Routes::new(Rib::new(&[port], Settings::default()).unwrap())
}

fn learned(prefix: &str) -> KernelRoute {
    let hop = RouteNextHop { port: Some(PortId(0)), via: Some("10.0.0.1".parse().unwrap()), weight: 1 };
    KernelRoute {
        prefix: prefix.parse().unwrap(),
        metric: 0,
        scope: MAIN,
        mtu: None,
        kind: Some(RouteKind::Unicast(vec![hop])),
        unsupported: None,
        lifetime_ns: None,
    }
}

fn insert(prefix: &str) -> RouteChange {
    RouteChange::Insert(InsertMode::Prepend, learned(prefix))
}

fn answer(prefixes: &[&str], is_whole: bool) -> Answer<KernelRoute> {
    Answer { found: prefixes.iter().map(|prefix| learned(prefix)).collect(), is_whole }
}

/// Runs `act` where questions can be asked, which nobody answers.
fn with_runtime(act: impl FnOnce(&mut Routes)) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async { act(&mut routes()) });
}

fn ask(routes: &mut Routes, now_ns: u64) {
    routes.ask_if_due(now_ns, pending::<Routed>);
    assert!(routes.asked.is_some());
}

/// Whether there is a learned route to the prefix.
fn has(routes: &mut Routes, prefix: &str) -> bool {
    let route = learned(prefix).route().unwrap();
    let has = routes.table.remove(Origin::Learned, &route).unwrap();
    if has {
        routes.table.insert(Origin::Learned, InsertMode::Append, &route).unwrap();
    }
    has
}

#[test]
fn what_was_told_before_the_table_was_asked_for_does_not_come_back() {
    with_runtime(|routes| {
        routes.ask_at(10);
        routes.take(insert("10.1.0.0/16"), 0, 10).unwrap();
        ask(routes, 10);
        assert!(routes.take_all(Some(&answer(&["10.2.0.0/16"], true)), 11).is_empty());
        assert!(!has(routes, "10.1.0.0/16") && has(routes, "10.2.0.0/16"));
    });
}

#[test]
fn what_is_told_while_the_answer_comes_is_newer_than_the_answer() {
    with_runtime(|routes| {
        routes.ask_at(0);
        ask(routes, 0);
        routes.take(insert("10.1.0.0/16"), 1, 11).unwrap();
        routes.take(RouteChange::Remove(learned("10.2.0.0/16")), 1, 11).unwrap();
        assert!(routes.take_all(Some(&answer(&["10.2.0.0/16"], true)), 2).is_empty());
        assert!(has(routes, "10.1.0.0/16") && !has(routes, "10.2.0.0/16"));
        assert_eq!(routes.due_ns(), None);
    });
}

#[test]
fn a_loss_while_the_answer_comes_makes_what_was_told_worthless() {
    with_runtime(|routes| {
        routes.ask_at(0);
        ask(routes, 0);
        routes.take(insert("10.1.0.0/16"), 1, 11).unwrap();
        routes.lost();
        routes.take(insert("10.3.0.0/16"), 1, 11).unwrap();
        assert!(routes.take_all(Some(&answer(&["10.2.0.0/16"], true)), 2).is_empty());
        assert!(!has(routes, "10.1.0.0/16") && !has(routes, "10.3.0.0/16") && has(routes, "10.2.0.0/16"));
        assert_eq!(routes.due_ns(), Some(11), "it is asked for again");
    });
}

#[test]
fn changes_that_wait_take_no_more_memory_than_they_may() {
    with_runtime(|routes| {
        routes.ask_at(0);
        ask(routes, 0);
        for _ in 0..=MEANWHILE {
            routes.take(insert("10.1.0.0/16"), 1, 11).unwrap();
        }
        assert_eq!(routes.meanwhile, None);
        routes.take_all(Some(&answer(&[], true)), 2);
        assert_eq!(routes.due_ns(), Some(11), "it is asked for again");
    });
}

#[test]
fn an_answer_with_gaps_takes_nothing_away() {
    with_runtime(|routes| {
        routes.take(insert("10.1.0.0/16"), 0, 10).unwrap();
        routes.take_all(Some(&answer(&["10.2.0.0/16"], false)), 2);
        assert!(has(routes, "10.1.0.0/16") && has(routes, "10.2.0.0/16"));
        routes.take_all(Some(&answer(&["10.2.0.0/16"], true)), 3);
        assert!(!has(routes, "10.1.0.0/16") && has(routes, "10.2.0.0/16"));
    });
}

#[test]
fn no_answer_changes_nothing() {
    with_runtime(|routes| {
        routes.take(insert("10.1.0.0/16"), 0, 10).unwrap();
        routes.ask_at(1);
        ask(routes, 1);
        routes.take(insert("10.2.0.0/16"), 2, 12).unwrap();
        routes.take_all(None, 3);
        assert!(has(routes, "10.1.0.0/16") && has(routes, "10.2.0.0/16"));
    });
}

#[test]
fn the_table_is_asked_for_when_a_route_ends() {
    with_runtime(|routes| {
        let mortal = KernelRoute { lifetime_ns: Some(1_000_000_000), ..learned("10.1.0.0/16") };
        routes.take(RouteChange::Insert(InsertMode::Replace, mortal.clone()), 5, 10).unwrap();
        let due = routes.due_ns().unwrap();
        assert!((1_000_000_005..1_100_000_000).contains(&due), "{due}");
        // Nothing else waits for that.
        routes.take(insert("10.2.0.0/16"), 6, 10).unwrap();
        assert!(has(routes, "10.2.0.0/16"));
        ask(routes, due);
        routes.take_all(Some(&answer(&["10.2.0.0/16"], true)), due);
        assert!(!has(routes, "10.1.0.0/16"));
        assert_eq!(routes.due_ns(), None);
    });
}

#[test]
fn what_is_not_taken_over_is_named_until_it_goes() {
    let refused = |prefix: &str| KernelRoute {
        kind: None,
        unsupported: Some(format!("route {prefix} is not taken over")),
        ..learned(prefix)
    };
    with_runtime(|routes| {
        routes.take(insert("10.1.0.0/16"), 0, 10).unwrap();
        assert_eq!(routes.take_unsupported(), None);
        routes.take(RouteChange::Insert(InsertMode::Replace, refused("10.1.0.0/16")), 0, 10).unwrap();
        assert_eq!(routes.take_unsupported().unwrap(), ["route 10.1.0.0/16 is not taken over"]);
        assert!(!has(routes, "10.1.0.0/16"), "it gave way");
        routes.take(RouteChange::Insert(InsertMode::Replace, learned("10.1.0.0/16")), 0, 10).unwrap();
        assert_eq!(routes.take_unsupported().unwrap(), [] as [&str; 0]);
        for number in 0..20 {
            let prefix = format!("10.9.{number}.0/24");
            routes.take(RouteChange::Insert(InsertMode::Prepend, refused(&prefix)), 0, 10).unwrap();
        }
        let unsupported = routes.take_unsupported().unwrap();
        assert_eq!(
            (unsupported.len(), unsupported[NAMED].as_str()),
            (NAMED + 1, "4 more routes are not taken over")
        );
        for number in 0..20 {
            let prefix = format!("10.9.{number}.0/24");
            routes.take(RouteChange::Remove(refused(&prefix)), 0, 10).unwrap();
        }
        assert_eq!(routes.take_unsupported().unwrap(), [] as [&str; 0]);
    });
}

#[test]
fn other_tables_and_types_of_service_touch_no_route_of_the_main_table() {
    with_runtime(|routes| {
        routes.take(insert("10.1.0.0/16"), 0, 10).unwrap();
        for scope in [(100, 0), (254, 16)] {
            let other =
                KernelRoute { scope, kind: None, unsupported: Some(String::new()), ..learned("10.1.0.0/16") };
            routes.take(RouteChange::Insert(InsertMode::Replace, other.clone()), 0, 10).unwrap();
            routes.take(RouteChange::Remove(other), 0, 10).unwrap();
        }
        assert!(has(routes, "10.1.0.0/16"));
        assert_eq!(routes.due_ns(), None);
    });
}
