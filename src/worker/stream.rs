//! Looking away while tasks stream in.
//!
//! A worker that is faster than the submitter is always at its heels: it finds nothing, looks again at
//! once, and so takes back the lines that the submitter writes next. Between processors far from each
//! other each time costs both of them several times what the task itself costs. One that looks away for a
//! few microseconds finds many tasks at once, in lines that the submitter has left.
//!
//! ```text
//! submitter   t t t t t t t t t t t t t t t t t t t t t t t t t    nothing, or it waits
//! worker          looks away  t t t t t t t t  looks away  t t t
//! ```
//!
//! The submitter says beside a task when it has submitted many without a wait
//! ([`MORE`](crate::mailbox::ready_queue::MORE)): nobody who waits for each task is kept waiting. Whether
//! more tasks get through when the worker looks away is measured now and then; near each other, or with
//! longer tasks, they do not.

use mailring_process::clock::monotonic_ns;
use mailring_process::trial::{Trial, Turn};

/// How long a worker looks away, in nanoseconds.
pub(super) const AWAY_NS: u64 = 4_000;

/// Tasks of a sample. With fewer, one look away more or less would decide.
const SAMPLE: u32 = 32;

/// What a worker knows of the stream of its tasks. It is asked when there is nothing to do, so a task
/// that is found at once pays nothing for it.
pub(super) struct Stream {
    /// Tasks that this worker had run when there was nothing the last time.
    ran: u64,
    /// Without (the first way) and with a look away.
    trial: Trial,
    sample: Option<Sample>,
}

/// Tasks in a row, from when there was nothing until there is nothing again.
#[derive(Clone, Copy)]
struct Sample {
    turn: Turn,
    began: u64,
    tasks: u32,
}

impl Stream {
    pub(super) fn new() -> Self {
        Self { ran: 0, trial: Trial::new(4, 256), sample: None }
    }

    /// There is nothing, after this worker has run `ran` tasks in all: whether to look away. `more`: the
    /// submitter said with the last task that more are to come.
    #[inline]
    pub(super) fn ends(&mut self, ran: u64, more: impl FnOnce() -> bool) -> bool {
        let since = ran.wrapping_sub(std::mem::replace(&mut self.ran, ran));
        since != 0 && {
            if more() {
                self.flows(u32::try_from(since).unwrap_or(u32::MAX), monotonic_ns)
            } else {
                self.sample = None;
                false
            }
        }
    }

    /// So many tasks have come since the last time, and more are to come.
    #[inline(never)]
    fn flows(&mut self, ran: u32, now: impl Fn() -> u64) -> bool {
        if let Some(sample) = &mut self.sample {
            sample.tasks = sample.tasks.saturating_add(ran);
            if sample.tasks < SAMPLE {
                return sample.turn.second;
            }
            let Sample { turn, began, tasks } = *sample;
            // In 16ths of a nanosecond, so that short tasks differ as well.
            let each = if turn.timed { (now() - began) * 16 / u64::from(tasks) } else { 0 };
            self.trial.done(turn, each);
        }
        let turn = self.trial.turn();
        let began = if turn.timed { now() } else { 0 };
        self.sample = Some(Sample { turn, began, tasks: 0 });
        turn.second
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// How many in a thousand tasks come after a look away: a task takes `beside` or `away` nanoseconds,
    /// and so many are there each time.
    fn after_a_look_away(beside: (u32, u64), away: (u32, u64)) -> u64 {
        let (mut stream, now) = (Stream::new(), Cell::new(1));
        let (mut after, mut all) = (0, 0);
        let mut is_away = false;
        for _ in 0..100_000 {
            let (tasks, each) = if is_away { away } else { beside };
            all += u64::from(tasks);
            after += if is_away { u64::from(tasks) } else { 0 };
            now.set(now.get() + u64::from(tasks) * each);
            is_away = stream.flows(tasks, || now.get());
        }
        after * 1000 / all
    }

    #[test]
    fn who_waits_for_each_task_is_never_kept_waiting() {
        let mut stream = Stream::new();
        for ran in 1..10_000 {
            assert!(!stream.ends(ran, || false));
        }
    }

    #[test]
    fn one_looks_away_where_more_tasks_get_through() {
        let far = after_a_look_away((1, 250), (40, 130));
        assert!(far > 980, "{far}");
    }

    #[test]
    fn one_looks_all_the_time_where_it_makes_no_difference() {
        let near = after_a_look_away((1, 160), (40, 155));
        assert!(near < 30, "{near}");
        let seldom = after_a_look_away((1, 6_000), (1, 10_000));
        assert!(seldom < 30, "{seldom}");
    }

    #[test]
    fn a_stream_that_has_ended_is_no_sample() {
        let mut stream = Stream::new();
        stream.flows(1, || 0);
        stream.ends(1, || false);
        assert!(stream.sample.is_none());
    }

    #[test]
    fn one_who_has_run_nothing_since_the_last_time_does_not_look_away() {
        let mut stream = Stream::new();
        for _ in 0..100 {
            assert!(!stream.ends(0, || unreachable!("nothing was run")));
        }
        stream.ends(7, || true);
        assert!(stream.sample.is_some());
        assert!(!stream.ends(7, || unreachable!("nothing was run")));
    }
}
