//! Each section runs in a process of its own: this program again, with a command that the help does
//! not show. It tells what it does and then its measurements, a line of JSON each.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use serde_json::{Value, json};

use super::raw::Raw;
use super::run::Run;
use super::section::{Effort, Section};

/// The hidden command.
pub(crate) const COMMAND: &str = "bench-section";

/// How long a section may be silent, whatever it was to take.
const SILENCE: Duration = Duration::from_secs(120);

/// In the process of the section: measures, and tells.
pub(super) fn measure(section: &Section, effort: Effort) -> Result<(), String> {
    let mut run =
        Run::new(effort, section.seconds(effort), Box::new(|what| tell(json!({ "does": what }))));
    match (section.measure)(&mut run) {
        Ok(()) => {
            tell(json!({ "raw": run.into_raw().json() }));
            Ok(())
        }
        Err(error) => {
            tell(json!({ "failed": error.to_string() }));
            Err(format!("{}: {error}", section.name))
        }
    }
}

/// One line. If nobody reads, nobody wants to know.
fn tell(line: Value) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Has a section measured in a process of its own; `does` hears what that does.
pub(super) fn run(section: &Section, effort: Effort, does: impl Fn(&str)) -> Result<Raw, String> {
    let mut child = Ended(start(section, effort)?);
    let Some(out) = child.0.stdout.take() else { return Err("it has no output".to_owned()) };
    let (to_us, lines) = mpsc::channel();
    // Ends with the child's output, or when nobody listens any more.
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if to_us.send(line).is_err() {
                break;
            }
        }
    });
    let raw = loop {
        let line = match lines.recv_timeout(SILENCE) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => {
                return Err(format!("it said nothing for {SILENCE:?} and was ended"));
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = child.0.wait().map_err(|error| error.to_string())?;
                return Err(format!("its process ended without a figure ({status})"));
            }
        };
        match said(&line) {
            Said::Does(what) => does(&what),
            Said::Failed(why) => return Err(why),
            Said::Raw(raw) => break raw,
            Said::Nothing => {}
        }
    };
    // All is measured; what is left is the end of the process.
    child.0.wait().map_err(|error| error.to_string())?;
    Ok(raw)
}

fn start(section: &Section, effort: Effort) -> Result<Child, String> {
    let program = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
    let effort = match effort {
        Effort::Quick => "quick",
        Effort::Normal => "normal",
        Effort::Full => "full",
    };
    let mut command = Command::new(program);
    command.args([COMMAND, section.name, effort]).stdin(Stdio::null()).stdout(Stdio::piped());
    // Several executors live in one process here, each beside the threads of others.
    command.env("MAILRING_QUIET", "1");
    // SAFETY: a system call that takes numbers only, between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    command.spawn().map_err(|error| format!("starting its process: {error}"))
}

/// A child that does not outlive its guard.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // Both fail only for one that has been waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[derive(Debug, PartialEq)]
enum Said {
    Does(String),
    Failed(String),
    Raw(Raw),
    Nothing,
}

fn said(line: &str) -> Said {
    let Ok(line) = serde_json::from_str::<Value>(line) else { return Said::Nothing };
    if let Some(what) = line.get("does").and_then(Value::as_str) {
        return Said::Does(what.to_owned());
    }
    if let Some(why) = line.get("failed").and_then(Value::as_str) {
        return Said::Failed(why.to_owned());
    }
    line.get("raw").and_then(Raw::of).map_or(Said::Nothing, Said::Raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood_and_others_are_passed_over() {
        assert_eq!(said(r#"{"does":"round 1"}"#), Said::Does("round 1".to_owned()));
        assert_eq!(said(r#"{"failed":"why"}"#), Said::Failed("why".to_owned()));
        assert_eq!(said("something else"), Said::Nothing);
        let mut raw = Raw::default();
        raw.add("a", 1.0);
        assert_eq!(said(&json!({ "raw": raw.json() }).to_string()), Said::Raw(raw));
    }
}
