//! A system without pidfds (an old kernel, or a tool between the program and the system): death is
//! the end of a pipe, and the nursery kills.

use std::time::{Duration, Instant};

use mailring::{FailureKind, Mode};

use crate::common::kit::{Done, args, config, failed_as, kill, small};
use crate::{death, life, parent};

/// From here on the system answers ENOSYS to what an older one does not have. For this process and
/// all that descend from it.
fn forget_new_calls() {
    let missing = [
        libc::SYS_pidfd_open,
        libc::SYS_pidfd_send_signal,
        libc::SYS_pidfd_getfd,
        libc::SYS_futex_waitv,
    ];
    let op = |code: u32, k: u32, jt: u8, jf: u8| libc::sock_filter { code: code as u16, jt, jf, k };
    // Loads the number of the call; answers ENOSYS to those, and allows the others.
    let mut program = vec![op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0)];
    for (index, call) in missing.iter().enumerate() {
        let to_refusal = (missing.len() - index) as u8;
        program.push(op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, *call as u32, to_refusal, 0));
    }
    program.push(op(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0, 0));
    program.push(op(
        libc::BPF_RET | libc::BPF_K,
        libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32,
        0,
        0,
    ));
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the filter is valid, and read during the call only.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        assert_eq!(
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const filter),
            0
        );
        let answer = libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0);
        assert_eq!((answer, *libc::__errno_location()), (-1, libc::ENOSYS));
    }
}

pub(crate) fn a_killed_worker_is_replaced() {
    forget_new_calls();
    death::by_sigkill();
    death::an_idle_worker_is_replaced();
}

pub(crate) fn an_exit_is_noticed() {
    forget_new_calls();
    death::by_exit_0();
}

pub(crate) fn kills_from_outside_lose_nothing() {
    forget_new_calls();
    death::kills_from_outside_lose_nothing();
}

pub(crate) fn a_stopped_worker_is_killed() {
    forget_new_calls();
    death::stopped_worker_meets_its_deadline();
}

pub(crate) fn the_nursery_dies() {
    forget_new_calls();
    death::the_nursery_dies();
}

pub(crate) fn everything_goes_with_the_host() {
    forget_new_calls();
    parent::killed_in_the_middle_of_a_run();
    parent::killed_when_idle();
    parent::exits_without_dropping();
}

pub(crate) fn executors_come_and_go() {
    forget_new_calls();
    life::two_executors_side_by_side();
    life::descriptors_are_given_back();
    life::dropped_with_a_body_that_will_not_stop();
}

/// A child that a task forks inherits every descriptor of its worker.
pub(crate) fn a_death_beside_a_forked_child_is_noticed() {
    forget_new_calls();
    let mut builder = small(Mode::Process, 2);
    let die = builder.register("die", |_, _, _| -> Done {
        // SAFETY: the child only sleeps and leaves.
        unsafe {
            if libc::fork() == 0 {
                libc::sleep(30);
                libc::_exit(0);
            }
        }
        kill(std::process::id() as i32, libc::SIGKILL);
        Ok(())
    });
    let die = die.unwrap();
    let exec = builder.build().unwrap();
    for _ in 0..3 {
        let began = Instant::now();
        failed_as(exec.run(|orch| orch.submit(die, args(), config())), FailureKind::WorkerDied);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
}
