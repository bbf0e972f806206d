//! The backend of a flow, where its workers live: in processes that a fork server forks, or in
//! threads of this process.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::thread::JoinHandle;

use mailring_process::descriptors;
use mailring_process::fork_server::StartProgress;
use mailring_process::fork_server::{ChildHandle, ForkServer};
use mailring_process::process::describe_status;

use crate::worker::connection::DriverConnection;
use crate::worker::life::{Here, Workers};

/// How the workers are kept.
pub(super) enum Backend {
    Processes(ForkServer),
    Threads(Threads),
}

/// A worker that has ended.
pub(super) struct Ended {
    /// How.
    pub(super) how: String,
    /// Objects of which there still are handles: a thread may leave some to others.
    pub(super) named: Vec<u64>,
}

impl Backend {
    /// What tells that all workers are gone at once.
    pub(super) fn death(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Processes(fork_server) => Some(fork_server.death().as_fd()),
            Self::Threads(_) => None,
        }
    }

    /// To be called now and then.
    pub(super) fn attend(&self) {
        if let Self::Processes(fork_server) = self {
            fork_server.attend();
        }
    }

    /// Another worker, called `name`, which waits for [`ChildHandle::begin`].
    pub(super) fn spawn(&mut self, place: u16, name: &str) -> io::Result<ChildHandle> {
        match self {
            Self::Processes(fork_server) => fork_server.spawn(place),
            Self::Threads(threads) => threads.spawn(place, name),
        }
    }

    /// One that has ended lets its number go.
    pub(super) fn reap(&mut self, place: u16) -> io::Result<Ended> {
        match self {
            Self::Processes(fork_server) => {
                let how = describe_status(fork_server.reap(place)?);
                Ok(Ended { how, named: Vec::new() })
            }
            Self::Threads(threads) => Ok(threads.reap(place)),
        }
    }

    /// Ends all; threads that are in a body go on until it returns.
    pub(super) fn shutdown(self) {
        match self {
            Self::Processes(fork_server) => fork_server.shutdown(),
            Self::Threads(threads) => threads.shutdown(),
        }
    }
}

/// A thread, and its line.
struct Kept {
    thread: JoinHandle<()>,
    connection: Arc<DriverConnection>,
    ended: Arc<AtomicBool>,
}

/// The workers as threads.
pub(super) struct Threads {
    workers: Workers,
    progress: Arc<StartProgress>,
    stack_size: usize,
    kept: Vec<Option<Kept>>,
}

impl Threads {
    pub(super) fn new(workers: Workers, stack_size: usize) -> io::Result<Self> {
        let places = workers.memory.places();
        let progress = Arc::new(StartProgress::new(places)?);
        let kept = std::iter::repeat_with(|| None).take(places).collect();
        Ok(Self { workers, progress, stack_size, kept })
    }

    fn spawn(&mut self, place: u16, name: &str) -> io::Result<ChildHandle> {
        let death = descriptors::event()?;
        let tell = death.as_fd().try_clone_to_owned()?;
        self.progress.reset(place);
        let connection = Arc::new(self.workers.line(place));
        let ended = Arc::new(AtomicBool::new(false));
        let here = Here {
            place,
            connection: Arc::clone(&connection),
            progress: Arc::clone(&self.progress),
            death: tell,
            ended: Arc::clone(&ended),
        };
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .stack_size(self.stack_size)
            .spawn(move || here.live())?;
        self.kept[usize::from(place)] = Some(Kept { thread, connection, ended });
        Ok(ChildHandle::of_thread(place, death, Arc::clone(&self.progress)))
    }

    fn reap(&mut self, place: u16) -> Ended {
        let kept = self.kept[usize::from(place)].take();
        let named = kept.map(|kept| {
            let _ = kept.thread.join();
            kept.connection.named()
        });
        Ended { how: "its thread has ended".to_owned(), named: named.unwrap_or_default() }
    }

    fn shutdown(self) {
        for kept in self.kept.into_iter().flatten() {
            if kept.ended.load(SeqCst) {
                let _ = kept.thread.join();
            } else {
                // In a body that does not return. It has the memory for as long as it goes on, and
                // whatever it asks from now on is refused.
                kept.connection.close();
            }
        }
    }
}
