//! Shared values, metrics and draining, against a primary that this test plays.

use std::sync::mpsc::channel;

use ipc::bus::{FromWorker, Json, MetricKind, ToWorker};

use crate::fake_primary::{LONG, joined, joined_with};

#[test]
fn a_worker_that_has_joined_has_its_shared_values() {
    for _ in 0..50 {
        let (worker, mut primary) = joined_with(Some(10));
        let (sender, seen) = channel();
        worker.on_config(move |limit: u64| {
            sender.send(limit).unwrap();
            Err("too high")
        });
        assert_eq!(seen.try_recv(), Ok(10));
        // The client may have reported them before the program asked for them.
        let refused = |said| {
            let FromWorker::Applied { version: 1, error } = said else { panic!("{said:?}") };
            error.as_deref() == Some("too high")
        };
        while !refused(primary.receive()) {}
    }
}

#[test]
fn configuration_metrics_and_draining() {
    let (worker, mut primary) = joined();
    worker.on_config(|limit: u64| if limit > 9 { Err("too high") } else { Ok(()) });
    for (version, value, error) in [(1, 5, None), (2, 10, Some("too high".to_owned()))] {
        primary.send(&ToWorker::Config { version, data: Json::of(&value).unwrap() });
        assert_eq!(primary.receive(), FromWorker::Applied { version, error });
    }
    worker.gauge("queue", 4.0, &[("kind", "mail")]).unwrap();
    let FromWorker::Metric { name, kind: MetricKind::Gauge, labels, .. } = primary.receive() else {
        panic!()
    };
    assert_eq!((name.as_str(), labels.len()), ("queue", 1));
    assert!(worker.counter("c", -1.0, &[]).is_err());
    let listener = worker.listener("127.0.0.1:0").unwrap();
    let waits = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    assert!(!worker.draining());
    let (sender, drained) = channel();
    worker.on_drain(move || sender.send(()).unwrap());
    primary.send(&ToWorker::Drain {});
    drained.recv_timeout(LONG).unwrap();
    assert!(listener.accept().unwrap().is_some(), "one waited");
    assert!(listener.accept().unwrap().is_none() && worker.draining());
    drop(waits);
}
