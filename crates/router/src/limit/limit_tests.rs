use super::*;

const SECOND: u64 = 1_000_000_000;

#[test]
fn six_at_once_then_one_a_second_by_destination() {
    let settings = Settings::default();
    let limits = Limits::new(1);
    let allowed =
        |destination, at| (0..20).filter(|_| limits.allow(destination, SECOND, &settings, at)).count();
    assert_eq!(allowed(1, 0), 6);
    assert_eq!(allowed(2, 0), 6, "another destination has its own");
    assert_eq!(allowed(1, SECOND), 1);
    assert_eq!(allowed(1, SECOND + 999_999_999), 0);
    assert_eq!(allowed(1, 100 * SECOND), 6);
}

#[test]
fn errors_by_look_up_pay_twice_from_one_token_balance_as_in_linux() {
    let settings = Settings::default();
    let limits = Limits::new(1);
    let both =
        |limits: &Limits, at| limits.allow_lookup_error(1, at) && limits.allow(1, SECOND, &settings, at);
    assert_eq!((0..20).filter(|_| both(&limits, 0)).count(), 2, "of five, two each; one alone buys none");
    assert!(!limits.allow(1, SECOND, &settings, 0));
    // Asking too often keeps a sender poor: the first charge is lost when the second cannot be paid.
    assert_eq!((1..100).filter(|third| both(&limits, third * SECOND / 3)).count(), 0);
    assert_eq!((0..20).filter(|_| both(&limits, 100 * SECOND)).count(), 2);
    // Others first: six, of which two are left after the third of four.
    let limits = Limits::new(1);
    assert!((0..2).all(|_| limits.allow(1, SECOND, &settings, 0)));
    assert_eq!((0..20).filter(|_| both(&limits, 0)).count(), 2);
}

#[test]
fn fifty_at_once_to_all_then_a_thousand_a_second() {
    let settings = Settings::default();
    let limits = Limits::new(1);
    let spread = |base: u128, at| (0..5000).filter(|i| limits.allow(base + i, SECOND, &settings, at)).count();
    assert_eq!(spread(0, 0), 50);
    assert_eq!(spread(10_000, SECOND / 100), 10);
}

#[test]
fn workers_share_the_limits() {
    let settings = &Settings::default();
    let limits = Limits::new(1);
    let workers = [limits.clone(), limits];
    let granted = |destination: fn(usize) -> u128, at| -> usize {
        std::thread::scope(|scope| {
            let threads = workers.iter().map(|limits| {
                scope.spawn(move || {
                    (0..5000).filter(|i| limits.allow(destination(*i), SECOND, settings, at)).count()
                })
            });
            let threads: Vec<_> = threads.collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        })
    };
    assert_eq!(granted(|_| 1, 0), 6, "of one destination");
    assert_eq!(granted(|i| 10 + i as u128, SECOND), 50, "of all");
    assert_eq!(granted(|i| 10_000 + i as u128, SECOND + SECOND / 100), 10, "of all, later");
    assert!(workers[0].allow_redirect4(1, 0));
    assert!(!workers[1].allow_redirect4(1, 0));
}

#[test]
fn redirects_come_at_growing_intervals_and_end() {
    let limits = Limits::new(1);
    let mut sent_at = Vec::new();
    for ms in 0..30_000 {
        if limits.allow_redirect4(1, ms * 1_000_000) {
            sent_at.push(ms);
        }
    }
    assert_eq!(sent_at, [0, 41, 122, 283, 604, 1245, 2526, 5087, 10_208]);
    assert!(limits.allow_redirect4(2, 0), "another host has its own");
    assert!(!limits.allow_redirect4(1, 30 * SECOND));
    assert!(limits.allow_redirect4(1, 51 * SECOND), "silent long enough");
}

#[test]
fn limits_can_be_switched_off() {
    let settings = Settings { icmp_total_per_s: 0, ..Settings::default() };
    let limits = Limits::new(1);
    assert!((0..1000).all(|_| limits.allow(1, 0, &settings, 0)));
}
