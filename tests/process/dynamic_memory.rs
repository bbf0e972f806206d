//! Buffers over memory that came after the fork.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::Ordering::SeqCst;

use mailring::abi::{AbiError, ContinuousTensor, DataType, TaskArgs};
use mailring::{Callable, Error, Executor, Mode, TaskOptions};
use nix::sys::memfd::{MFdFlags, memfd_create};
use testkit::{
    BOTH, at, atom, await_value, bodies, cell, config, eventually, failure, kill, open_fds, small,
};

struct Bench {
    exec: Executor,
    add: Callable,
    wait: Callable,
    die_once: Callable,
    all: Callable,
}

/// `add` adds one to every element; `wait` notes 1 in element 0, waits for 2 there and adds one to
/// element 1; `die_once` adds one to element 0, and dies if that made it 1; `all` does one element
/// a member.
fn bench(mode: Mode, workers: usize) -> Bench {
    let mut builder = small(mode, workers);
    let add = builder.register("add", bodies::add_one_to_each);
    let wait = builder.register("wait", |args, _, _| {
        atom(&args, 0, 0).store(1, SeqCst);
        await_value(atom(&args, 0, 0), 2);
        atom(&args, 0, 1).fetch_add(1, SeqCst);
        Ok::<(), AbiError>(())
    });
    let die_once = builder.register("die once", |args, _, _| {
        let value = atom(&args, 0, 0).fetch_add(1, SeqCst) + 1;
        if atom(&args, 1, 0).fetch_add(1, SeqCst) == 0 {
            kill(std::process::id() as i32, libc::SIGKILL);
        }
        assert_eq!(value, 1, "what the first attempt wrote was taken back");
        Ok::<(), AbiError>(())
    });
    let all = builder.register("all", |args, _, context| {
        let group = context.group().expect("a group");
        args.set(0, 0, group.index() as u64 + 1)?;
        let _ = group.barrier();
        Ok::<(), AbiError>(())
    });
    let [add, wait, die_once, all] = [add, wait, die_once, all].map(Result::unwrap);
    Bench { exec: builder.build().unwrap(), add, wait, die_once, all }
}

fn memfd(bytes: u64) -> OwnedFd {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let memory = memfd_create(c"test-mailring-import", flags).unwrap();
    File::from(memory.try_clone().unwrap()).set_len(bytes).unwrap();
    memory
}

/// How often something of this name is mapped in a process.
fn mappings(pid: u32, name: &str) -> usize {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    maps.lines().filter(|line| line.contains(name)).count()
}

pub(crate) fn made_after_the_start() {
    for mode in BOTH {
        let Bench { exec, add, .. } = bench(mode, 2);
        // Larger than all the space for buffers that it was built with.
        let cells = exec.memfd_buffer::<u64>(4 << 20).unwrap();
        let part = |i: usize| TaskArgs::new().inout(cells.view(i << 18, &[1000]).unwrap());
        exec.run(|orch| {
            for i in (0..16).chain(0..16) {
                orch.submit(add, part(i), config())?;
            }
            Ok(())
        })
        .unwrap();
        for i in 0..16 {
            assert_eq!((cells.get(i << 18).unwrap(), cells.get((i << 18) + 999).unwrap()), (2, 2));
            assert_eq!(cells.get((i << 18) + 1000).unwrap(), 0);
        }
    }
}

pub(crate) fn shared_with_somebody_else() {
    for mode in BOTH {
        let Bench { exec, add, .. } = bench(mode, 1);
        let memory = memfd(4096);
        // SAFETY: nobody makes the file shorter.
        let own = unsafe { memmap2::MmapMut::map_mut(&memory) };
        let mut own = own.unwrap();
        own[8] = 41;
        let cells = exec.import::<u64>(memory, 2).unwrap();
        exec.run(|orch| orch.submit(add, TaskArgs::new().inout(&cells), config())).unwrap();
        assert_eq!((own[0], own[8]), (1, 42));
        assert_eq!(cells.to_vec().unwrap(), [1, 42]);
    }
}

pub(crate) fn mapped_once_by_each_worker() {
    let Bench { exec, add, .. } = bench(Mode::Process, 3);
    let cells = exec.import::<u64>(memfd(4096), 8).unwrap();
    assert!(exec.worker_pids().iter().all(|&pid| mappings(pid, "test-mailring-import") == 0));
    for round in 0..50 {
        exec.run(|orch| {
            for worker in 0..3 {
                let args = TaskArgs::new().inout(at(&cells, worker));
                let options = TaskOptions::new().on(mailring::WorkerId(worker as u16));
                orch.submit_with(add, args, config(), &options)?;
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(cells.get(1).unwrap(), round + 1);
    }
    assert!(exec.worker_pids().iter().all(|&pid| mappings(pid, "test-mailring-import") == 1));
}

pub(crate) fn given_back_when_dropped() {
    let Bench { exec, add, .. } = bench(Mode::Process, 1);
    let fds = open_fds();
    let cells = exec.import::<u64>(memfd(4096), 8).unwrap();
    let run = |cells: ContinuousTensor| {
        exec.run(|orch| orch.submit(add, TaskArgs::new().inout(cells), config())).unwrap();
    };
    run(cells.tensor());
    let pid = exec.worker_pids()[0];
    let own = std::process::id();
    assert_eq!((mappings(pid, "mailring-import"), mappings(own, "mailring-import")), (1, 1));
    drop(cells);
    // Collected with the next one that is made; the worker lets go when it has nothing to do.
    let other = exec.memfd_buffer::<u64>(8).unwrap();
    run(other.tensor());
    eventually("the worker lets go", || mappings(pid, "mailring-import") == 0);
    assert_eq!(mappings(own, "mailring-import"), 0);
    drop(other);
    drop(exec.memfd_buffer::<u64>(8).unwrap());
    assert!(open_fds() <= fds + 1);
}

pub(crate) fn addresses_are_used_again() {
    let Bench { exec, add, .. } = bench(Mode::Process, 2);
    let first = exec.import::<u64>(memfd(1 << 16), 8192).unwrap();
    let address = first.address();
    let twice = |tensor: ContinuousTensor| {
        exec.run(|orch| {
            for worker in 0..2 {
                let options = TaskOptions::new().on(mailring::WorkerId(worker));
                orch.submit_with(add, TaskArgs::new().inout(tensor), config(), &options)?;
            }
            Ok(())
        })
        .unwrap();
    };
    twice(first.tensor());
    drop(first);
    for round in 0..30 {
        let sizes = [1 << 12, 3 << 12, 1 << 16];
        let small =
            exec.import::<u64>(memfd(sizes[round % 3]), sizes[round % 3] as usize / 8).unwrap();
        assert_eq!(small.address(), address);
        twice(small.tensor());
        assert_eq!(
            small.to_vec().unwrap().iter().find(|&&value| value != 2),
            None,
            "round {round}"
        );
    }
}

pub(crate) fn dropped_while_tasks_run() {
    let Bench { exec, wait, .. } = bench(Mode::Process, 1);
    let memory = memfd(4096);
    let watch = exec.import::<u64>(memory.try_clone().unwrap(), 2).unwrap();
    let cells = exec.import::<u64>(memory, 2).unwrap();
    let (_, run) =
        exec.submit_run(|orch| orch.submit(wait, TaskArgs::new().inout(&cells), config())).unwrap();
    drop(cells);
    assert!(await_value(cell(&watch, 0), 1));
    let others: Vec<_> = (0..5).map(|_| exec.memfd_buffer::<u64>(512).unwrap()).collect();
    cell(&watch, 0).store(2, SeqCst);
    run.wait(None).unwrap();
    assert_eq!(watch.get(1).unwrap(), 1);
    assert!(others.iter().all(|other| other.to_vec().unwrap().iter().all(|&value| value == 0)));
}

pub(crate) fn with_snapshots_and_deaths() {
    let Bench { exec, die_once, .. } = bench(Mode::Process, 1);
    let value = exec.memfd_buffer::<u64>(1).unwrap();
    let count = exec.memfd_buffer::<u64>(1).unwrap();
    let args = TaskArgs::new().inout(&value).no_dep(&count);
    let options = TaskOptions::new().retries(1).snapshot();
    exec.run(|orch| orch.submit_with(die_once, args, config(), &options)).unwrap();
    assert_eq!(
        (value.to_vec().unwrap(), count.to_vec().unwrap(), exec.stats().deaths),
        (vec![1], vec![2], 1)
    );
}

pub(crate) fn in_a_group() {
    for mode in BOTH {
        let Bench { exec, all, .. } = bench(mode, 3);
        let cells = exec.memfd_buffer::<u64>(3).unwrap();
        let members = (0..3).map(|i| TaskArgs::new().output(at(&cells, i))).collect();
        exec.run(|orch| orch.submit_group(all, members, config())).unwrap();
        assert_eq!(cells.to_vec().unwrap(), [1, 2, 3]);
    }
}

pub(crate) fn refused_at_once() {
    let Bench { exec, .. } = bench(Mode::Process, 1);
    let fds = open_fds();
    let short = exec.import::<u64>(memfd(4096), 513).err().unwrap();
    assert!(matches!(short, Error::ImportTooShort { asked: 4104, available: 4096 }), "{short}");
    let (pipe, _other) = nix::unistd::pipe().unwrap();
    let pipe = exec.import::<u8>(pipe, 0).err().unwrap().to_string();
    assert!(pipe.contains("does not take the seal"), "{pipe}");
    let null: OwnedFd = File::open("/dev/null").unwrap().into();
    assert!(matches!(exec.import::<u8>(null, 1), Err(Error::ImportTooShort { .. })));
    let read_only: OwnedFd = File::open("/proc/self/exe").unwrap().into();
    // SAFETY: nobody makes the file of a running program shorter.
    let read_only = unsafe { exec.import_unsealed::<u8>(read_only, 1) }.err().unwrap().to_string();
    assert!(read_only.contains("ermission denied"), "{read_only}");
    let large = exec.memfd_buffer::<u64>(3 << 30).err().unwrap();
    assert!(matches!(large, Error::ImportSpace { used: 0, .. }), "{large}");
    assert!(matches!(
        exec.memfd_buffer::<u64>(1 << 40),
        Err(Error::BufferLength(_) | Error::Import { .. })
    ));
    assert_eq!(open_fds(), fds + 1, "the other end of the pipe");
    let all: Vec<_> =
        (0..mailring::limits::MAX_IMPORTS).map(|_| exec.memfd_buffer::<u8>(1).unwrap()).collect();
    let full = exec.memfd_buffer::<u8>(1).err().unwrap().to_string();
    assert!(full.contains("256 imported buffers"), "{full}");
    drop(all);
    exec.memfd_buffer::<u8>(1).unwrap();
    let none = small(Mode::Process, 1).import_bytes(0).build().unwrap();
    assert!(matches!(none.memfd_buffer::<u8>(1), Err(Error::ImportSpace { capacity: 0, .. })));
}

pub(crate) fn many_come_and_go() {
    let Bench { exec, add, .. } = bench(Mode::Process, 2);
    let fds = open_fds();
    for round in 0..1500u64 {
        let cells = exec.memfd_buffer::<u64>(64).unwrap();
        cells.set(3, round).unwrap();
        exec.run(|orch| orch.submit(add, TaskArgs::new().inout(&cells), config())).unwrap();
        assert_eq!(cells.get(3).unwrap(), round + 1);
    }
    assert!(open_fds() <= fds + 1);
    let maps = |pid| std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap().lines().count();
    assert!(exec.worker_pids().iter().all(|&pid| maps(pid) < 200));
}

pub(crate) fn a_stranger_address_in_the_window() {
    let Bench { exec, add, .. } = bench(Mode::Process, 1);
    let cells = exec.memfd_buffer::<u64>(8).unwrap();
    for address in [cells.address() + 4096, cells.address() + 4090, cells.address() - 8] {
        let stranger = ContinuousTensor::new(address, &[1], DataType::Uint64).unwrap();
        let refused = exec.run(|o| o.submit(add, TaskArgs::new().inout(stranger), config()));
        assert!(matches!(refused, Err(Error::UnknownAddress { .. })), "{refused:?}");
    }
    let address = cells.address();
    drop(cells);
    let gone = ContinuousTensor::new(address, &[1], DataType::Uint64).unwrap();
    let refused = exec.run(|orch| orch.submit(add, TaskArgs::new().inout(gone), config()));
    assert!(matches!(refused, Err(Error::UnknownAddress { .. })), "{refused:?}");
}

pub(crate) fn an_empty_tensor_beside() {
    let Bench { exec, add, .. } = bench(Mode::Process, 1);
    let cells = exec.memfd_buffer::<u64>(512).unwrap();
    let behind = cells.view(512, &[0]).unwrap();
    let args = TaskArgs::new().inout(&cells).input(behind);
    exec.run(|orch| orch.submit(add, args, config())).unwrap();
    assert_eq!(cells.to_vec().unwrap(), [1; 512]);
}

pub(crate) fn an_idle_worker_lets_go() {
    let Bench { exec, add, .. } = bench(Mode::Process, 1);
    let cells = exec.import::<u64>(memfd(4096), 8).unwrap();
    exec.run(|orch| orch.submit(add, TaskArgs::new().inout(&cells), config())).unwrap();
    let pid = exec.worker_pids()[0];
    assert_eq!(mappings(pid, "mailring-import"), 1);
    drop(cells);
    assert_eq!(mappings(std::process::id(), "mailring-import"), 0);
    eventually("an idle worker lets go", || mappings(pid, "mailring-import") == 0);
}

/// The descriptors of this process that are sockets.
fn sockets() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let sockets = entries.filter(|entry| {
        let link = std::fs::read_link(entry.path()).unwrap_or_default();
        link.to_string_lossy().starts_with("socket:")
    });
    sockets.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// A body that asks and asks, and never reads the answers.
pub(crate) fn a_flooded_line_harms_nobody() {
    let mut builder = small(Mode::Process, 2);
    let flood = builder.register("flood", |_, _, _| {
        let sockets = sockets();
        assert!(!sockets.is_empty());
        for _ in 0..20_000 {
            for &socket in &sockets {
                // SAFETY: eight bytes from a constant; what the call says does not matter.
                unsafe { libc::send(socket, [0u8; 8].as_ptr().cast(), 8, libc::MSG_DONTWAIT) };
            }
            std::thread::yield_now();
        }
        std::thread::sleep(std::time::Duration::from_secs(600));
        Ok::<(), AbiError>(())
    });
    let die = builder.register("die", |_, _, _| {
        kill(std::process::id() as i32, libc::SIGKILL);
        Ok::<(), AbiError>(())
    });
    let (flood, die) = (flood.unwrap(), die.unwrap());
    let exec = builder.build().unwrap();
    let to = |worker| TaskOptions::new().on(mailring::WorkerId(worker));
    let (_, flooding) = exec
        .submit_run(|orch| {
            let options = to(0).deadline(std::time::Duration::from_secs(3));
            orch.submit_with(flood, TaskArgs::new(), config(), &options)
        })
        .unwrap();
    for _ in 0..5 {
        std::thread::sleep(std::time::Duration::from_millis(100));
        let failed = exec.run(|orch| orch.submit_with(die, TaskArgs::new(), config(), &to(1)));
        assert_eq!(failure(failed).kind, mailring::FailureKind::WorkerDied);
    }
    assert_eq!(failure(flooding.wait(None)).kind, mailring::FailureKind::Deadline);
    let cells = exec.memfd_buffer::<u64>(8).unwrap();
    drop(cells);
}

pub(crate) fn descriptors_from_a_worker_are_not_taken() {
    let mut builder = small(Mode::Process, 1);
    let send = builder.register("send", |_, _, _| {
        use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
        let file = File::open("/dev/null").expect("it is there");
        let fds = [file.as_raw_fd(); 3];
        let rights = [ControlMessage::ScmRights(&fds)];
        let parts = [std::io::IoSlice::new(&[0; 8])];
        for socket in sockets() {
            let _ = sendmsg::<()>(socket, &parts, &rights, MsgFlags::MSG_DONTWAIT, None);
        }
        Ok::<(), AbiError>(())
    });
    let send = send.unwrap();
    let exec = builder.build().unwrap();
    let fds = open_fds();
    for _ in 0..30 {
        exec.run(|orch| orch.submit(send, TaskArgs::new(), config())).unwrap();
    }
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(open_fds(), fds);
}

pub(crate) fn not_in_processes_of_other_executors() {
    let Bench { exec, .. } = bench(Mode::Process, 1);
    let _cells = exec.import::<u64>(memfd(4096), 8).unwrap();
    let other = bench(Mode::Process, 1).exec;
    let worker = other.worker_pids()[0];
    let fork_server = testkit::parent_of(worker as i32) as u32;
    for pid in [worker, fork_server] {
        let fds = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        let links = fds.map(|fd| std::fs::read_link(fd.path()).unwrap_or_default());
        let held: Vec<_> =
            links.filter(|link| link.to_string_lossy().contains("mailring-import")).collect();
        assert!(held.is_empty(), "{pid} has {held:?}");
    }
}

/// What a submit names is mapped until its task is through, or the submit is refused.
pub(crate) fn dropped_beside_a_submit() {
    let Bench { exec, add, .. } = bench(Mode::Thread, 1);
    let many = exec.buffer::<u64>(4000).unwrap();
    let half = std::time::Instant::now() + std::time::Duration::from_secs(1);
    let until = half + std::time::Duration::from_secs(1);
    let named = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while std::time::Instant::now() < until {
                let cells = exec.memfd_buffer::<u64>(512).unwrap();
                named.store(cells.address(), SeqCst);
                // First for about as long as a submit takes; then every submit comes too late.
                let lives = if std::time::Instant::now() < half { 300 } else { 20 };
                std::thread::sleep(std::time::Duration::from_micros(lives));
            }
        });
        while std::time::Instant::now() < until {
            let address = named.load(SeqCst);
            let Ok(cells) = ContinuousTensor::new(address, &[512], DataType::Uint64) else {
                continue;
            };
            let mut args = TaskArgs::new().inout(cells);
            for index in 0..4000 {
                args = args.no_dep(at(&many, index));
            }
            match exec.run(|orch| orch.submit(add, args, config())) {
                Ok(_) | Err(Error::UnknownAddress { .. } | Error::NullTensor(0)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    });
}

/// What somebody could cut off under those who use it is not taken, but by those who answer for it.
pub(crate) fn what_cannot_be_sealed_is_refused() {
    let Bench { exec, add, .. } = bench(Mode::Process, 1);
    let file = tempfile::tempfile().unwrap();
    file.set_len(4096).unwrap();
    let plain: OwnedFd = file.into();
    let loose = memfd_create(c"test-mailring-loose", MFdFlags::MFD_CLOEXEC).unwrap();
    File::from(loose.try_clone().unwrap()).set_len(4096).unwrap();
    for memory in [plain, loose] {
        let error = exec.import::<u64>(memory.try_clone().unwrap(), 8).err().unwrap();
        assert!(matches!(error, Error::ImportUnsealed), "{error}");
        assert!(error.to_string().contains("import_unsealed"), "{error}");
        // SAFETY: nobody makes it shorter.
        let cells = unsafe { exec.import_unsealed::<u64>(memory, 8) }.unwrap();
        exec.run(|orch| orch.submit(add, TaskArgs::new().inout(&cells), config())).unwrap();
        assert_eq!(cells.to_vec().unwrap(), [1; 8]);
    }
    let sealed = memfd(4096);
    let cells = exec.import::<u64>(sealed.try_clone().unwrap(), 8).unwrap();
    assert!(File::from(sealed).set_len(0).is_err(), "nobody can any more");
    assert_eq!(cells.to_vec().unwrap(), [0; 8]);
}
