//! A ring of task slots in ordinary memory, without workers.

use std::sync::{Mutex, PoisonError};

use mailring::limits::EDGES_PER_SLOT;
use mailring::ring::dist_ring::Needs;
use mailring::ring::heap::{ScopeRef, align_up};
use mailring::ring::slot::NO_CAUSE;
use mailring::ring::word::SUBMITTER;
use mailring::ring::{DistRing, Edge, Geometry, RingError, Slot, Table};

use super::error::{Fail, guard};
use super::handles::{self, Kind, Object};
use super::raw::Out;
use super::scopes::{Stack, mr_scopes};
use super::status::{MR_ERR_ARGUMENT, MR_ERR_FAILED, MR_ERR_WOULD_BLOCK, mr_status};
use super::values::flag;

/// Part of the engine, for those who test against it: the slot window and the four heap rings of
/// an executor, in ordinary memory and without workers. Programs do not need it.
///
/// Functions on the same ring wait for each other.
pub struct mr_ring {
    _opaque: [u8; 0],
}

/// The largest heap ring: cursors must never overflow.
const MOST_HEAP: u64 = 1 << 48;
/// Who completes tasks here; any worker's number would do.
const WORKER: u16 = 0;

struct Window {
    ring: DistRing,
    slots: Vec<Slot>,
    edges: Vec<Edge>,
}

struct Ring(Mutex<Window>);

impl Object for Ring {
    const KIND: Kind = Kind::Ring;
}

/// A slot that was set aside for a task.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mr_reservation {
    /// The task's number. Numbers only grow.
    pub task: u64,
    /// Its slot: the number modulo the window.
    pub slot: u32,
    /// How often the slot was used, this time included.
    pub generation: u32,
}

fn with<R>(
    ring: *const mr_ring,
    f: impl FnOnce(&mut Window) -> Result<R, Fail>,
) -> Result<R, Fail> {
    let ring = handles::get::<Ring, _>(ring)?;
    let mut window = ring.0.lock().unwrap_or_else(PoisonError::into_inner);
    f(&mut window)
}

fn heap_of(heap: u32, window: &mut Window) -> Result<&mut mailring::ring::HeapRing, Fail> {
    let heaps = window.ring.heaps.len();
    let why = format!("there is no heap ring {heap}; they are 0 to {}", heaps - 1);
    window.ring.heaps.get_mut(heap as usize).ok_or_else(|| Fail::argument(why))
}

/// A ring of window slots (a power of two from 16 to 65536) with four heap rings of heap_bytes
/// (at most 2^48; only counted, no memory is made).
///
/// MR_ERR_RING: the window cannot be.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mr_ring_new(
    window: usize,
    heap_bytes: u64,
    out: *mut *mut mr_ring,
) -> mr_status {
    // SAFETY: the caller's promise, at the front of the header.
    let out = unsafe { Out::new(out) };
    guard(|| {
        let out = out.check("out")?;
        if heap_bytes > MOST_HEAP {
            let why = format!("a heap ring of {heap_bytes} bytes is too large: at most 2^48");
            return Err(Fail::new(MR_ERR_ARGUMENT, why));
        }
        let geometry = Geometry { window, heap_bytes: heap_bytes as usize, group_words: 1024 };
        let ring = DistRing::new(geometry)?;
        out.set(handles::insert(Ring(Mutex::new(Window {
            ring,
            slots: (0..window).map(|_| Slot::new()).collect(),
            edges: (0..window * EDGES_PER_SLOT).map(|_| Edge::new()).collect(),
        })))?);
        Ok(())
    })
}

/// Ends a ring.
#[unsafe(no_mangle)]
pub extern "C" fn mr_ring_free(ring: *mut mr_ring) -> mr_status {
    guard(|| handles::take::<Ring, _>(ring).map(drop))
}

/// Sets the next slot aside and publishes it as a task that waits for nobody.
///
/// MR_ERR_WOULD_BLOCK: the window is full; complete the oldest tasks and call mr_ring_reclaim.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mr_ring_reserve(
    ring: *mut mr_ring,
    out: *mut mr_reservation,
) -> mr_status {
    // SAFETY: the caller's promise.
    let out = unsafe { Out::new(out) };
    guard(|| {
        let out = out.check("out")?;
        with(ring, |window| {
            let Some(at) = window.ring.reserve(Needs::default()) else {
                let why = format!("all {} slots are in use", window.ring.window());
                return Err(Fail::new(MR_ERR_WOULD_BLOCK, why));
            };
            let table = Table::new(&window.slots, &window.edges);
            table.slot(at.slot).publish_ready(SUBMITTER, at.generation, NO_CAUSE);
            out.set(mr_reservation { task: at.seq, slot: at.slot, generation: at.generation });
            Ok(())
        })
    })
}

/// Takes a task as a worker would, and completes it: well, or (failed is 1) as failed.
///
/// MR_ERR_ARGUMENT: no such task is in the window, or it is complete already.
#[unsafe(no_mangle)]
pub extern "C" fn mr_ring_complete(ring: *mut mr_ring, task: u64, failed: u32) -> mr_status {
    guard(|| {
        let failed = flag(failed, "failed")?;
        with(ring, |window| {
            let (tail, next) = (window.ring.tail(), window.ring.next());
            if !(tail..next).contains(&task) {
                let why = format!("task {task} is not in the window, which holds {tail}..{next}");
                return Err(Fail::argument(why));
            }
            let (slot, _) = window.ring.place(task);
            let table = Table::new(&window.slots, &window.edges);
            let Some(lease) = table.slot(slot).take(WORKER) else {
                return Err(Fail::argument(format!("task {task} is complete already")));
            };
            let _ = table.finish(slot, lease, WORKER, failed.then_some(task << 8), |_| ());
            Ok(())
        })
    })
}

/// Lets completed tasks leave the window, oldest first, at most this many. *left (which may be
/// NULL) is how many did; a task that is not complete holds back all behind it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mr_ring_reclaim(
    ring: *mut mr_ring,
    most: u64,
    left: *mut u64,
) -> mr_status {
    // SAFETY: the caller's promise.
    let left = unsafe { Out::new(left) };
    guard(|| {
        with(ring, |window| {
            let table = Table::new(&window.slots, &window.edges);
            let mut count = 0;
            let result = window.ring.reclaim(&table, most, |_, _| count += 1);
            result.map_err(|word| {
                Fail::new(MR_ERR_FAILED, format!("a slot holds {word:?}, which cannot be"))
            })?;
            left.set(count);
            Ok(())
        })
    })
}

/// The number of the next task (*next), of the oldest one in the window (*tail; all before it are
/// through), and how many the window holds (*active). Each pointer may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mr_ring_state(
    ring: *mut mr_ring,
    next: *mut u64,
    tail: *mut u64,
    active: *mut u64,
) -> mr_status {
    // SAFETY: the caller's promise.
    let (next, tail, active) = unsafe { (Out::new(next), Out::new(tail), Out::new(active)) };
    guard(|| {
        with(ring, |window| {
            next.set(window.ring.next());
            tail.set(window.ring.tail());
            active.set(window.ring.active());
            Ok(())
        })
    })
}

/// Takes bytes (rounded up to 1024) from a heap ring, 0 to 3, for a task; *offset is where they
/// begin. They are held by the task until it has left the window, and by the innermost scope of
/// scopes (which may be NULL) until that is closed.
///
/// MR_ERR_WOULD_BLOCK: no room now. MR_ERR_RING: more than the ring has.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mr_ring_heap_take(
    ring: *mut mr_ring,
    scopes: *mut mr_scopes,
    heap: u32,
    bytes: u64,
    task: u64,
    offset: *mut u64,
) -> mr_status {
    // SAFETY: the caller's promise.
    let offset = unsafe { Out::new(offset) };
    guard(|| {
        let offset = offset.check("offset")?;
        if bytes == 0 {
            return Err(Fail::argument("a slab has at least one byte"));
        }
        with(ring, |window| {
            let nobody = ScopeRef { depth: u16::MAX, id: 0 };
            let scope = Stack::maybe(scopes)?.map_or(nobody, |stack| stack.lock().current());
            let heap_ring = heap_of(heap, window)?;
            let capacity = heap_ring.capacity();
            let aligned = align_up(bytes).filter(|&aligned| aligned <= capacity);
            let Some(aligned) = aligned else {
                return Err(RingError::TooLarge { ring: heap as usize, bytes, capacity }.into());
            };
            let Some(at) = heap_ring.take(aligned, task, scope, true) else {
                let used = heap_ring.used();
                let why = format!("heap ring {heap}: {used} of {capacity} bytes are in use");
                return Err(Fail::new(MR_ERR_WOULD_BLOCK, why));
            };
            offset.set(at);
            Ok(())
        })
    })
}

/// Gives the oldest slabs of a heap ring back, for as long as their task has left the window and
/// their scope is closed. *used (which may be NULL) is how many bytes are held then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mr_ring_heap_reclaim(
    ring: *mut mr_ring,
    scopes: *mut mr_scopes,
    heap: u32,
    used: *mut u64,
) -> mr_status {
    // SAFETY: the caller's promise.
    let used = unsafe { Out::new(used) };
    guard(|| {
        with(ring, |window| {
            let stack = Stack::maybe(scopes)?;
            let open = stack.as_ref().map(|stack| stack.lock());
            let tail = window.ring.tail();
            let heap = heap_of(heap, window)?;
            heap.reclaim(|slab| {
                let is_open = open.as_ref().is_some_and(|scopes| scopes.is_open(slab.scope));
                !is_open && slab.last_use.is_none_or(|task| task < tail)
            });
            used.set(heap.used());
            Ok(())
        })
    })
}
