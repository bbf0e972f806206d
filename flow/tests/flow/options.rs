//! Options: how they merge, which worker they choose, and invalid options.

use std::time::Duration;

use mailring::flow::{Cause, Error, Flow, Pending, Resources, Strategy, call_remote, node};
use testkit::eventually;
use testkit::flow::{Files, Gate, append, failed, flow, hold, infeasible, lines, pid, worker_of};

/// A worker with both labels, one with another, one without any.
fn labelled() -> Flow {
    Flow::builder()
        .workers("ab", 1, Resources::cpus(2.0).with("a", 1.0).with("b", 1.0))
        .workers("c", 1, Resources::cpus(2.0).with("c", 1.0))
        .workers("plain", 1, Resources::cpus(1.0))
        .memory(64 << 20)
        .build()
        .unwrap()
}

#[node(cpus = 2, resources(a = 1, b = 0.5))]
fn on_ab() -> i32 {
    std::process::id() as i32
}

pub(crate) fn resources_are_one_option() {
    let flow = labelled();
    let place = |pid: i32| worker_of(&flow, pid);
    assert_eq!(place(on_ab::remote_blocking(&flow).unwrap()), "ab/0");
    // Neither a nor b is left.
    let on_c = on_ab::options().resource("c", 1.0);
    assert_eq!(place(on_c.remote_blocking(&flow).unwrap()), "c/0");
    // The cpus of the node still are, and those of the call are kept with its labels.
    let (needs, why) = infeasible(on_ab::options().resource("d", 1.0).remote(&flow));
    assert_eq!(needs, "cpus 2, d 1");
    assert!(why.contains("a 1") && why.contains("c 1"), "{why}");
    let two_labels = on_ab::options().resource("a", 1.0).resource("c", 1.0).cpus(0.5);
    assert_eq!(infeasible(two_labels.remote(&flow)).0, "cpus 0.5, a 1, c 1");
    let last = on_ab::options().resource("c", 5.0).resource("c", 0.25);
    assert_eq!(place(last.remote_blocking(&flow).unwrap()), "c/0", "the last word on a label");
}

pub(crate) fn cleared_resources() {
    let flow = labelled();
    let anywhere = on_ab::options().clear_resources().cpus(1.0).on("plain");
    assert_eq!(worker_of(&flow, anywhere.remote_blocking(&flow).unwrap()), "plain/0");
    let labels = on_ab::options().cpus(1.0).on("plain");
    assert_eq!(infeasible(labels.remote(&flow)).0, "cpus 1, a 1, b 0.5");
}

pub(crate) fn a_handle_is_used_again_and_changes_nothing() {
    let flow = labelled();
    let handle = on_ab::options().clear_resources().cpus(0.5).on("c");
    let pids: Vec<i32> = (0..5).map(|_| handle.remote_blocking(&flow).unwrap()).collect();
    assert!(pids.iter().all(|&pid| worker_of(&flow, pid) == "c/0"));
    let by_form = call_remote(&flow, &handle, ()).unwrap().get().unwrap();
    assert_eq!(worker_of(&flow, by_form), "c/0");
    let further = handle.clone().on("plain");
    assert_eq!(worker_of(&flow, further.remote_blocking(&flow).unwrap()), "plain/0");
    assert_eq!(worker_of(&flow, handle.remote_blocking(&flow).unwrap()), "c/0");
    // The node is as it was declared, and so is a new handle.
    assert_eq!(worker_of(&flow, on_ab::remote_blocking(&flow).unwrap()), "ab/0");
    assert_eq!(worker_of(&flow, on_ab::options().remote_blocking(&flow).unwrap()), "ab/0");
}

// ---- which worker -------------------------------------------------------------------------------

fn places(flow: &Flow, strategy: &Strategy, count: usize) -> Vec<String> {
    let call = pid::options().strategy(strategy.clone());
    let mut places: Vec<String> =
        (0..count).map(|_| worker_of(flow, call.remote_blocking(flow).unwrap())).collect();
    places.sort();
    places.dedup();
    places
}

pub(crate) fn spread_uses_all_workers() {
    let flow = flow(4);
    let all: Vec<String> = (0..4).map(|n| format!("cpu/{n}")).collect();
    assert_eq!(places(&flow, &Strategy::Spread, 8), all);
    assert_eq!(places(&flow, &Strategy::Default, 8).len(), 1, "one after the other: the first");
    let gate = Gate::new();
    let spread = hold::options().spread();
    let held: Vec<_> =
        (0..4).map(|n| spread.remote(&flow, gate.path(), format!("{n}")).unwrap()).collect();
    gate.await_begun(4);
    gate.open();
    assert_eq!(flow.get_all(&held), Ok(vec![true; 4]));
}

pub(crate) fn a_named_worker_and_a_group() {
    let flow = Flow::builder()
        .workers("cpu", 3, Resources::cpus(1.0))
        .workers("lab", 2, Resources::cpus(1.0))
        .build()
        .unwrap();
    let named = |name: &str, soft| Strategy::Worker { name: name.to_owned(), soft };
    assert_eq!(places(&flow, &named("cpu/1", false), 6), ["cpu/1"]);
    assert_eq!(places(&flow, &named("lab/1", true), 6), ["lab/1"]);
    assert_eq!(places(&flow, &named("lab", false), 1), ["lab/0"]);
    let gate = Gate::new();
    let on_lab = hold::options().on("lab");
    let held: Vec<_> =
        ["x", "y", "z"].map(|who| on_lab.remote(&flow, gate.path(), who).unwrap()).into();
    gate.await_begun(2);
    let third = flow.pending(&held[2]).unwrap();
    assert!(
        matches!(third, Pending::Resources { .. }),
        "others are free, but not of that name: {third:?}"
    );
    gate.open();
    assert_eq!(flow.get_all(&held), Ok(vec![true; 3]));
}

pub(crate) fn a_name_that_no_worker_has() {
    let flow = flow(2);
    for name in ["nowhere", "cpu/2", "cp", ""] {
        let (_, why) = infeasible(pid::options().on(name).remote(&flow));
        assert!(why.contains(&format!("`{name}`")), "{why}");
    }
    let soft = |name: &str| Strategy::Worker { name: name.to_owned(), soft: true };
    let elsewhere = pid::options().strategy(soft("nowhere")).remote_blocking(&flow).unwrap();
    assert!(worker_of(&flow, elsewhere).starts_with("cpu/"));
    flow.add_workers("big", 1, &Resources::cpus(3.0)).unwrap();
    let too_much = pid::options().strategy(soft("cpu/0")).cpus(2.0);
    assert_eq!(worker_of(&flow, too_much.remote_blocking(&flow).unwrap()), "big/0");
    let (_, why) = infeasible(pid::options().on("cpu/0").cpus(2.0).remote(&flow));
    assert!(why.contains("`cpu/0`"), "{why}");
}

#[node]
fn noted(marks: &str, name: &str) {
    append(marks, name);
}

pub(crate) fn higher_priorities_come_first() {
    let flow = flow(1);
    let (gate, files) = (Gate::new(), Files::new());
    let marks = files.path("marks");
    let first = hold::remote(&flow, gate.path(), "first").unwrap();
    gate.await_begun(1);
    let given = [
        (0, "usual"),
        (-5, "low"),
        (7, "high"),
        (0, "usual too"),
        (i32::MAX, "top"),
        (7, "high too"),
    ];
    let all = given.map(|(priority, name)| {
        let call = noted::options().priority(priority);
        call.remote(&flow, &marks, name).unwrap()
    });
    gate.open();
    flow.get_all(&all).unwrap();
    assert_eq!(lines(&marks), ["top", "high", "high too", "usual", "usual too", "low"]);
    assert_eq!(first.get(), Ok(true));
}

// ---- names --------------------------------------------------------------------------------------

#[node]
fn refuses(_after: bool) -> Result<(), String> {
    Err("no".to_owned())
}

pub(crate) fn a_display_name_is_what_is_read() {
    let flow = flow(1);
    let gate = Gate::new();
    let call = hold::options().display_name("the gate").tag("nightly");
    let held = call.remote(&flow, gate.path(), "one").unwrap();
    let below = refuses::options().display_name("compile chip 3");
    let below = below.remote(&flow, &held).unwrap();
    match flow.pending(&below).unwrap() {
        Pending::Upstream { name, .. } => assert_eq!(name, "the gate"),
        other => panic!("{other:?}"),
    }
    let listed: Vec<_> =
        flow.tasks().unwrap().into_iter().map(|task| (task.name, task.tag)).collect();
    let tagged = ("the gate".to_owned(), Some("nightly".to_owned()));
    assert_eq!(listed, [tagged, ("compile chip 3".to_owned(), None)]);
    match held.get_timeout(Duration::from_millis(5)) {
        Err(Error::Timeout(name, _)) => assert!(name.contains("`the gate`"), "{name}"),
        other => panic!("{other:?}"),
    }
    gate.open();
    let error = failed(below.get());
    assert_eq!(error.name, "compile chip 3");
    assert!(error.to_string().contains("`compile chip 3`"), "{error}");
    assert_eq!(failed(refuses::remote_blocking(&flow, true)).name, "refuses", "not for ever");
}

// ---- invalid options ---------------------------------------------------------------------

pub(crate) fn quantities_that_cannot_be() {
    let flow = flow(2);
    for cpus in [-1.0, -0.0001, f64::NAN, f64::INFINITY, 0.00001, 1.23456, 1e7] {
        let refused = pid::options().cpus(cpus).remote(&flow);
        let named = |why: &String| why.contains("cpus") && why.contains("4 decimals");
        assert!(matches!(&refused, Err(Error::Quantity(why)) if named(why)), "{cpus}: {refused:?}");
    }
    for amount in [0.0, -2.0, f64::NAN, f64::NEG_INFINITY, 0.00005, 1e9] {
        let refused = pid::options().resource("board", amount).remote(&flow);
        let named = |why: &String| why.contains("board");
        assert!(
            matches!(&refused, Err(Error::Quantity(why)) if named(why)),
            "{amount}: {refused:?}"
        );
    }
    for label in ["", "cpus", "CPU", "GPU", "memory"] {
        let refused = pid::options().resource(label, 1.0).remote(&flow);
        let named = |why: &String| why.contains(&format!("`{label}`")) && why.contains("reserved");
        assert!(
            matches!(&refused, Err(Error::Quantity(why)) if named(why)),
            "{label}: {refused:?}"
        );
    }
    // A later option does not make up for an earlier one.
    let refused = pid::options().cpus(-1.0).cpus(1.0).remote_blocking(&flow);
    assert!(matches!(refused, Err(Error::Quantity(_))), "{refused:?}");
    let refused = call_remote(&flow, &pid::options().cpus(-1.0), ());
    assert!(matches!(refused, Err(Error::Quantity(_))), "{refused:?}");
    let stats = flow.stats().unwrap();
    assert_eq!((stats.tasks, stats.objects), (0, 0), "bad input changes nothing");
    assert!(pid::remote_blocking(&flow).is_ok());
}

pub(crate) fn a_deadline_of_nothing() {
    let flow = flow(1);
    let refused = pid::options().deadline(Duration::ZERO).remote(&flow);
    let error = refused.unwrap_err();
    assert!(matches!(error, Error::Quantity(_) | Error::Invalid(_)), "{error:?}");
    assert!(error.to_string().contains("deadline"), "{error}");
    assert_eq!(flow.stats().unwrap().tasks, 0);
}

#[track_caller]
fn not_built(what: &str, builder: mailring::flow::Builder, says: &str) {
    match builder.build() {
        Ok(_) => panic!("{what}: was built"),
        Err(error) => assert!(error.to_string().contains(says), "{what}: {error}"),
    }
}

pub(crate) fn flows_that_cannot_be() {
    let cpu = || Flow::builder().workers("cpu", 1, Resources::cpus(1.0)).memory(16 << 20);
    not_built("no workers", Flow::builder(), "needs workers");
    not_built("none of a group", Flow::builder().workers("x", 0, Resources::cpus(1.0)), "workers");
    not_built("negative", cpu().workers("x", 1, Resources::cpus(-1.0)), "cpus = -1");
    not_built("no number", cpu().workers("x", 1, Resources::cpus(f64::NAN)), "NaN");
    let reserved = Resources::cpus(1.0).with("memory", 1.0);
    not_built("reserved", cpu().workers("x", 1, reserved), "`memory`");
    not_built("twice", cpu().workers("cpu", 1, Resources::cpus(1.0)), "`cpu`");
    not_built("a slash", cpu().workers("a/b", 1, Resources::cpus(1.0)), "`a/b`");
    not_built("no name", cpu().workers("", 1, Resources::cpus(1.0)), "name");
    not_built("too few processes", cpu().max_processes(0), "0 processes");
    not_built("too many processes", cpu().max_processes(usize::MAX), "processes");
    not_built("absurd memory", cpu().memory(usize::MAX), "memory");
    not_built(
        "no such directory",
        cpu().spill("/nonexistent/directory"),
        "/nonexistent/directory: No such file",
    );
    let flow = flow(1);
    for (group, cpus, says) in [("a/b", 1.0, "`a/b`"), ("x", -1.0, "cpus = -1")] {
        let refused = flow.add_workers(group, 1, &Resources::cpus(cpus)).unwrap_err().to_string();
        assert!(refused.contains(says), "{refused}");
    }
    assert_eq!(flow.workers().unwrap().len(), 1);
}

pub(crate) fn what_is_for_the_driver_only() {
    let flow = flow(1);
    let said = asks_for_the_drivers::remote_blocking(&flow).unwrap();
    assert_eq!(said.len(), 4);
    for error in said {
        assert!(matches!(&error, Error::Invalid(why) if why.contains("driver")), "{error:?}");
    }
}

#[node]
fn asks_for_the_drivers() -> Result<Vec<Error>, Error> {
    let flow = Flow::current()?;
    let answers = [
        flow.stats().err(),
        flow.workers().err(),
        flow.add_workers("more", 1, &Resources::cpus(1.0)).err(),
        flow.placement_group(&[Resources::cpus(1.0)], mailring::flow::Packing::Pack).err(),
    ];
    Ok(answers.into_iter().flatten().collect())
}

// ---- infeasible ---------------------------------------------------------------------------------

pub(crate) fn what_can_never_run_is_refused_at_once() {
    let flow = flow(2);
    let (needs, why) = infeasible(pid::options().cpus(1.5).remote(&flow));
    assert_eq!(needs, "cpus 1.5");
    assert!(why.contains("cpus 1"), "two workers of one cpu do not make one of two: {why}");
    let refused = pid::options().resource("board", 1.0).remote(&flow);
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("`testkit::flow::pid`") && text.contains("board 1"), "{text}");
    assert!(text.contains("wait_infeasible"), "{text}");
    let stats = flow.stats().unwrap();
    assert_eq!((stats.tasks, stats.objects), (0, 0));
}

pub(crate) fn waiting_for_a_worker_that_is_not_there_yet() {
    let flow = flow(1);
    let waits = pid::options().resource("board", 1.0).wait_infeasible();
    let later = waits.remote(&flow).unwrap();
    match flow.pending(&later).unwrap() {
        Pending::Infeasible { why } => assert!(why.contains("cpus 1"), "{why}"),
        other => panic!("{other:?}"),
    }
    let early = later.get_timeout(Duration::from_millis(20));
    assert!(matches!(early, Err(Error::Timeout(..))), "{early:?}");
    flow.add_workers("other", 1, &Resources::cpus(1.0)).unwrap();
    assert!(!later.wait_timeout(Duration::from_millis(20)), "that was no such worker");
    flow.add_workers("lab", 1, &Resources::cpus(1.0).with("board", 2.0)).unwrap();
    let pid = later.get_timeout(Duration::from_secs(10)).unwrap();
    assert_eq!(worker_of(&flow, pid), "lab/0");
    assert!(matches!(flow.pending(&later), Ok(Pending::Complete)));
    // Now that there is one, nobody is refused.
    assert!(pid::options().resource("board", 2.0).remote_blocking(&flow).is_ok());
}

pub(crate) fn an_infeasible_task_can_be_cancelled() {
    let flow = flow(1);
    let waits = pid::options().cpus(99.0).wait_infeasible().remote(&flow).unwrap();
    flow.cancel(&waits, mailring::flow::Cancel::default()).unwrap();
    assert_eq!(failed(waits.get()).cause, Cause::Cancelled);
    drop(waits);
    eventually("all is freed", || flow.stats().unwrap().objects == 0);
}

#[node(deadline = "150ms", max_retries = 0)]
fn limited(millis: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(millis));
    millis
}

#[node(priority = 7)]
fn urgent(path: &str, line: &str) {
    append(path, line);
}

#[node]
fn usual(path: &str, line: &str) {
    append(path, line);
}

pub(crate) fn deadline_and_priority_of_a_node() {
    let flow = flow(1);
    assert_eq!(limited::remote_blocking(&flow, 1u64), Ok(1));
    let late = failed(limited::remote_blocking(&flow, 20_000u64));
    assert!(matches!(late.cause, Cause::Deadline(limit) if limit == Duration::from_millis(150)));
    let longer = limited::options().deadline(Duration::from_secs(20));
    assert_eq!(longer.remote_blocking(&flow, 300u64), Ok(300));
    let (gate, files) = (Gate::new(), Files::new());
    let marks = files.path("marks");
    let held = hold::remote(&flow, gate.path(), "first").unwrap();
    gate.await_begun(1);
    let all = [
        usual::remote(&flow, &marks, "usual").unwrap(),
        urgent::options().priority(-1).remote(&flow, &marks, "not urgent").unwrap(),
        urgent::remote(&flow, &marks, "urgent").unwrap(),
        usual::options().priority(9).remote(&flow, &marks, "most urgent").unwrap(),
    ];
    gate.open();
    flow.get_all(&all).unwrap();
    assert_eq!(lines(&marks), ["most urgent", "urgent", "usual", "not urgent"]);
    assert_eq!(held.get(), Ok(true));
}
