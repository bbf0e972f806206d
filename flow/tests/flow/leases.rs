//! What tasks hold while they run, how it comes back, and attempts after errors.

use std::fmt;
use std::time::Duration;

use mailring::flow::{Cancel, Cause, Flow, Pending, Resources, node};
use serde::{Deserialize, Serialize};
use testkit::eventually;
use testkit::flow::{Files, Gate, all_free, append, failed, flow, hold, lines};

pub(crate) fn ten_tenths_are_one_cpu() {
    let flow = flow(1);
    let gate = Gate::new();
    let tenth = hold::options().cpus(0.1);
    let all: Vec<_> =
        (0..11).map(|n| tenth.remote(&flow, gate.path(), format!("{n}")).unwrap()).collect();
    gate.await_begun(10);
    assert_eq!(flow.workers().unwrap()[0].free, "cpus 0", "all of it, exactly");
    match flow.pending(&all[10]).unwrap() {
        Pending::Resources { needs, free } => {
            assert_eq!(needs, "cpus 0.1");
            assert_eq!(free, "cpu/0: cpus 0");
        }
        other => panic!("{other:?}"),
    }
    assert!(!all[10].wait_timeout(Duration::from_millis(50)));
    assert_eq!(gate.begun().len(), 10, "there is no room for one more");
    gate.open_for("4");
    gate.await_begun(11);
    gate.open();
    assert_eq!(flow.get_all(&all), Ok(vec![true; 11]));
    all_free(&flow);
    assert_eq!(flow.workers().unwrap()[0].free, "cpus 1", "and back without rounding");
}

pub(crate) fn labels_are_held_on_one_worker() {
    let flow = Flow::builder()
        .workers("lab", 2, Resources::cpus(4.0).with("board", 0.75))
        .memory(64 << 20)
        .build()
        .unwrap();
    let gate = Gate::new();
    let half = hold::options().resource("board", 0.5);
    let all: Vec<_> =
        (0..3).map(|n| half.remote(&flow, gate.path(), format!("{n}")).unwrap()).collect();
    gate.await_begun(2);
    // A quarter is left on each, which together would do.
    assert!(matches!(flow.pending(&all[2]), Ok(Pending::Resources { .. })));
    let free: Vec<_> = flow.workers().unwrap().into_iter().map(|worker| worker.free).collect();
    assert_eq!(free, ["cpus 3, board 0.25"; 2]);
    gate.open();
    assert_eq!(flow.get_all(&all), Ok(vec![true; 3]));
    all_free(&flow);
}

pub(crate) fn a_task_without_cpus_runs_beside_others() {
    let flow = flow(1);
    let gate = Gate::new();
    let full = hold::remote(&flow, gate.path(), "full").unwrap();
    gate.await_begun(1);
    let light = hold::options().cpus(0.0).remote(&flow, gate.path(), "light").unwrap();
    gate.await_begun(2);
    gate.open();
    assert_eq!((full.get(), light.get()), (Ok(true), Ok(true)));
}

// ---- given back ---------------------------------------------------------------------------------

#[node(resources(board = 1), max_retries = 0)]
fn ends(how: &str) -> Result<(), String> {
    match how {
        "error" => return Err("on purpose".to_owned()),
        "panic" => panic!("on purpose"),
        // SAFETY: passes no pointers; ends this process.
        "death" => unsafe {
            libc::kill(libc::getpid(), libc::SIGKILL);
        },
        _ => {}
    }
    Ok(())
}

pub(crate) fn resources_come_back_however_a_task_ends() {
    let flow = Flow::builder()
        .workers("lab", 1, Resources::cpus(1.0).with("board", 1.0))
        .memory(64 << 20)
        .build()
        .unwrap();
    for round in 0..3 {
        for how in ["well", "error", "panic", "death"] {
            let result = ends::remote_blocking(&flow, how);
            assert_eq!(result.is_ok(), how == "well", "{how}: {result:?}");
            all_free(&flow);
        }
        for force in [false, true] {
            let gate = Gate::new();
            let held = hold::options().resource("board", 1.0);
            let held = held.remote(&flow, gate.path(), "one").unwrap();
            gate.await_begun(1);
            assert_eq!(flow.workers().unwrap()[0].free, "cpus 0", "round {round}");
            let how = if force { Cancel::forced() } else { Cancel::default() };
            flow.cancel(&held, how.grace(Duration::ZERO)).unwrap();
            assert_eq!(failed(held.get()).cause, Cause::Cancelled);
            all_free(&flow);
        }
    }
    assert_eq!(ends::remote_blocking(&flow, "well"), Ok(()));
}

// ---- further attempts ---------------------------------------------------------------------------

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Flaky {
    run: usize,
}

impl fmt::Display for Flaky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run {} was not the one", self.run)
    }
}

impl std::error::Error for Flaky {}

/// Fails until its `good`th run.
#[node]
fn flaky(marks: &str, good: usize) -> Result<usize, Flaky> {
    append(marks, "run");
    let run = lines(marks).len();
    if run >= good { Ok(run) } else { Err(Flaky { run }) }
}

#[node]
fn panics(marks: &str) {
    append(marks, "run");
    panic!("every time");
}

pub(crate) fn errors_are_not_tried_again() {
    let flow = flow(1);
    let files = Files::new();
    let marks = files.path("marks");
    let error = failed(flaky::remote_blocking(&flow, &marks, 2usize));
    assert_eq!((lines(&marks).len(), error.attempt), (1, 1));
    let files = Files::new();
    let marks = files.path("marks");
    let error = failed(panics::options().max_retries(5).remote_blocking(&flow, &marks));
    assert!(matches!(error.cause, Cause::Panicked { .. }), "{error}");
    assert_eq!(lines(&marks).len(), 1);
}

pub(crate) fn errors_of_one_type_are_tried_again() {
    let flow = flow(1);
    let again = flaky::options().retry_on::<Flaky>();
    let files = Files::new();
    let marks = files.path("marks");
    assert_eq!(again.remote_blocking(&flow, &marks, 3usize), Ok(3));
    assert_eq!(lines(&marks).len(), 3);
    // Three further attempts, unless it says otherwise.
    let files = Files::new();
    let marks = files.path("marks");
    let error = failed(again.remote_blocking(&flow, &marks, 100usize));
    assert_eq!((lines(&marks).len(), error.attempt), (4, 4));
    assert!(
        matches!(&error.cause, Cause::App(app) if app.downcast() == Some(Flaky { run: 4 })),
        "{error}"
    );
    for (retries, runs) in [(0, 1), (1, 2), (6, 7)] {
        let files = Files::new();
        let marks = files.path("marks");
        let call = again.clone().max_retries(retries);
        let error = failed(call.remote_blocking(&flow, &marks, 100usize));
        assert_eq!((lines(&marks).len(), error.attempt as usize), (runs, runs));
    }
    let files = Files::new();
    let marks = files.path("marks");
    let call = again.clone().retry_forever();
    assert_eq!(call.remote_blocking(&flow, &marks, 8usize), Ok(8));
}

pub(crate) fn errors_of_other_types_are_not() {
    let flow = flow(1);
    let files = Files::new();
    let marks = files.path("marks");
    let call = flaky::options().retry_on::<String>().retry_on::<std::io::Error>();
    let error = failed(call.remote_blocking(&flow, &marks, 2usize));
    assert_eq!((lines(&marks).len(), error.attempt), (1, 1));
    let files = Files::new();
    let marks = files.path("marks");
    let call = call.retry_on::<Flaky>();
    assert_eq!(call.remote_blocking(&flow, &marks, 2usize), Ok(2), "one of several types");
    let files = Files::new();
    let marks = files.path("marks");
    failed(panics::options().retry_on::<Flaky>().remote_blocking(&flow, &marks));
    assert_eq!(lines(&marks).len(), 1, "a panic is of no type");
}

pub(crate) fn any_error_is_tried_again() {
    let flow = flow(1);
    let files = Files::new();
    let marks = files.path("marks");
    let call = flaky::options().retry_on_any_error();
    assert_eq!(call.remote_blocking(&flow, &marks, 4usize), Ok(4));
    let files = Files::new();
    let marks = files.path("marks");
    let call = panics::options().retry_on_any_error().max_retries(2);
    let error = failed(call.remote_blocking(&flow, &marks));
    assert!(matches!(error.cause, Cause::Panicked { .. }), "{error}");
    assert_eq!((lines(&marks).len(), error.attempt), (3, 3));
}

pub(crate) fn what_waits_for_its_next_attempt_holds_nothing() {
    let flow = flow(1);
    let files = Files::new();
    let marks = files.path("marks");
    let call = flaky::options().retry_on_any_error().retry_forever();
    let waits = call.remote(&flow, &marks, usize::MAX).unwrap();
    let paused = || matches!(flow.pending(&waits), Ok(Pending::Retry { attempts }) if attempts > 4);
    eventually("a pause between attempts", paused);
    let files = Files::new();
    let fine = files.path("fine");
    let other = flaky::remote(&flow, &fine, 0usize).unwrap();
    assert_eq!(other.get_timeout(Duration::from_secs(10)), Ok(1));
    flow.cancel(&waits, Cancel::default()).unwrap();
    assert_eq!(failed(waits.get()).cause, Cause::Cancelled);
    let runs = lines(&marks).len();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(lines(&marks).len(), runs, "cancelled, it is not tried again");
    all_free(&flow);
}
