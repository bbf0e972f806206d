//! What a flow publishes for other processes.

use mailring::flow::{Flow, Resources};
use mailring_process::live::{Kind, PageError, Reading, WriterState, read_file, read_segment};
use testkit::eventually;
use testkit::flow::{Gate, hold};

fn reading(name: &str, wanted: impl Fn(&Reading) -> bool) -> Reading {
    let mut found = None;
    eventually("the page says so", || {
        found = read_segment(name).ok().filter(|reading| wanted(reading));
        found.is_some()
    });
    found.unwrap()
}

pub(crate) fn what_runs_and_what_waits() {
    let name = format!("test-flow-live-{}", std::process::id());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("page");
    let builder = Flow::builder().workers("cpu", 1, Resources::cpus(1.0)).memory(64 << 20);
    let flow = builder.publish(&name).post_mortem(&file).build().unwrap();
    let gate = Gate::new();
    let first = hold::remote(&flow, gate.path(), "a").unwrap();
    gate.await_begun(1);
    let second = hold::remote(&flow, gate.path(), "b").unwrap();
    let wide = hold::options().cpus(1.0).remote(&flow, gate.path(), "c").unwrap();
    let seen = reading(&name, |reading| {
        let running = reading.status.workers.iter().filter_map(|worker| worker.work.as_ref());
        running.count() == 1 && !reading.status.waiting.is_empty()
    });
    assert_eq!((seen.status.kind, seen.writer), (Kind::Flow, WriterState::Alive));
    let worker = seen.status.workers.iter().find(|worker| worker.work.is_some()).unwrap();
    assert!(worker.work.as_ref().unwrap().function.contains("hold"), "{worker:?}");
    assert!(worker.resources.contains("free of"), "{worker:?}");
    assert_eq!(worker.name, "cpu/0");
    let waiting: u64 = seen.status.waiting.iter().map(|one| one.count).sum();
    assert_eq!((waiting, seen.status.totals.submitted), (2, 3), "{:?}", seen.status.waiting);
    gate.open();
    for held in [first, second, wide] {
        assert!(held.get().unwrap());
    }
    reading(&name, |reading| reading.status.totals.completed == 3);
    drop(flow);
    assert!(matches!(read_segment(&name), Err(PageError::Missing(_))));
    assert_eq!(read_file(&file).unwrap().writer, WriterState::Ended);
}

pub(crate) fn names_that_cannot_be() {
    for name in ["", "a/b"] {
        let builder = Flow::builder().workers("cpu", 1, Resources::cpus(1.0)).memory(64 << 20);
        let error = builder.publish(name).build().err().unwrap();
        assert!(error.to_string().contains("invalid name"), "{error}");
    }
}
