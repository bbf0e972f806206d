//! Memory that came after the fork, on both sides: the host keeps descriptors and hands them out,
//! a worker asks for the one it needs and maps it.
//!
//! ```text
//! worker, before a body that names such memory      host (supervisor)
//!   place, generation ──────── its line ─────────▶  looks among the descriptors it holds
//!   maps at the same address ◀── descriptor ──────  (SCM_RIGHTS)
//! ```
//!
//! Which addresses belong to which place stands in the trusted part of the arena, written before
//! the first task that names them is published. A worker that maps nothing asks nothing, so
//! nobody is told about new memory, and a replacement needs nothing.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mailring_process::descriptors::Descriptor;
use mailring_process::reach::Reach;
use mailring_process::{limits, process};
use nix::errno::Errno;

use super::inherited_memory::later_memory_of;
use crate::abi::ContinuousTensor;
use crate::limits::MAX_IMPORTS;
use crate::segment::{Arena, ImportRecord};

/// Bytes of a request: place and generation.
const REQUEST: usize = 8;

/// The host's descriptors, by place.
#[derive(Default)]
pub(crate) struct Imports {
    places: Mutex<Vec<Place>>,
}

#[derive(Default)]
struct Place {
    /// How often the place was given.
    generation: u32,
    memory: Option<Descriptor>,
    /// Lets views here follow its addresses, for as long as they are mapped.
    reach: Option<Reach>,
}

impl Imports {
    fn places(&self) -> MutexGuard<'_, Vec<Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place that is free.
    pub(crate) fn vacant(&self) -> Option<u32> {
        let places = self.places();
        let free = places.iter().position(|place| place.memory.is_none());
        free.or_else(|| (places.len() < MAX_IMPORTS).then_some(places.len())).map(|i| i as u32)
    }

    /// Maps the memory here and keeps it for those who ask.
    pub(crate) fn hold(
        &self,
        arena: &Arena,
        index: u32,
        bytes: &Range<u64>,
        memory: OwnedFd,
    ) -> io::Result<()> {
        let reach = reach_to(arena, bytes)?;
        arena.window().map(bytes, memory.as_fd())?;
        let mut places = self.places();
        let at = index as usize;
        if at >= places.len() {
            places.resize_with(at + 1, Place::default);
        }
        let place = &mut places[at];
        place.generation = place.generation.wrapping_add(1).max(1);
        place.memory = Some(memory.into());
        place.reach = Some(reach);
        let record =
            ImportRecord { generation: place.generation, first: bytes.start, end: bytes.end };
        arena.write_import(index, record);
        Ok(())
    }

    /// No task names the memory any more.
    pub(crate) fn forget(&self, arena: &Arena, index: u32, bytes: &Range<u64>) {
        if let Some(place) = self.places().get_mut(index as usize) {
            place.memory = None;
            place.reach = None;
        }
        arena.write_import(index, ImportRecord::default());
        arena.window().unmap(bytes);
    }

    /// Answers a worker. False when it has hung up, or does not keep to asking and reading in
    /// turn: it is not listened to any more then. Never waits, and holds nothing while it sends.
    pub(crate) fn answer(&self, line: &Descriptor) -> bool {
        let mut request = [0; REQUEST];
        if process::receive_now(line, &mut request) != Ok(REQUEST) {
            return false;
        }
        let memory = self.find(word(&request, 0), word(&request, 4));
        let fds: Vec<_> = memory.iter().map(AsRawFd::as_raw_fd).collect();
        match process::send_now(line, &[u8::from(memory.is_some())], &fds) {
            Ok(()) => true,
            // The system has no room for a descriptor in flight: that task fails, others may not.
            Err(Errno::ETOOMANYREFS | Errno::ENOBUFS | Errno::ENOMEM) => {
                process::send_now(line, &[0], &[]).is_ok()
            }
            Err(_) => false,
        }
    }

    fn find(&self, index: u32, generation: u32) -> Option<OwnedFd> {
        let places = self.places();
        let place = places.get(index as usize).filter(|place| place.generation == generation)?;
        place.memory.as_ref()?.as_fd().try_clone_to_owned().ok()
    }
}

fn word(bytes: &[u8; REQUEST], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// What one worker process has mapped.
pub(crate) struct Mapped<'a> {
    /// To the host. `None` in a thread: the host's own mapping is there.
    line: Option<BorrowedFd<'a>>,
    /// By place.
    mapped: Vec<(ImportRecord, Option<Reach>)>,
}

impl<'a> Mapped<'a> {
    pub(crate) fn new(line: Option<BorrowedFd<'a>>) -> Self {
        Self { line, mapped: Vec::new() }
    }

    /// Maps what these tensors name and is not mapped yet.
    #[cold]
    pub(crate) fn ensure(
        &mut self,
        arena: &Arena,
        tensors: &[ContinuousTensor],
    ) -> Result<(), String> {
        let Some(line) = self.line else { return Ok(()) };
        // First, since what is named now may lie where something else was.
        self.release_stale(arena);
        let window = arena.window().bytes();
        let named = |tensor: &&ContinuousTensor| {
            window.contains(&tensor.data()) && tensor.nbytes().is_ok_and(|bytes| bytes > 0)
        };
        for tensor in tensors.iter().filter(named) {
            let address = tensor.data();
            let known = |record: &ImportRecord| record.holds(address);
            if self.mapped.iter().any(|(record, _)| known(record)) {
                continue;
            }
            let index = (0..MAX_IMPORTS as u32).find(|&i| known(&arena.import(i)));
            let index = index.ok_or_else(|| format!("the buffer at {address:#x} is gone"))?;
            let record = arena.import(index);
            let memory = ask(line, index, record.generation);
            let mapped = memory
                .and_then(|memory| arena.window().map(&record.bytes(), memory.as_fd()))
                .and_then(|()| reach_to(arena, &record.bytes()));
            let reach = mapped.map_err(|e| format!("mapping the buffer at {address:#x}: {e}"))?;
            if self.mapped.len() <= index as usize {
                self.mapped.resize_with(index as usize + 1, Default::default);
            }
            self.mapped[index as usize] = (record, Some(reach));
        }
        Ok(())
    }

    /// Lets go what the host has forgotten, so that its memory is free.
    pub(crate) fn release_stale(&mut self, arena: &Arena) {
        for (index, (mapped, reach)) in self.mapped.iter_mut().enumerate() {
            if mapped.generation != 0 && arena.import(index as u32) != *mapped {
                *reach = None;
                arena.window().unmap(&mapped.bytes());
                *mapped = ImportRecord::default();
            }
        }
    }
}

fn reach_to(arena: &Arena, bytes: &Range<u64>) -> io::Result<Reach> {
    let full = || io::Error::other("this process has thousands of imports already; drop some");
    Reach::new(later_memory_of(arena, bytes)).ok_or_else(full)
}

fn ask(line: BorrowedFd<'_>, index: u32, generation: u32) -> io::Result<OwnedFd> {
    let mut request = [0; REQUEST];
    request[..4].copy_from_slice(&index.to_ne_bytes());
    request[4..].copy_from_slice(&generation.to_ne_bytes());
    process::send(line, &request, &[])?;
    let mut reply = [0];
    let mut received = process::receive(line, &mut reply)?;
    if received.cut {
        let full = io::Error::from_raw_os_error(libc::EMFILE);
        return Err(limits::explain(full, nix::unistd::getpid()));
    }
    received.fds.pop().ok_or_else(|| io::Error::other("the host does not have it any more"))
}
