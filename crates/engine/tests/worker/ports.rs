//! Ports that are added and removed while the engine runs.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use nsrouter_engine::userspace::{OpenPort, PortError, Userspace};
use nsrouter_engine::{PortHandle, PortId};
use nsrouter_rings::memory::{Stored, Wire};
use nsrouter_rings::port::{Burst, Receive, Received};

use crate::testbed::*;

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Adds a port of network `number`; its wires, one a worker.
fn add(engine: &Userspace, number: u16, workers: usize) -> (PortHandle, Vec<Wire>) {
    let (sender, wires) = mpsc::channel();
    let added = wait(engine.add_port(move |slot| -> Result<OpenPort, io::Error> {
        let (open, wires) = open_port(slot, number, workers, 1000);
        sender.send(wires).unwrap();
        Ok(open)
    }));
    (added.unwrap(), wires.recv().unwrap())
}

/// Forwards frames from the first network to the second, a few at a time, until `stop`: none is lost, none is
/// late. Returns how many there were.
fn pump(left: &Wire, right: &Wire, stop: &AtomicBool) -> u64 {
    let mut frames = 0;
    let mut sequence = 0u16;
    while !stop.load(Ordering::Relaxed) {
        let first = sequence;
        for _ in 0..8 {
            left.put(packet(1, 64, sequence));
            sequence = sequence.wrapping_add(1);
        }
        for number in 0..8 {
            let expected = first.wrapping_add(number).to_be_bytes();
            // The host answers, however long this takes.
            let frame = poll("a frame", || {
                let frame = right.take()?;
                let is_request = is_arp_request(&frame);
                is_request.then(|| right.put(arp(1, 2)));
                (!is_request).then_some(frame)
            });
            assert_eq!(frame.bytes[42..44], expected);
            frames += 1;
        }
    }
    frames
}

#[test]
fn a_port_comes_and_goes_while_others_forward() {
    let (engine, [left, right]) = engine(1000);
    introduce(&engine, &right, 1);
    introduce(&engine, &left, 0);
    let stop = AtomicBool::new(false);
    let pumped = std::thread::scope(|scope| {
        let pump = scope.spawn(|| pump(&left, &right, &stop));
        for round in 0..5u32 {
            let (port, wires) = add(&engine, 2, 1);
            assert_eq!(port, PortHandle { slot: PortId(2), generation: round });
            let [third] = &wires[..] else { panic!("one worker") };
            introduce(&engine, third, 2);
            // From the third network to the second, beside the pump's frames: the router's own address there
            // answers.
            third.put(echo_request([10, 0, 2, 254], u16::try_from(round).unwrap()));
            let reply = next_frame(third);
            assert_eq!((reply.bytes[34], &reply.bytes[30..34]), (0, &[10, 0, 3, 1][..]), "echo reply");
            let status = engine.status();
            assert_eq!(status.ports[2].name, "port2");
            assert!(status.ports[2].up);
            assert_eq!(
                (status.ports[2].rx_frames, status.ports[2].tx_frames),
                (2, 2),
                "its own frames alone"
            );
            wait(engine.remove_port(port)).unwrap();
            assert_eq!(engine.status().ports.len(), 2);
            assert_eq!(engine.port("port2"), None);
        }
        stop.store(true, Ordering::Relaxed);
        pump.join().unwrap()
    });
    let counters = engine.counters();
    assert_eq!((counters.departed.rx_frames, counters.departed.tx_frames), (10, 10));
    let status = stop_engine(engine);
    assert_eq!((status.totals.dropped, status.totals.held), (0, 0), "{status:#?}");
    assert_eq!(status.ports[0].rx_frames, pumped + 1);
}

/// An ICMP echo request of the third network's host.
fn echo_request(to: [u8; 4], sequence: u16) -> Stored {
    let mut bytes = Vec::new();
    etherparse::PacketBuilder::ethernet2(HOST[0], ROUTER[0])
        .ipv4([10, 0, 3, 1], to, 64)
        .icmpv4_echo_request(7, sequence)
        .write(&mut bytes, &[1, 2, 3])
        .unwrap();
    Stored { bytes, offload: nsrouter_wire::offload::Offload::default() }
}

/// What a port had in hand when it was removed is dropped and counted, and nothing of it leaves by the next
/// port of its slot.
fn nothing_of_a_removed_port_is_left(workers: usize) {
    let (engine, wires) = engine_of(workers, 1000);
    let lefts = &wires[..workers];
    let (old, old_wires) = add(&engine, 2, workers);
    // Frames for a neighbour that is known, and for three that do not answer.
    introduce(&engine, &old_wires[0], 2);
    let mut known = 0u64;
    let mut unknown = 0u64;
    for (left, sequence) in lefts.iter().cycle().zip(0..90) {
        left.put(packet_to([10, 0, 3, 1], 64, sequence));
        known += 1;
        if sequence % 3 == 0 {
            left.put(packet_to([10, 0, 3, 10 + u8::try_from(sequence % 9).unwrap()], 64, sequence));
            unknown += 1;
        }
    }
    // Some frames are still in flight when the port goes.
    let removed = engine.remove_port(old);
    for (left, sequence) in lefts.iter().cycle().zip(0..40) {
        left.put(packet_to([10, 0, 3, 1], 64, sequence));
        known += 1;
    }
    old_wires.iter().for_each(|wire| wire.put(arp(2, 2)));
    wait(removed).unwrap();
    assert!(matches!(wait(engine.remove_port(old)), Err(PortError::NoSuchPort(port)) if port == old));
    // All that came in for the old network is accounted for.
    poll("the frames are forwarded or dropped", || {
        let received: u64 = engine.status().ports[0].rx_frames;
        (received == known + unknown && engine.status().totals.held == 0).then_some(())
    });
    let old_frames: u64 =
        old_wires.iter().map(|wire| std::iter::from_fn(|| wire.take()).count() as u64).sum();
    let counters = engine.counters();
    assert_eq!(
        counters.departed.tx_frames,
        old_frames + 1,
        "all that left by the old port, and the first answer"
    );
    let status = engine.status();
    let dropped: u64 = ["port_down", "neighbour_failed", "no_route"]
        .iter()
        .filter_map(|reason| status.drops.get(*reason))
        .sum();
    assert_eq!(status.totals.dropped, dropped, "{status:#?}");
    assert!(status.totals.dropped >= unknown, "{status:#?}");
    assert!(status.neighbours.iter().all(|entry| entry.port != "port2"), "{status:#?}");

    let (new, new_wires) = add(&engine, 3, workers);
    assert_eq!(new, PortHandle { slot: old.slot, generation: old.generation + 1 });
    let row = engine.status().ports[2].clone();
    assert_eq!((row.name.as_str(), row.rx_frames, row.tx_frames, row.tx_dropped), ("port3", 0, 0, 0));
    introduce(&engine, &new_wires[0], 3);
    for (left, sequence) in lefts.iter().cycle().zip(0..20) {
        left.put(packet_to([10, 0, 4, 1], 64, sequence));
        left.put(packet_to([10, 0, 3, 1], 64, sequence));
    }
    // Frames of both kinds that come out, to the new network alone.
    let mut sequences = BTreeSet::new();
    poll("the frames", || {
        while let Some(frame) = new_wires.iter().find_map(Wire::take) {
            assert!(!is_arp_request(&frame), "{frame:?}");
            assert_eq!(frame.bytes[30..34], [10, 0, 4, 1]);
            sequences.insert(u16::from_be_bytes([frame.bytes[42], frame.bytes[43]]));
        }
        (sequences.len() == 20).then_some(())
    });
    assert_eq!(old_wires.iter().find_map(Wire::take), None);
    let counters = engine.counters();
    let sums = counters.ports.iter().chain([&counters.departed]);
    let sums = sums.fold((0, 0), |sums, port| (sums.0 + port.rx_frames, sums.1 + port.tx_frames));
    assert_eq!(sums, (counters.received, counters.sent));
    let status = stop_engine(engine);
    assert_eq!(status.ports[2].tx_frames, 21, "the ARP reply among them");
}

#[test]
fn nothing_of_a_removed_port_is_left_to_the_next_one() {
    nothing_of_a_removed_port_is_left(1);
}

#[test]
fn nothing_of_a_removed_port_is_left_to_the_next_one_by_two_workers() {
    nothing_of_a_removed_port_is_left(2);
}

#[test]
fn a_port_of_the_start_is_removed_with_its_pending_frames() {
    let (engine, [left, right]) = engine(1000);
    introduce(&engine, &left, 0);
    (0..5).for_each(|sequence| left.put(packet(9, 64, sequence)));
    poll("they are held", || (engine.status().totals.held == 5).then_some(()));
    let port = engine.port("port1").unwrap();
    wait(engine.remove_port(port)).unwrap();
    let status = engine.status();
    assert_eq!((status.totals.held, status.drops.get("port_down")), (0, Some(&5)), "{status:#?}");
    // There is no way to its network any more.
    left.put(packet(9, 64, 0));
    let error = next_frame(&left);
    assert_eq!((error.bytes[23], error.bytes[34], error.bytes[35]), (1, 3, 0), "net unreachable");
    right.put(arp(1, 1));
    assert!(
        std::iter::from_fn(|| right.take()).all(|frame| is_arp_request(&frame)),
        "only the old questions"
    );
    stop_engine(engine);
}

#[test]
fn a_port_that_cannot_be_opened_leaves_its_slot() {
    let (engine, _wires) = engine_of(2, 1000);
    let error = wait(engine.add_port(|_| Err::<OpenPort, _>("no such interface"))).unwrap_err();
    assert!(matches!(&error, PortError::Open(why) if why.to_string() == "no such interface"), "{error}");
    let error = wait(engine.add_port(|slot| Ok::<_, io::Error>(open_port(slot, 2, 1, 10).0))).unwrap_err();
    assert!(matches!(error, PortError::Queues { queues: 1, workers: 2, .. }), "{error}");
    let error =
        wait(engine.add_port(|_| -> Result<OpenPort, io::Error> { panic!("in the opener") })).unwrap_err();
    assert!(matches!(error, PortError::Open(_)), "{error}");
    let (port, _wires) = add(&engine, 2, 2);
    assert_eq!(port.slot, PortId(2));
    stop_engine(engine);
}

/// A ring that no worker can sleep on: its descriptor is a regular file's (epoll_ctl(2), EPERM).
struct Unpollable(File);

impl Receive for Unpollable {
    fn recv<'r>(&'r mut self, _: usize, _: &mut Burst<'r>) -> io::Result<Received> {
        Ok(Received::default())
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn polls_without_syscall(&self) -> bool {
        false
    }

    fn take_error(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn take_lost_frames(&mut self) -> u64 {
        0
    }
}

#[test]
fn a_port_that_one_worker_cannot_take_over_is_taken_from_the_others() {
    let (engine, wires) = engine_of(2, 1000);
    let error = wait(engine.add_port(|slot| {
        let (mut open, _) = open_port(slot, 2, 2, 10);
        open.queues[1].rx = Box::new(Unpollable(tempfile::tempfile()?));
        Ok::<_, io::Error>(open)
    }));
    assert!(matches!(&error, Err(PortError::Wait { worker: 1, name, .. }) if name == "port2"), "{error:?}");
    assert_eq!(engine.status().ports.len(), 2);
    let (port, third) = add(&engine, 3, 2);
    assert_eq!(port.slot, PortId(2), "free again");
    introduce(&engine, &third[0], 3);
    for (left, sequence) in wires[..2].iter().zip(0..) {
        left.put(packet_to([10, 0, 4, 1], 64, sequence));
        poll("a frame", || third.iter().find_map(Wire::take).filter(|frame| !is_arp_request(frame)));
    }
    stop_engine(engine);
}

#[test]
fn a_worker_that_ended_keeps_no_port_from_coming_or_going() {
    let (engine, wires) = engine_of(2, 1000);
    let (before, _wires) = add(&engine, 2, 2);
    wires[1].put(Stored { bytes: vec![FATAL; 60], offload: nsrouter_wire::offload::Offload::default() });
    poll("the worker's end", || engine.status().workers[1].ended.then_some(()));
    wait(engine.remove_port(before)).unwrap();
    let (port, third) = add(&engine, 3, 2);
    assert_eq!(port, PortHandle { generation: before.generation + 1, ..before });
    introduce(&engine, &third[0], 3);
    wires[0].put(packet_to([10, 0, 4, 1], 64, 7));
    assert_eq!(next_frame(&third[0]).bytes[42..44], [0, 7]);
    stop_engine(engine);
}

#[test]
fn requests_of_a_stopped_engine_are_refused() {
    let (engine, _wires) = engine(1000);
    let port = engine.port("port0").unwrap();
    let removed = engine.remove_port(port);
    let opened = engine.add_port(|slot| Ok::<_, io::Error>(open_port(slot, 2, 1, 10).0));
    wait(removed).unwrap();
    assert!(wait(opened).is_ok());
    let late = engine.remove_port(PortHandle { slot: PortId(900), generation: 0 });
    assert!(matches!(wait(late), Err(PortError::NoSuchPort(_))));
    stop_engine(engine);
}
