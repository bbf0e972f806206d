//! An executor and its buffers in processes that they do not belong to: children that the host
//! forked by itself, and workers of other executors. Everything refuses there, nothing faults.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use mailring::abi::{AbiError, ContinuousTensor, DataType, TaskArgs, TaskArgsView};
use mailring::{Buffer, Error, Executor, Misuse, Mode, Orchestrator, WorkerId, WorkerKind};
use testkit::{BOTH, args, at, bodies, config, small};

/// Forks; the child ends with the number of the first check that does not hold, or 0. An alarm ends
/// one that hangs.
fn in_a_child(checks: impl FnOnce() -> Vec<bool>) {
    // SAFETY: the child runs the checks, which end in an exit; other threads of this process hold no
    // lock that they take.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: passes no pointers.
        unsafe { libc::alarm(10) };
        let failed = catch_unwind(AssertUnwindSafe(checks))
            .map_or(99, |all| all.iter().position(|holds| !holds).map_or(0, |i| i as i32 + 1));
        // SAFETY: ends this process, without what it has inherited.
        unsafe { libc::_exit(failed) };
    }
    let mut status = 0;
    // SAFETY: waits for a child of this process; the status is a live local.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert!(libc::WIFEXITED(status), "the child was killed: wait status {status:#x}");
    assert_eq!(libc::WEXITSTATUS(status), 0, "the number of the check that failed");
}

/// Refused, as in a child of the host.
fn refused<T>(result: Result<T, Error>) -> bool {
    matches!(result, Err(Error::Misuse(Misuse::ForkedChild)))
}

fn not_mapped<T>(result: Result<T, Error>) -> bool {
    matches!(result, Err(Error::Args(AbiError::NotMapped)))
}

fn accessors_refuse(buffer: &Buffer<u64>) -> Vec<bool> {
    let named = args().inout(buffer.tensor());
    let view = TaskArgsView::of(&named);
    vec![
        not_mapped(buffer.set(0, 1)),
        not_mapped(buffer.copy_from_slice(&[1])),
        not_mapped(buffer.get(0)),
        not_mapped(buffer.to_vec()),
        matches!(view.get::<u64>(0, 0), Err(AbiError::OutOfReach { index: 0, .. })),
        matches!(view.set(0, 0, 1u64), Err(AbiError::OutOfReach { index: 0, .. })),
    ]
}

/// Between two runs: the copy in a child tells what needs no memory, refuses all the rest, and takes
/// nothing from the original when it is closed and dropped.
pub(crate) fn a_forked_copy_is_inert() {
    for mode in BOTH {
        let mut builder = small(mode, 2);
        let add = builder.register("add", bodies::add_one).unwrap();
        let exec = builder.build().unwrap();
        let [sum, memfd] = [exec.buffer::<u64>(1).unwrap(), exec.memfd_buffer(1).unwrap()];
        let run = |exec: &Executor, sum: &Buffer<u64>| {
            exec.run(|orch| orch.submit(add, args().inout(sum.tensor()), config()).map(drop))
        };
        run(&exec, &sum).unwrap();
        let ((), handle) = exec.submit_run(|_| Ok(())).unwrap();
        let (pids, before) = (exec.worker_pids(), exec.stats());
        // What the child takes out of here is there for the parent.
        let mut all = Some((exec, sum, memfd, handle));
        in_a_child(|| {
            let (exec, sum, memfd, handle) = all.take().expect("here as well");
            let file = || std::fs::File::open("/dev/null").expect("it is there").into();
            // SAFETY: refused before anything is loaded.
            let library = unsafe { exec.register_library("nothing.so", "nothing") };
            // SAFETY: refused before anything is mapped.
            let unsealed = unsafe { exec.import_unsealed::<u64>(file(), 1) };
            let mut checks = accessors_refuse(&sum);
            checks.extend(accessors_refuse(&memfd));
            checks.extend([
                refused(run(&exec, &sum)),
                refused(exec.submit_run(|_| Ok(()))),
                refused(exec.begin().map(drop)),
                refused(exec.begin_for(Duration::ZERO).map(drop)),
                refused(exec.buffer::<u64>(1)),
                refused(exec.memfd_buffer::<u64>(1)),
                refused(exec.import::<u64>(file(), 1)),
                refused(unsealed),
                refused(library),
                refused(exec.unregister(add)),
                refused(exec.refuse_runs()),
                refused(exec.drain(Duration::ZERO)),
                refused(handle.wait(None)),
                refused(handle.event()),
                !handle.done() && !handle.run_failed() && handle.cancel() == 0,
                exec.workers(WorkerKind::NextLevel) == 2 && exec.worker_pids() == [0, 0],
                !exec.is_busy(WorkerId(0)),
                exec.stats().submitted == 1 && exec.stats().bodies == 0,
            ]);
            drop((sum, memfd, handle));
            checks.push(refused(exec.close(None)));
            checks
        });
        let (exec, sum, memfd, handle) = all.expect("still here");
        assert!(handle.wait(None).unwrap());
        memfd.set(0, 5).unwrap();
        for _ in 0..100 {
            run(&exec, &sum).unwrap();
            run(&exec, &memfd).unwrap();
        }
        assert_eq!((sum.get(0).unwrap(), memfd.get(0).unwrap()), (101, 105), "{mode:?}");
        let after = exec.stats();
        assert_eq!((exec.worker_pids(), after.deaths), (pids, before.deaths), "{mode:?}");
        exec.close(Duration::from_secs(10)).unwrap();
    }
}

pub(crate) fn a_child_inside_a_run_is_refused() {
    for mode in BOTH {
        let mut builder = small(mode, 1);
        let nop = builder.register("nop", bodies::nop).unwrap();
        let exec = builder.build().unwrap();
        let buffer = exec.buffer::<u64>(4).unwrap();
        let memfd = exec.memfd_buffer::<u64>(4).unwrap();
        buffer.copy_from_slice(&[1, 2, 3, 4]).unwrap();
        exec.run(|orch| {
            let submitted = orch.submit(nop, args().inout(buffer.tensor()), config())?;
            in_a_child(|| {
                let mut all = accessors_refuse(&buffer);
                all.extend(accessors_refuse(&memfd));
                all.extend([
                    refused(exec.run(|_| Ok(()))),
                    refused(exec.buffer::<u64>(1)),
                    refused(orch.submit(nop, args().inout(buffer.tensor()), config())),
                    refused(orch.submit(nop, args(), config())),
                    refused(orch.submit_group(nop, vec![args()], config())),
                    orch.try_submit(nop, args(), config())
                        .is_err_and(|r| refused::<()>(Err(r.error))),
                    refused(orch.alloc(&[1], DataType::Uint8)),
                    refused(orch.scope(|_| Ok(()))),
                    refused(orch.wait(&submitted)),
                    !orch.cancel(&submitted),
                    orch.cancel_scope() == 0,
                    !orch.run_failed(),
                ]);
                all
            });
            orch.wait(&submitted)
        })
        .unwrap();
        assert_eq!(buffer.to_vec().unwrap(), [1, 2, 3, 4]);
        assert_eq!(exec.stats().submitted, 1);
    }
}

/// The child goes on as if nothing had happened: the run ends in an error, and what it drops is
/// not taken from anybody, nor from whatever else it has mapped since.
pub(crate) fn a_child_that_leaves_the_run_and_drops_all() {
    for mode in BOTH {
        let mut builder = small(mode, 1);
        let nop = builder.register("nop", bodies::nop).unwrap();
        let exec = builder.build().unwrap();
        let buffer = exec.buffer::<u64>(1 << 18).unwrap();
        let memfd = exec.memfd_buffer::<u64>(1 << 18).unwrap();
        let (address, later) = (buffer.address(), memfd.address());
        let mut both = Some((exec, buffer, memfd));
        in_a_child(|| {
            let (exec, buffer, memfd) = both.take().expect("here as well");
            // What was not inherited is free for others.
            let own = |address: u64| {
                let place = std::ptr::with_exposed_provenance_mut(address as usize);
                let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
                let prot = libc::PROT_READ | libc::PROT_WRITE;
                // SAFETY: replaces nothing; fails where something is mapped.
                unsafe { libc::mmap(place, 1 << 20, prot, flags, -1, 0) }.cast::<u64>()
            };
            let mine: Vec<*mut u64> =
                [address, later].map(own).into_iter().filter(|p| p.addr() != usize::MAX).collect();
            let ran = exec.run(|orch| orch.submit(nop, args(), config()).map(drop));
            drop((buffer, memfd));
            drop(exec);
            // SAFETY: mapped above by this process.
            mine.iter().for_each(|place| unsafe { place.write(7) });
            let expected = if mode == Mode::Process { 2 } else { 1 };
            vec![refused(ran), mine.len() == expected]
        });
        let (exec, buffer, _) = both.expect("still here");
        exec.run(|orch| orch.submit(nop, args().inout(buffer.tensor()), config()).map(drop))
            .unwrap();
    }
}

/// Forked inside the closure of a run, and back from it.
pub(crate) fn a_child_that_returns_into_the_run() {
    for mode in BOTH {
        let mut builder = small(mode, 1);
        let nop = builder.register("nop", bodies::nop).unwrap();
        let exec = builder.build().unwrap();
        let mut child = -1;
        let mut body = |orch: &mut Orchestrator| {
            orch.submit(nop, args(), config())?;
            // SAFETY: the child returns from here, and ends below.
            child = unsafe { libc::fork() };
            Ok(())
        };
        let ran = exec.run(&mut body);
        if child == 0 {
            // SAFETY: ends this process.
            unsafe { libc::_exit(i32::from(!refused(ran))) };
        }
        ran.unwrap();
        let mut status = 0;
        // SAFETY: waits for a child of this process; the status is a live local.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert_eq!(status, 0, "wait status {status:#x}");
    }
}

/// A function of one executor has captured a buffer of another, whose memory its worker lacks.
pub(crate) fn a_buffer_in_a_worker_of_another_executor() {
    for mode in BOTH {
        let first = small(mode, 1).build().unwrap();
        let captured = Arc::new(first.buffer::<u64>(4).unwrap());
        let memfd = Arc::new(first.memfd_buffer::<u64>(4).unwrap());
        let mut builder = small(Mode::Process, 1);
        let (mine, theirs) = (Arc::clone(&captured), Arc::clone(&memfd));
        let check = builder
            .register("check", move |args, _, _| {
                let mut all = accessors_refuse(&mine);
                all.extend(accessors_refuse(&theirs));
                args.set(0, 0, all.iter().filter(|holds| **holds).count() as u64)
            })
            .unwrap();
        let second = builder.build().unwrap();
        let counted = second.buffer::<u64>(1).unwrap();
        second.run(|orch| orch.submit(check, args().output(&counted), config()).map(drop)).unwrap();
        assert_eq!(counted.get(0).unwrap(), 12);
        assert_eq!(second.stats().deaths, 0);
        assert_eq!(captured.to_vec().unwrap(), [0; 4], "here it is as it was");
    }
}

/// Bodies fork as well; what their worker has mapped is not in the child.
pub(crate) fn a_child_of_a_body() {
    let mut builder = small(Mode::Process, 1);
    let fork = builder
        .register("fork", |args, _, _| {
            let address = args.tensor(0)?.data();
            in_a_child(|| vec![out_of_reach(address)]);
            args.set(0, 0, 1u64)
        })
        .unwrap();
    let exec = builder.build().unwrap();
    for cell in [exec.buffer::<u64>(1).unwrap(), exec.memfd_buffer(1).unwrap()] {
        exec.run(|orch| orch.submit(fork, args().inout(&cell), config()).map(drop)).unwrap();
        assert_eq!(cell.get(0).unwrap(), 1);
    }
    assert_eq!(exec.stats().deaths, 0);
}

fn word(address: u64) -> TaskArgs {
    args().inout(ContinuousTensor::new(address, &[1], DataType::Uint64).unwrap())
}

fn out_of_reach(address: u64) -> bool {
    let named = word(address);
    matches!(TaskArgsView::of(&named).get::<u64>(0, 0), Err(AbiError::OutOfReach { .. }))
}

/// A tensor outlives its buffer, and its executor: what it names is not followed any more.
pub(crate) fn a_view_of_memory_that_is_gone() {
    for mode in BOTH {
        let exec = small(mode, 1).build().unwrap();
        let first = exec.memfd_buffer::<u64>(4).unwrap();
        let second = exec.memfd_buffer::<u64>(1024).unwrap();
        let (at_first, at_second) = (first.address(), second.address());
        assert!(!out_of_reach(at_first) && !out_of_reach(at_second + 8184));
        drop(first);
        assert!(out_of_reach(at_first), "it went with its buffer");
        assert!(!out_of_reach(at_second));
        assert!(out_of_reach(at_second + (1 << 20)), "nothing was ever there");
        drop(second);
        drop(exec);
        assert!(out_of_reach(at_second));
    }
}

/// The same while other threads look. There are many, so that some are off their processor between
/// the look and the access.
pub(crate) fn views_of_memory_that_goes_meanwhile() {
    for _ in 0..12 {
        let exec = small(Mode::Thread, 1).build().unwrap();
        let buffer = exec.buffer::<u64>(4).unwrap();
        let memfd = exec.memfd_buffer::<u64>(4).unwrap();
        let addresses = [buffer.address(), memfd.address()].repeat(8);
        std::thread::scope(|scope| {
            for address in addresses {
                scope.spawn(move || while !out_of_reach(address) {});
            }
            std::thread::sleep(Duration::from_millis(2));
            drop((memfd, buffer, exec));
        });
    }
}

/// The same in a worker: a body follows what its worker has mapped, and no other address.
pub(crate) fn a_view_of_memory_that_a_worker_has_not_mapped() {
    let mut builder = small(Mode::Process, 1);
    let look = builder
        .register("look", |args, _, _| args.set(0, 0, u64::from(out_of_reach(args.scalar(0)?))))
        .unwrap();
    let exec = builder.build().unwrap();
    let seen = exec.buffer::<u64>(1).unwrap();
    let memfd = exec.memfd_buffer::<u64>(4).unwrap();
    let ask = |exec: &Executor, address: u64, with: bool| {
        let mut all = args().output(&seen);
        if with {
            all = all.input(at(&memfd, 0));
        }
        exec.run(|orch| orch.submit(look, all.scalar(address), config()).map(drop)).unwrap();
        seen.get(0).unwrap() == 1
    };
    assert!(ask(&exec, memfd.address(), false), "no task has named it");
    assert!(!ask(&exec, memfd.address(), true));
    assert!(!ask(&exec, memfd.address(), false), "mapped by now");
    assert!(ask(&exec, memfd.address() + (1 << 20), true));
    assert_eq!(exec.stats().deaths, 0);
}
