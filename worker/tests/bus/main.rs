//! The client against a primary that this test plays.

#![expect(clippy::unwrap_used, reason = "a test that cannot set its stage has failed")]

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use ipc::bus::codec::Codec;
use ipc::bus::decode::Decoder;
use ipc::bus::{ErrorKind, FromWorker, Json, ToWorker, WhenFull};
use worker::{Call, CallError, Worker};

use self::fake_primary::{FakePrimary, LONG, joined, peer};

mod fake_primary;
mod values;

fn subscribe(topic: &str) -> FromWorker {
    FromWorker::Subscribe { topic: topic.into(), when_full: WhenFull::DropOldest }
}

#[test]
fn events() {
    let (worker, mut primary) = joined();
    assert_eq!((worker.peer().worker, worker.is_alone()), (7, false));
    let (sender, heard) = channel();
    let also = sender.clone();
    let id = worker.on("a", move |event| sender.send(event.text().to_owned())).unwrap();
    assert_eq!(primary.receive(), subscribe("a"));
    worker.once("a", move |event| also.send(format!("once {}", event.from.worker))).unwrap();
    assert_eq!(worker.listener_count("a"), 2);
    primary.event("a", "[1]");
    assert_eq!(heard.recv_timeout(LONG).unwrap(), "[1]");
    assert_eq!(heard.recv_timeout(LONG).unwrap(), "once 9");
    // An event reaches the worker's own handlers, and the supervisor.
    worker.emit("a", &2).unwrap();
    assert_eq!(heard.recv_timeout(LONG).unwrap(), "2");
    assert_eq!(
        primary.receive(),
        FromWorker::Emit { topic: "a".into(), data: Json::of(&2).unwrap() }
    );
    worker.off(id);
    assert_eq!(primary.receive(), FromWorker::Unsubscribe { topic: "a".into() });
    assert_eq!(worker.listener_count("a"), 0);
    worker.send(3, "b", "x").unwrap();
    let data = Json::of("x").unwrap();
    assert_eq!(primary.receive(), FromWorker::Send { slot: 3, topic: "b".into(), data });
    for number in 0..100 {
        worker.emit("c", &number).unwrap();
    }
    worker.leave();
    for number in 0..100 {
        let data = Json::of(&number).unwrap();
        assert_eq!(primary.receive(), FromWorker::Emit { topic: "c".into(), data });
    }
    assert!(worker.emit("", &1).is_err() && worker.emit("t", &"x".repeat(2 << 20)).is_err());
}

#[test]
fn with_on_all_the_client_reads_no_faster_than_the_handlers_run() {
    let (worker, mut primary) = joined();
    let (sender, heard) = channel();
    worker
        .on_all("a", move |event| {
            // Slower than the events come.
            std::hint::black_box((0..2_000).sum::<u64>());
            sender.send(event.data::<u32>()?).map_err(worker::Error::from)
        })
        .unwrap();
    let subscribe = FromWorker::Subscribe { topic: "a".into(), when_full: WhenFull::Wait };
    assert_eq!(primary.receive(), subscribe);
    let count = 100_000;
    let writer = thread::spawn(move || {
        let mut bytes = Vec::new();
        for number in 0..count {
            let (topic, data) = ("a".to_owned(), Json::of(&number).unwrap());
            let event = ToWorker::Event { topic, data, from: peer(9) };
            Codec::Frames.write(&event, &mut bytes).unwrap();
        }
        primary.stream.write_all(&bytes).unwrap();
        primary
    });
    for number in 0..count {
        assert_eq!(heard.recv_timeout(LONG).unwrap(), number);
    }
    assert_eq!(worker.failures(), (0, 0));
    drop(writer.join().unwrap());
}

#[test]
fn a_handler_that_panics_or_fails_is_contained() {
    let (worker, mut primary) = joined();
    let (sender, heard) = channel();
    worker
        .on("a", |event| {
            if event.text() == "1" {
                panic!("ouch")
            }
        })
        .unwrap();
    worker.on("a", |_| Err::<(), _>("no")).unwrap();
    worker.on("a", move |event| sender.send(event.text().to_owned())).unwrap();
    for text in ["1", "2"] {
        primary.event("a", text);
        assert_eq!(heard.recv_timeout(LONG).unwrap(), text);
    }
    assert_eq!(worker.failures(), (3, 0));
}

#[test]
fn calls_have_exactly_one_end() {
    let (worker, mut primary) = joined();
    let asker = worker.clone();
    let asked = thread::spawn(move || {
        let call = Call::to("hash", "sum").timeout(Duration::from_secs(9)).retry();
        let good = asker.call_with::<u64>(&call, &[1, 2]).unwrap();
        let bad = asker.call::<u64>("hash", "sum", &()).unwrap_err();
        let over = asker.call::<u64>("hash", "sum", &()).unwrap_err();
        (good, bad, over)
    });
    let FromWorker::Call { id, pool, timeout_ms: 9000, retry: true, data, .. } = primary.receive()
    else {
        panic!()
    };
    assert_eq!((pool.as_str(), data.text()), ("hash", "[1,2]"));
    primary.send(&ToWorker::Answer { id, data: Json::of(&3).unwrap() });
    primary.send(&ToWorker::Answer { id, data: Json::of(&4).unwrap() });
    let FromWorker::Call { id, retry: false, .. } = primary.receive() else { panic!() };
    primary.send(&ToWorker::Error { id, kind: ErrorKind::Died, message: "it died".into() });
    let FromWorker::Call { .. } = primary.receive() else { panic!() };
    drop(primary);
    let (good, bad, over) = asked.join().unwrap();
    assert_eq!(good, 3);
    assert!(matches!(bad, CallError::Died(_)) && matches!(over, CallError::Alone));
    assert!(worker.is_alone());
}

#[test]
fn serving_and_triggers() {
    let (worker, mut primary) = joined();
    worker
        .serve("double", 2, |request| match request.data::<u64>()? {
            0 => Err("zero".into()),
            1 => panic!("one"),
            number => Ok::<_, worker::Error>(number * 2),
        })
        .unwrap();
    assert_eq!(primary.receive(), FromWorker::Serve { topic: "double".into(), at_once: 2 });
    worker.action("gc", |_| Ok::<_, worker::Error>("done")).unwrap();
    assert_eq!(primary.receive(), FromWorker::Action { name: "gc".into() });
    let mut call = |id, topic: &str, data: u64| {
        let (topic, data, timeout_ms) = (topic.to_owned(), Json::of(&data).unwrap(), 1000);
        primary.send(&ToWorker::Call { id, topic, data, from: peer(9), timeout_ms });
        primary.receive()
    };
    assert_eq!(call(1, "double", 21), FromWorker::Answer { id: 1, data: Json::of(&42).unwrap() });
    assert_eq!(call(2, "double", 0), FromWorker::Fail { id: 2, message: "zero".into() });
    assert_eq!(
        call(3, "double", 1),
        FromWorker::Fail { id: 3, message: "it panicked: one".into() }
    );
    assert!(matches!(call(4, "half", 1), FromWorker::Fail { id: 4, .. }));
    primary.send(&ToWorker::Trigger { id: 5, action: "gc".into(), data: Json::default() });
    assert_eq!(primary.receive(), FromWorker::Answer { id: 5, data: Json::of("done").unwrap() });
}

#[test]
fn a_worker_that_is_refused_does_not_join() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let join = thread::spawn(|| Worker::over(theirs, "").map(drop));
    let mut primary = FakePrimary { stream: ours, decoder: Decoder::default() };
    primary.receive();
    primary.send(&ToWorker::Refused { reason: "too old".into() });
    drop(primary);
    let error = join.join().unwrap().unwrap_err().to_string();
    assert_eq!(error, "cannot join the supervisor's bus: too old");
}

#[cfg(feature = "tokio")]
#[test]
fn futures() {
    let (worker, mut primary) = joined();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let play = thread::spawn(move || {
        let FromWorker::Call { id, .. } = primary.receive() else { panic!() };
        primary.send(&ToWorker::Answer { id, data: Json::of(&5).unwrap() });
        primary.send(&ToWorker::Drain {});
        primary
    });
    runtime.block_on(async {
        let listener = worker.tokio_listener("127.0.0.1:0").unwrap();
        let answer: u64 = worker.call_async(&Call::to("", "x"), &1).await.unwrap();
        worker.drained().await;
        assert_eq!(answer, 5);
        let address = listener.local_addr().unwrap();
        let connect = thread::spawn(move || std::net::TcpStream::connect(address));
        listener.accept().await.unwrap();
        drop(connect.join());
    });
    drop(play.join());
}

#[test]
fn a_new_primary_gets_the_registrations_again() {
    let (worker, mut primary) = joined();
    worker.on_all("a", |_| ()).unwrap();
    worker.serve("sum", 2, |_| Ok::<_, CallError>(1)).unwrap();
    worker.serve("old", 1, |_| Ok::<_, CallError>(1)).unwrap();
    worker.unserve("old").unwrap();
    for _ in 0..4 {
        primary.receive();
    }
    let caller = worker.clone();
    let call = thread::spawn(move || caller.call::<u8>("hash", "sum", &1));
    let FromWorker::Call { .. } = primary.receive() else { panic!() };
    primary.send(&ToWorker::Resumed {});
    assert!(matches!(call.join().unwrap(), Err(CallError::Lost(_))));
    let topic = |name: &str| name.to_owned();
    assert_eq!(
        [primary.receive(), primary.receive()],
        [
            FromWorker::Subscribe { topic: topic("a"), when_full: WhenFull::Wait },
            FromWorker::Serve { topic: topic("sum"), at_once: 2 },
        ]
    );
    worker.emit("b", &1).unwrap();
    assert!(matches!(primary.receive(), FromWorker::Emit { .. }));
}

#[test]
fn a_thread_that_waits_for_an_answer_reads_for_all() {
    let (worker, mut primary) = joined();
    let (sender, heard) = channel();
    worker.on("a", move |event| sender.send(event.text().to_owned())).unwrap();
    let asker = worker.clone();
    worker
        .serve("sum", 1, move |request| {
            // The handler's own call is answered while it works.
            Ok::<_, worker::Error>(request.data::<u64>()? + asker.call::<u64>("x", "more", &0)?)
        })
        .unwrap();
    let values = std::sync::Arc::new(std::sync::Mutex::new(0));
    let (applies, held) = (values.clone(), values.clone());
    worker.on_config(move |limit: u64| {
        *applies.lock().unwrap() = limit;
        Ok::<_, String>(())
    });
    primary.receive();
    primary.receive();
    // It holds the lock that the handler of the values wants, until its answer has come.
    let asker = worker.clone();
    let call = thread::spawn(move || {
        let held = held.lock().unwrap();
        let answer = asker.call::<u64>("x", "first", &1).unwrap();
        (*held, answer)
    });
    let FromWorker::Call { id: first, .. } = primary.receive() else { panic!() };
    primary.send(&ToWorker::Config { version: 1, data: Json::of(&7).unwrap() });
    for round in 0..50 {
        primary.event("a", "[1]");
        assert_eq!(heard.recv_timeout(LONG).unwrap(), "[1]");
        let (topic, data) = ("sum".to_owned(), Json::of(&round).unwrap());
        primary.send(&ToWorker::Call { id: 9, topic, data, from: peer(9), timeout_ms: 1000 });
        let FromWorker::Call { id, topic, .. } = primary.receive() else { panic!() };
        assert_eq!(topic, "more");
        primary.send(&ToWorker::Answer { id, data: Json::of(&100).unwrap() });
        let data = Json::of(&(round + 100)).unwrap();
        assert_eq!(primary.receive(), FromWorker::Answer { id: 9, data });
    }
    primary.send(&ToWorker::Answer { id: first, data: Json::of(&5).unwrap() });
    assert_eq!(call.join().unwrap(), (0, 5));
    assert_eq!(primary.receive(), FromWorker::Applied { version: 1, error: None });
    assert_eq!(*values.lock().unwrap(), 7);
}

#[test]
fn many_threads_call_and_every_call_ends() {
    let (worker, mut primary) = joined();
    worker.serve("mine", 2, |request| request.data::<u64>()).unwrap();
    primary.receive();
    let (threads, calls) = (8, 300);
    let callers: Vec<_> = (0..threads)
        .map(|_| {
            let worker = worker.clone();
            thread::spawn(move || {
                for number in 0..calls {
                    assert_eq!(worker.call::<u64>("x", "echo", &number).unwrap(), number);
                }
            })
        })
        .collect();
    let (mut answered, mut served) = (0, 0);
    while answered < threads * calls {
        match primary.receive() {
            FromWorker::Call { id, data, .. } => {
                primary.send(&ToWorker::Answer { id, data });
                answered += 1;
                if answered % 5 == 0 {
                    let (topic, data) = ("mine".to_owned(), Json::of(&answered).unwrap());
                    let (id, from) = (answered, peer(9));
                    primary.send(&ToWorker::Call { id, topic, data, from, timeout_ms: 1000 });
                }
            }
            FromWorker::Answer { .. } | FromWorker::Fail { .. } => served += 1,
            other => panic!("{other:?}"),
        }
    }
    callers.into_iter().for_each(|caller| caller.join().unwrap());
    while served < threads * calls / 5 {
        let (FromWorker::Answer { .. } | FromWorker::Fail { .. }) = primary.receive() else {
            panic!()
        };
        served += 1;
    }
    // A thread reads no longer than to its deadline.
    let call = Call::to("x", "nobody").timeout(Duration::from_millis(1));
    assert!(matches!(worker.call_with::<u8>(&call, &1), Err(CallError::TimedOut(_))));
}
