//! Workers that cannot be replaced. What only they could run fails, whenever it becomes ready; what
//! others can run goes on.

use std::time::{Duration, Instant};

use mailring::abi::ContinuousTensor;
use mailring::{
    Buffer, Error, Executor, FailureKind, InvalidOptions, Mode, Orchestrator, TaskOptions,
    WorkerId, WorkerKind,
};
use tempfile::TempDir;

use crate::kit::{Fragile, there};
use testkit::{args, at, cell, config, eventually, failed_as, kill, small, within};

struct Kit {
    exec: Executor,
    directory: TempDir,
    /// 0: the gate of slow tasks; the others are counters.
    data: Buffer<u64>,
}

const NOP: u64 = 0;
const ADD: u64 = 1;
const SLOW: u64 = 2;
const DIE: u64 = 3;

impl Kit {
    fn new(workers: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        let exec = small(Mode::Process, workers)
            .worker_factory(WorkerKind::NextLevel, move |id| Fragile::start(&path, id))
            .build()
            .unwrap();
        let data = exec.buffer(8).unwrap();
        Self { exec, directory, data }
    }

    fn at(&self, index: usize) -> ContinuousTensor {
        at(&self.data, index)
    }

    /// From now on this worker cannot be started.
    fn mark(&self, worker: u16) {
        std::fs::write(self.directory.path().join(format!("broken-{worker}")), "").unwrap();
    }

    fn kill(&self, worker: u16) {
        kill(self.exec.worker_pids()[usize::from(worker)] as i32, libc::SIGKILL);
    }

    /// Waits until a task for it is refused.
    fn refused(&self, orch: &mut Orchestrator, worker: u16) {
        eventually("the worker is retired", || {
            match orch.submit_with(NOP, args(), config(), &there(worker)) {
                Ok(_) => false,
                Err(error) => {
                    assert!(is_no_worker_option(&error), "{error}");
                    true
                }
            }
        });
    }

    /// Breaks a worker in a run of its own.
    fn lose(&self, worker: u16) {
        self.mark(worker);
        self.kill(worker);
        let ended = self.exec.run(|orch| {
            self.refused(orch, worker);
            Ok(())
        });
        if ended.is_err() {
            failed_as(ended, FailureKind::NoWorker); // one of those not refused yet
        }
    }

    fn open_gate(&self) {
        cell(&self.data, 0).store(1, std::sync::atomic::Ordering::SeqCst);
    }
}

fn is_no_worker_option(error: &Error) -> bool {
    matches!(error, Error::Options(InvalidOptions::RetiredWorker(_)))
}

pub(crate) fn a_task_that_becomes_ready_later_fails() {
    let kit = Kit::new(3);
    let ended = within(10, || {
        kit.exec.run(|orch| {
            let gate = args().no_dep(kit.at(0)).output_existing(kit.at(1));
            orch.submit_with(SLOW, gate, config(), &there(1))?;
            let both = args().inout(kit.at(2)).input(kit.at(1));
            let late = orch.submit_with(ADD, both, config(), &there(0).name("late"))?;
            let after = orch.submit(ADD, args().inout(kit.at(3)).input(kit.at(2)), config())?;
            kit.mark(0);
            kit.kill(0);
            kit.refused(orch, 0);
            let beside = orch.submit(ADD, args().inout(kit.at(4)), config())?;
            std::thread::sleep(Duration::from_millis(100));
            kit.open_gate();
            let failure = failed_as(orch.wait(&late), FailureKind::NoWorker);
            assert_eq!(failure.name, "late");
            assert!(failure.message.contains("retired"), "{failure}");
            assert_eq!(failed_as(orch.wait(&after), FailureKind::NoWorker), failure);
            orch.wait(&beside).expect("others can run it");
            Ok(())
        })
    });
    let failure = failed_as(ended, FailureKind::NoWorker);
    assert_eq!(failure.name, "late");
    assert_eq!(&kit.data.to_vec().unwrap()[2..5], [0, 0, 1]);
}

pub(crate) fn a_group_that_becomes_too_large_fails() {
    let kit = Kit::new(3);
    let ended = within(10, || {
        kit.exec.run(|orch| {
            let gate = args().no_dep(kit.at(0)).output_existing(kit.at(1));
            orch.submit_with(SLOW, gate, config(), &there(1))?;
            let each = args().input(kit.at(1));
            let late = orch.submit_group(NOP, vec![each.clone(); 3], config())?;
            let smaller = orch.submit_group(NOP, vec![each; 2], config())?;
            // Ready already, and one of its members is busy: it forms, and never can.
            let assembling = orch.submit_group(NOP, vec![args(); 3], config())?;
            kit.mark(2);
            kit.kill(2);
            kit.refused(orch, 2);
            let failure = failed_as(orch.wait(&assembling), FailureKind::NoWorker);
            assert!(failure.message.contains("fewer than the group"), "{failure}");
            kit.open_gate();
            failed_as(orch.wait(&late), FailureKind::NoWorker);
            orch.wait(&smaller).expect("others can run it");
            Ok(())
        })
    });
    failed_as(ended, FailureKind::NoWorker);
}

pub(crate) fn what_is_left_goes_on() {
    let kit = Kit::new(3);
    kit.lose(0);
    for _ in 0..20 {
        let error = kit.exec.run(|orch| orch.submit_group(NOP, vec![args(); 3], config()));
        let error = error.unwrap_err();
        assert!(matches!(error, Error::GroupTooLarge { members: 3, pool: 2, .. }), "{error}");
        let error =
            kit.exec.run(|orch| orch.submit_with(NOP, args(), config(), &there(0))).unwrap_err();
        assert!(is_no_worker_option(&error), "{error}");
        within(5, || {
            kit.exec.run(|orch| {
                for _ in 0..50 {
                    orch.submit(ADD, args().inout(kit.at(2)), config())?;
                    orch.submit_group(NOP, vec![args().inout(kit.at(2)), args()], config())?;
                    orch.submit_with(NOP, args(), config(), &there(1))?;
                    orch.submit_with(NOP, args(), config(), &there(2))?;
                }
                Ok(())
            })
        })
        .unwrap();
    }
    assert_eq!(kit.data.get(2).unwrap(), 1000);
    // Those that are left are still replaced.
    let before = kit.exec.stats().respawns;
    kit.kill(1);
    eventually("a replacement", || kit.exec.stats().respawns == before + 1);
    kit.exec.run(|orch| orch.submit_with(NOP, args(), config(), &there(1)).map(drop)).unwrap();
}

/// What may run elsewhere is tried there; what may not has nowhere to be tried again.
pub(crate) fn a_body_that_dies_with_its_worker() {
    let kit = Kit::new(2);
    kit.mark(0);
    let again = |options: TaskOptions| options.retries(3).idempotent();
    let ended = within(10, || {
        kit.exec.run(|orch| orch.submit_with(DIE, args(), config(), &again(there(0))).map(drop))
    });
    let failure = failed_as(ended, FailureKind::NoWorker);
    assert!(failure.message.contains("retired"), "{failure}");
    let ended = kit
        .exec
        .run(|orch| orch.submit_with(DIE, args(), config(), &again(TaskOptions::new())).map(drop));
    let failure = failed_as(ended, FailureKind::WorkerDied);
    assert_eq!(failure.worker, Some(WorkerId(1)));
    kit.exec.run(|orch| orch.submit(NOP, args(), config()).map(drop)).unwrap();
}

pub(crate) fn all_given_up_fails_the_run() {
    let kit = Kit::new(2);
    (0..2).for_each(|worker| kit.mark(worker));
    let began = Instant::now();
    let ended = kit.exec.run(|orch| {
        let gate = args().no_dep(kit.at(0)).output_existing(kit.at(1));
        orch.submit_with(SLOW, gate, config(), &there(1))?;
        for _ in 0..50 {
            orch.submit(ADD, args().inout(kit.at(2)).input(kit.at(1)), config())?;
        }
        orch.submit_group(NOP, vec![args(); 2], config())?;
        (0..2).for_each(|worker| kit.kill(worker));
        Ok(())
    });
    let error = ended.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    println!("{error}");
    assert!(matches!(error, Error::Failed(_) | Error::Task(_)), "{error}");
    eventually("it has failed", || matches!(kit.exec.run(|_| Ok(())), Err(Error::Failed(_))));
    match kit.exec.run(|orch| orch.submit(NOP, args(), config()).map(drop)) {
        Err(Error::Failed(why)) => assert!(why.contains("retired"), "{why}"),
        other => panic!("{other:?}"),
    }
}
