//! A pool as one writes it oneself: a thread takes boxed closures from a channel of crossbeam.

use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::Peer;
use crate::system::pin;

type Job = Box<dyn FnOnce() + Send>;

pub(super) struct Channel {
    /// `None` when the thread is to end.
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Channel {
    pub(super) fn new(there: usize) -> Self {
        let (jobs, todo): (Sender<Job>, Receiver<Job>) = unbounded();
        let thread = std::thread::spawn(move || {
            pin(&[there]);
            todo.into_iter().for_each(|job| job());
        });
        Self { jobs: Some(jobs), thread: Some(thread) }
    }

    fn send(&self, job: impl FnOnce() + Send + 'static) {
        let Some(jobs) = &self.jobs else { return };
        // The thread listens as long as there is a sender.
        let _ = jobs.send(Box::new(job));
    }

    /// Until all that was sent before is through.
    fn drain(&self) {
        let (done, wait) = bounded(1);
        self.send(move || done.send(()).unwrap_or_default());
        let _ = wait.recv();
    }
}

impl Peer for Channel {
    fn name(&self) -> &'static str {
        "channel"
    }

    fn round_trips(&self, trips: usize) -> Vec<u64> {
        let (done, wait) = bounded(1);
        let trip = |_| {
            let (begin, done) = (Instant::now(), done.clone());
            self.send(move || done.send(()).unwrap_or_default());
            let _ = wait.recv();
            begin.elapsed().as_nanos() as u64
        };
        (0..trips).map(trip).collect()
    }

    fn independent(&self, tasks: usize) -> f64 {
        (0..tasks / 16).for_each(|_| self.send(|| ()));
        self.drain();
        let begin = Instant::now();
        (0..tasks).for_each(|_| self.send(|| ()));
        self.drain();
        begin.elapsed().as_nanos() as f64 / tasks as f64
    }

    fn chain(&self, tasks: usize) -> f64 {
        fn next(jobs: Sender<Job>, done: Sender<()>, left: usize) {
            if left == 0 {
                return done.send(()).unwrap_or_default();
            }
            let again = jobs.clone();
            let _ = jobs.send(Box::new(move || next(again, done, left - 1)));
        }
        let Some(jobs) = &self.jobs else { return f64::NAN };
        let run = |tasks: usize| {
            let (done, wait) = bounded(1);
            next(jobs.clone(), done, tasks);
            let _ = wait.recv();
        };
        run(tasks / 16);
        let begin = Instant::now();
        run(tasks);
        begin.elapsed().as_nanos() as f64 / tasks as f64
    }
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.jobs = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
