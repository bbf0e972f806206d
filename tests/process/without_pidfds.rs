//! A system without pidfds (an old kernel, or a tool between the program and the system): death is
//! the end of a pipe, and the fork server kills.

use std::time::{Duration, Instant};

use mailring::{FailureKind, Mode};

use crate::{death, life, parent};
use testkit::shortage::refuse_calls;
use testkit::{Done, args, config, failed_as, kill, small};

/// From here on the system answers ENOSYS to what an older one does not have.
fn forget_new_calls() {
    refuse_calls(
        &[
            libc::SYS_pidfd_open,
            libc::SYS_pidfd_send_signal,
            libc::SYS_pidfd_getfd,
            libc::SYS_futex_waitv,
        ],
        libc::ENOSYS,
    );
    // SAFETY: passes no pointers.
    let answer = unsafe { libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0) };
    let errno = std::io::Error::last_os_error().raw_os_error();
    assert_eq!((answer, errno), (-1, Some(libc::ENOSYS)));
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

pub(crate) fn the_fork_server_dies() {
    forget_new_calls();
    death::the_fork_server_dies();
}

pub(crate) fn everything_goes_with_the_host() {
    forget_new_calls();
    parent::killed_in_the_middle_of_a_run();
    parent::killed_when_idle();
    parent::killed_while_locks_are_tried();
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
