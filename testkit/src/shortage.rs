//! Taking descriptors, processes, system calls and processor time away from this process, and from its
//! fork server.

use std::fs;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::kill;

/// Sets the soft limit of a process; what it was.
pub fn limit(pid: i32, resource: libc::__rlimit_resource_t, soft: u64) -> u64 {
    let mut old = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: only asks; writes one live local.
    assert_eq!(unsafe { libc::prlimit(pid, resource, std::ptr::null(), &raw mut old) }, 0);
    let new = libc::rlimit { rlim_cur: soft.min(old.rlim_max), ..old };
    // SAFETY: reads one live local.
    assert_eq!(unsafe { libc::prlimit(pid, resource, &raw const new, std::ptr::null_mut()) }, 0);
    old.rlim_cur
}

/// Opens files until the next one has this number.
pub fn open_up_to(number: i32) {
    // SAFETY: a path that is text, and the descriptor is kept for good.
    while unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_CLOEXEC) } < number {}
}

/// No descriptor is free in this process while `f` runs.
pub fn without_descriptors<R>(f: impl FnOnce() -> R) -> R {
    let highest = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let highest = highest.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok()).max();
    open_up_to(highest.unwrap_or(0));
    let next = fs::read_dir("/proc/self/fd").unwrap().count() as u64; // one of them is the list
    let old = limit(0, libc::RLIMIT_NOFILE, next - 1);
    let result = f();
    limit(0, libc::RLIMIT_NOFILE, old);
    result
}

/// The children of a process, zombies too.
pub fn children(pid: i32) -> Vec<i32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// Kills every child of a fork server, again and again.
pub fn storm(fork_server: i32, length: Duration) -> usize {
    let until = Instant::now() + length;
    let mut kills = 0;
    while Instant::now() < until {
        for pid in children(fork_server) {
            kill(pid, libc::SIGKILL);
            kills += 1;
        }
    }
    kills
}

/// Limits of processes hold for users without privileges only: become one, if this is none.
pub fn give_up_privileges() {
    const NOBODY: u32 = 61_007;
    // SAFETY: no pointers are passed.
    unsafe {
        if libc::geteuid() == 0 {
            assert_eq!(libc::setresgid(NOBODY, NOBODY, NOBODY), 0);
            assert_eq!(libc::setresuid(NOBODY, NOBODY, NOBODY), 0);
            libc::prctl(libc::PR_SET_DUMPABLE, 1);
        }
    }
}

/// This process, by number, can fork nothing while `f` runs.
pub fn without_forks<R>(pid: i32, f: impl FnOnce() -> R) -> R {
    let old = limit(pid, libc::RLIMIT_NPROC, 1);
    let result = f();
    limit(pid, libc::RLIMIT_NPROC, old);
    result
}

/// From here on the system answers with this error to these calls: to this process, and to all that
/// descend from it.
pub fn refuse_calls(calls: &[i64], errno: i32) {
    let op = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter { code: code as u16, jt, jf, k };
    // Loads the number of the call; answers so to those, and allows the others.
    let mut program = vec![op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0)];
    for (index, call) in calls.iter().enumerate() {
        let to_refusal = (calls.len() - index) as u8;
        program.push(op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, *call as u32, to_refusal, 0));
    }
    let (end, refuse) = (libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | errno as u32);
    program.push(op(end, libc::SECCOMP_RET_ALLOW, 0, 0));
    program.push(op(end, refuse, 0, 0));
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the filter is valid, and read during the call only.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let mode = libc::SECCOMP_MODE_FILTER;
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const filter), 0);
    }
}

/// Calls `f` beside two threads that compute all the time.
pub fn beside_loops<R>(f: impl FnOnce() -> R) -> R {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let result = f();
        stop.store(true, Relaxed);
        result
    })
}
