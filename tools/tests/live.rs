//! `mailring top` and `mailring clean` on programs that run, end, and are killed.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mailring");
/// Longest wait for something that takes a moment.
const LONGEST: Duration = Duration::from_secs(30);

fn mailring(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).output().expect("it starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A run that takes longer than a test.
struct Gp(Child);

impl Gp {
    fn start(name: &str, file: &Path) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(["gp", "--mode", "process", "--workers", "2", "--runs", "1000"]);
        command.args(["--publish", name, "--post-mortem"]).arg(file);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Self(child.expect("it starts"))
    }

    fn kill(&mut self) {
        self.0.kill().expect("it is ours");
        self.0.wait().expect("it is ours");
    }
}

impl Drop for Gp {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What `top --json` says once `wanted` holds.
fn reading(name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let until = Instant::now() + LONGEST;
    loop {
        let output = mailring(&["top", name, "--json"]);
        let said = serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default();
        if output.status.success() && wanted(&said) {
            return said;
        }
        assert!(Instant::now() < until, "{said:#}\n{}", stderr(&output));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_run_is_shown_while_it_goes_on_and_after_it_was_killed() {
    let name = format!("test-top-{}", std::process::id());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("page");
    let mut gp = Gp::start(&name, &file);
    let running = |said: &Value| {
        let workers = said["status"]["workers"].as_array();
        workers.is_some_and(|all| all.iter().any(|one| one["work"]["function"].is_string()))
    };
    let said = reading(&name, running);
    assert_eq!(said["writer"], "alive", "{said:#}");
    assert_eq!(said["pid"], gp.0.id(), "{said:#}");
    let status = &said["status"];
    assert_eq!(status["kind"], "executor");
    assert_eq!(status["workers"].as_array().map(Vec::len), Some(2), "{said:#}");
    let slots = &status["gauges"][0];
    assert!(slots["used"].as_f64() <= slots["limit"].as_f64(), "{said:#}");
    reading(&name, |said| said["status"]["tasks_per_second"].as_f64() > Some(0.0));
    let page = stdout(&mailring(&["top", &name]));
    for part in ["alive", "heap ring 0", "WORKER", "running", "bodies run"] {
        assert!(page.contains(part), "{part} is missing in\n{page}");
    }
    // Another run must not take the name, and nothing of a living one is removed.
    let second = mailring(&["gp", "--mode", "process", "--publish", &name]);
    assert!(!second.status.success());
    assert!(stderr(&second).contains(&gp.0.id().to_string()), "{}", stderr(&second));
    assert!(!stdout(&mailring(&["clean", "--dry-run"])).contains(&name));

    gp.kill();
    let said = reading(&name, |said| said["writer"] == "died");
    assert_eq!(said["status"]["ended"], false, "{said:#}");
    assert!(stdout(&mailring(&["top"])).contains(&name));
    for arguments in [&["clean", "--dry-run"][..], &["clean"]] {
        let output = mailring(arguments);
        assert!(output.status.success() && stdout(&output).contains(&name), "{}", stdout(&output));
    }
    assert!(!stdout(&mailring(&["clean", "--dry-run"])).contains(&name));
    let missing = mailring(&["top", &name]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).contains("nobody publishes"), "{}", stderr(&missing));

    let saved = file.to_str().expect("a name");
    let page = stdout(&mailring(&["top", "--post-mortem", saved]));
    assert!(page.contains("died") && page.contains("WORKER"), "{page}");
}

#[test]
fn what_is_asked_wrongly_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("page");
    std::fs::write(&file, "no page").expect("written");
    let file = file.to_str().expect("a name");
    for (arguments, code, part) in [
        (&["top", "a/b"][..], 2, "invalid name"),
        (&["top", "--interval", "0", "x"], 2, "invalid interval"),
        (&["top", "x", "--post-mortem", file], 2, "cannot be used"),
        (&["top", "--post-mortem", file], 1, "is not a page of mailring"),
        (&["top", "--post-mortem", "/nowhere/page"], 1, "No such file"),
        (&["gp", "--mode", "thread", "--publish", "x"], 2, "processes"),
        (&["gp", "--publish", "a b"], 1, "invalid name"),
    ] {
        let output = mailring(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(part), "{arguments:?}: {}", stderr(&output));
    }
}
