//! Setup and cleanup: when they run, where, and what their failures mean.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use mailring::flow::{Cancel, Cause, Error, Flow, Node, ObjectRef, node};
use testkit::flow::{Files, append, await_lines, cause, failed, fall, flow, lines};

/// A line with who writes it: process and thread.
fn tell(path: &str, what: &str) {
    // SAFETY: asks for a number.
    let thread = unsafe { libc::gettid() };
    append(path, &format!("{what} {} {thread}", std::process::id()));
}

/// Either hook; what it returns is nobody's.
#[node]
fn hook(path: &str, what: &str, how: &str) -> Result<u64, String> {
    tell(path, what);
    match how {
        "raise" => Err(format!("{what} raised")),
        "panic" => panic!("{what} panicked"),
        _ => Ok(99),
    }
}

#[node]
fn body(path: &str, how: &str) -> Result<u64, String> {
    tell(path, "body");
    match how {
        "raise" => return Err("body raised".to_owned()),
        "panic" => panic!("body panicked"),
        "die once" if mailring::flow::task().unwrap().attempt == 1 => fall(libc::SIGKILL),
        "sleep" => drop(mailring::flow::sleep(Duration::from_secs(50))),
        "stay" => std::thread::sleep(Duration::from_secs(50)),
        _ => {}
    }
    Ok(7)
}

/// What ran, in order.
fn order(path: &str) -> Vec<String> {
    lines(path).iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

/// A call of `body` with both hooks.
fn dispatch(flow: &Flow, path: &str, setup: &str, how: &str, cleanup: &str) -> ObjectRef<u64> {
    let call = body::options()
        .setup(&hook::NODE, (path, "setup", setup))
        .cleanup(&hook::NODE, (path, "cleanup", cleanup));
    call.remote(flow, path, how).unwrap()
}

pub(crate) fn all_in_order_in_one_place() {
    let (flow, files) = (flow(2), Files::new());
    let path = files.path("trace");
    assert_eq!(dispatch(&flow, &path, "ok", "ok", "ok").get().unwrap(), 7);
    assert_eq!(order(&path), ["setup", "body", "cleanup"]);
    let mut places: Vec<String> =
        lines(&path).iter().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect();
    places.dedup();
    assert_eq!(places.len(), 1, "one process and thread: {places:?}");
    assert!(!places[0].starts_with(&format!("{} ", std::process::id())), "a worker's");
}

pub(crate) fn a_setup_that_fails() {
    let (flow, files) = (flow(1), Files::new());
    for how in ["raise", "panic"] {
        let path = files.path(how);
        let error = failed(dispatch(&flow, &path, how, "ok", "ok").get());
        assert_eq!(order(&path), ["setup"], "neither body nor cleanup");
        assert_eq!(error.name, "body");
        let Cause::Setup(cause) = &error.cause else { panic!("{error}") };
        match &**cause {
            Cause::App(app) => assert_eq!((how, app.message.as_str()), ("raise", "setup raised")),
            Cause::Panicked { message, at } => {
                assert_eq!((how, message.as_str()), ("panic", "setup panicked"));
                assert!(at.contains("hooks.rs"), "{at}");
            }
            other => panic!("{other}"),
        }
        assert!(error.to_string().contains("setup"), "{error}");
    }
}

pub(crate) fn a_body_that_fails() {
    let (flow, files) = (flow(1), Files::new());
    for (how, cleanup) in [("raise", "ok"), ("raise", "raise"), ("panic", "ok"), ("panic", "panic")]
    {
        let path = files.path(&format!("{how} {cleanup}"));
        let cause = cause(dispatch(&flow, &path, "ok", how, cleanup).get());
        assert_eq!(order(&path), ["setup", "body", "cleanup"]);
        match cause {
            Cause::App(error) => {
                assert_eq!((how, error.message.as_str()), ("raise", "body raised"))
            }
            Cause::Panicked { message, .. } => {
                assert_eq!((how, message.as_str()), ("panic", "body panicked"));
            }
            other => panic!("{other}"),
        }
    }
}

pub(crate) fn a_cleanup_that_fails() {
    let (flow, files) = (flow(1), Files::new());
    for how in ["raise", "panic"] {
        let path = files.path(how);
        assert_eq!(dispatch(&flow, &path, "ok", "ok", how).get().unwrap(), 7, "{how}");
        assert_eq!(order(&path), ["setup", "body", "cleanup"]);
    }
}

pub(crate) fn only_one_of_them() {
    let (flow, files) = (flow(1), Files::new());
    let (first, second) = (files.path("first"), files.path("second"));
    let call = body::options().setup(&hook::NODE, (&first, "setup", "ok"));
    assert_eq!(call.remote_blocking(&flow, &first, "ok").unwrap(), 7);
    assert_eq!(order(&first), ["setup", "body"]);
    let call = body::options().cleanup(&hook::NODE, (&second, "cleanup", "ok"));
    assert_eq!(call.remote_blocking(&flow, &second, "ok").unwrap(), 7);
    assert_eq!(order(&second), ["body", "cleanup"]);
    // The handle can be used again, and the node itself has no hooks.
    cause(call.remote_blocking(&flow, &second, "raise"));
    assert_eq!(body::remote_blocking(&flow, &second, "ok").unwrap(), 7);
    assert_eq!(order(&second), ["body", "cleanup", "body", "cleanup", "body"]);
}

#[node]
fn mount() {}

/// A hook may have no arguments, and another type than its task.
pub(crate) fn without_arguments() {
    let (flow, files) = (flow(1), Files::new());
    let path = files.path("trace");
    let call = body::options().setup(&mount::NODE, ()).cleanup(&mount::NODE, ());
    assert_eq!(call.remote_blocking(&flow, &path, "ok").unwrap(), 7);
    assert_eq!(order(&path), ["body"]);
}

#[node]
fn picky(value: Picky) {
    let _ = value;
}

/// Can be read in the process that built the flow only; or is not written at all.
struct Picky(bool);

static BUILDER: AtomicU32 = AtomicU32::new(0);

impl serde::Serialize for Picky {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 { serializer.serialize_u8(3) } else { Err(serde::ser::Error::custom("never")) }
    }
}

impl<'de> serde::Deserialize<'de> for Picky {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u8::deserialize(deserializer)?;
        if std::process::id() == BUILDER.load(Relaxed) {
            return Ok(Self(true));
        }
        Err(serde::de::Error::custom("not here"))
    }
}

pub(crate) fn arguments_that_cannot_be() {
    BUILDER.store(std::process::id(), Relaxed);
    let (flow, files) = (flow(1), Files::new());
    let path = files.path("trace");
    let refused = |result: Result<u64, Error>, words: &[&str]| {
        let error = result.unwrap_err();
        assert!(error.task().is_none(), "at the call, not in the task: {error:?}");
        let text = error.to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    };
    let node: &Node<(Picky,), ()> = &picky::NODE;
    let sealed = body::options().setup(node, (Picky(false),));
    refused(
        sealed.remote_blocking(&flow, &path, "ok"),
        &["setup", "picky", "argument 0", "cannot be encoded"],
    );
    // Refs are not resolved in arguments of hooks.
    let text = flow.put(&"text".to_owned()).unwrap();
    let with_ref = body::options().cleanup(&hook::NODE, (&path, &text, "ok"));
    refused(with_ref.remote_blocking(&flow, &path, "ok"), &["cleanup", "hook"]);
    assert!(lines(&path).is_empty(), "nothing ran");
    // Those that only the worker finds to be wrong are a failure of the hook.
    let undecodable = body::options().setup(node, (Picky(true),));
    let Cause::Setup(inner) = cause(undecodable.remote_blocking(&flow, &path, "ok")) else {
        panic!("another cause");
    };
    let Cause::Codec(why) = &*inner else { panic!("{inner}") };
    assert!(["`value`", "picky", "not here"].iter().all(|word| why.contains(word)), "{why}");
    assert!(lines(&path).is_empty(), "the body did not run");
}

pub(crate) fn cancelled() {
    let (flow, files) = (flow(1), Files::new());
    let told = files.path("told");
    let task = dispatch(&flow, &told, "ok", "sleep", "ok");
    await_lines(&told, 2);
    flow.cancel(&task, Cancel::default()).unwrap();
    assert_eq!(cause(task.get()), Cause::Cancelled);
    assert_eq!(order(&told), ["setup", "body", "cleanup"]);
    let forced = files.path("forced");
    let task = dispatch(&flow, &forced, "ok", "stay", "ok");
    await_lines(&forced, 2);
    assert!(flow.cancel(&task, Cancel::forced()).unwrap().worker_ended);
    assert_eq!(cause(task.get()), Cause::Cancelled);
    mount::remote_blocking(&flow).unwrap();
    assert_eq!(order(&forced), ["setup", "body"], "the worker is gone");
}

pub(crate) fn again_after_a_death() {
    let (flow, files) = (flow(1), Files::new());
    let path = files.path("trace");
    assert_eq!(dispatch(&flow, &path, "ok", "die once", "ok").get().unwrap(), 7);
    assert_eq!(order(&path), ["setup", "body", "setup", "body", "cleanup"]);
    let trace = lines(&path);
    let place = |at: usize| trace[at].split(' ').nth(1).unwrap();
    assert_eq!(place(2), place(4));
    assert_ne!(place(1), place(2), "on another worker");
}
