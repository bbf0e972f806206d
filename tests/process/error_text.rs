//! Errors whose own code fails. The text of an error is made after the body has returned, and that
//! is the user's code too.

use std::error::Error as StdError;
use std::fmt;

use mailring::{BuildError, Error, Executor, FailureKind, Mode, WorkerKind};

use crate::kit::Fragile;
use testkit::{BOTH, BoxError, args, bodies, config, failure, small, within};

#[derive(Debug)]
struct NoText;

impl fmt::Display for NoText {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("no text for this")
    }
}

impl StdError for NoText {}

#[derive(Debug)]
struct NoSource;

impl fmt::Display for NoSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("something is behind this")
    }
}

impl StdError for NoSource {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        panic!("nothing is behind this")
    }
}

#[derive(Debug)]
struct Outer<E>(E);

impl<E: StdError> fmt::Display for Outer<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("outer")
    }
}

impl<E: StdError + 'static> StdError for Outer<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}

/// A body that ends like this fails its task, as a single one and as a member, and nothing else.
fn ends(body: fn() -> Result<(), BoxError>, says: &str) {
    for mode in BOTH {
        let mut builder = small(mode, 2);
        let bad = builder.register("bad", move |_, _, _| body()).unwrap();
        let nop = builder.register("nop", bodies::nop).unwrap();
        let exec = builder.build().unwrap();
        let before = exec.worker_pids();
        within(10, || {
            for round in 0..20 {
                let failed: Result<(), Error> = exec.run(|orch| {
                    if round % 2 == 0 {
                        orch.submit(bad, args(), config())?;
                    } else {
                        orch.submit_group(bad, vec![args(); 2], config())?;
                    }
                    Ok(())
                });
                let failure = failure(failed);
                let kinds = [FailureKind::Error, FailureKind::Panic];
                assert!(kinds.contains(&failure.kind), "{failure}");
                assert_eq!(failure.name, "bad");
                assert!(failure.message.contains(says), "{says:?} is not in {failure}");
                exec.run(|orch| {
                    orch.submit(nop, args(), config())?;
                    orch.submit_group(nop, vec![args(); 2], config()).map(drop)
                })
                .unwrap();
            }
        });
        let stats = exec.stats();
        assert_eq!(stats.deaths, 0, "{mode:?}, {stats:?}");
        assert_eq!(exec.worker_pids(), before);
    }
}

pub(crate) fn display_that_panics() {
    ends(|| Err(NoText.into()), "no text for this");
    ends(|| Err(Outer(NoText).into()), "no text for this");
}

pub(crate) fn source_that_panics() {
    ends(|| Err(NoSource.into()), "nothing is behind this");
    ends(|| Err(Outer(NoSource).into()), "nothing is behind this");
}

pub(crate) fn a_payload_that_is_no_text() {
    ends(|| std::panic::panic_any(42u64), "not text");
    ends(|| std::panic::panic_any(vec![NoText]), "not text");
}

struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

pub(crate) fn a_payload_whose_drop_panics() {
    ends(|| std::panic::panic_any(Bomb), "");
}

/// A factory may fail in the same ways: `build` says so, at once.
pub(crate) fn a_factory_that_fails_badly() {
    let ways: [fn() -> BoxError; 3] =
        [|| NoText.into(), || NoSource.into(), || panic!("no device at all")];
    for mode in [Mode::Process, Mode::Thread] {
        for way in ways {
            let builder = small(mode, 2);
            let builder = builder.worker_factory(WorkerKind::NextLevel, move |id| {
                let functions: Result<Box<dyn mailring::Worker>, BoxError> = match id.0 {
                    0 => Ok(Box::new(Fragile)),
                    _ => Err(way()),
                };
                functions
            });
            let built: Result<Executor, BuildError> = within(10, || builder.build());
            match built {
                Err(BuildError::Worker { worker, why }) => {
                    assert_eq!(worker.0, 1, "{why}");
                    println!("{mode:?}: {why}");
                }
                Err(other) => panic!("another error: {other}"),
                Ok(_) => panic!("built"),
            }
        }
    }
}
