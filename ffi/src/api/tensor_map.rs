//! The map from bytes to the tasks that name them.

use std::ffi::c_int;
use std::sync::{Mutex, PoisonError};

use mailring::graph::{Access, Dependencies, TensorMap};

use super::error::{Fail, guard};
use super::handles::{self, Kind, Object};
use super::options::hazards;
use super::raw::{Many, ManyOut, Out, Plain};
use super::status::{MR_ERR_CAPACITY, MR_ERR_NOT_FOUND, mr_status};
use super::values::tag;

/// Part of the engine, for those who test against it: who wrote and who reads which bytes.
/// Functions on the same map wait for each other.
pub struct mr_tensor_map {
    _opaque: [u8; 0],
}

/// What a task does with a range of bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mr_access {
    /// First byte.
    pub begin: u64,
    /// Behind the last byte; more than begin.
    pub end: u64,
    /// MR_INPUT to MR_NO_DEP.
    pub tag: i32,
    /// Zero.
    pub padding: u32,
}

/// An earlier task to wait for.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct mr_producer {
    /// Its number.
    pub task: u64,
    /// 1: its failure is that of the consumer, which reads what it wrote; 0: only the order.
    pub data: c_int,
    /// Zero.
    pub padding: u32,
}

// SAFETY: integers only.
unsafe impl Plain for mr_access {}

struct Map(Mutex<TensorMap>);

impl Object for Map {
    const KIND: Kind = Kind::TensorMap;
}

/// Ranges of one task, at most.
const MOST: usize = 1 << 16;
/// Numbers of tasks, at most.
const LAST_TASK: u64 = 1 << 62;

fn with<R>(
    map: *const mr_tensor_map,
    f: impl FnOnce(&mut TensorMap) -> Result<R, Fail>,
) -> Result<R, Fail> {
    let map = handles::get::<Map, _>(map)?;
    let mut map = map.0.lock().unwrap_or_else(PoisonError::into_inner);
    f(&mut map)
}

fn range(begin: u64, end: u64) -> Result<std::ops::Range<u64>, Fail> {
    if begin < end {
        return Ok(begin..end);
    }
    Err(Fail::argument(format!("the range {begin:#x}..{end:#x} is empty: end must be larger")))
}

fn accesses(given: Many<mr_access>) -> Result<Vec<Access>, Fail> {
    let given = given.read("accesses", MOST)?;
    given.iter().map(|a| Ok(Access::new(range(a.begin, a.end)?, tag(a.tag)?))).collect()
}

/// An empty map (MR_HAZARDS_STRICT, MR_HAZARDS_COMPATIBLE).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mr_tensor_map_new(
    hazards: u32,
    out: *mut *mut mr_tensor_map,
) -> mr_status {
    // SAFETY: the caller's promise, at the front of the header.
    let out = unsafe { Out::new(out) };
    guard(|| {
        let out = out.check("out")?;
        out.set(handles::insert(Map(Mutex::new(TensorMap::new(self::hazards(hazards)?))))?);
        Ok(())
    })
}

/// Ends it.
#[unsafe(no_mangle)]
pub extern "C" fn mr_tensor_map_free(map: *mut mr_tensor_map) -> mr_status {
    guard(|| handles::take::<Map, _>(map).map(drop))
}

/// Whom a task with these accesses must wait for, by number, each once: *count of them, written to
/// producers, which has room for capacity. Changes nothing.
///
/// MR_ERR_CAPACITY: there are more; the text says how many. Nothing is written then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mr_tensor_map_lookup(
    map: *mut mr_tensor_map,
    accesses: *const mr_access,
    n: usize,
    producers: *mut mr_producer,
    capacity: usize,
    count: *mut usize,
) -> mr_status {
    // SAFETY: the caller's promise.
    let (given, producers, count) =
        unsafe { (Many::new(accesses, n), ManyOut::new(producers, capacity), Out::new(count)) };
    guard(|| {
        let count = count.check("count")?;
        let mut accesses = self::accesses(given)?;
        with(map, |map| {
            let mut found = Dependencies::default();
            map.lookup(&mut accesses, &mut found);
            let found: Vec<mr_producer> = found
                .settle()
                .iter()
                .map(|p| mr_producer { task: p.task, data: p.data.into(), padding: 0 })
                .collect();
            if found.len() > producers.room() {
                let (need, room) = (found.len(), producers.room());
                let why = format!("{need} producers, and there is room for {room}");
                return Err(Fail::new(MR_ERR_CAPACITY, why));
            }
            producers.set(&found);
            count.set(found.len());
            Ok(())
        })
    })
}

/// Enters a task with its accesses. Numbers must not get smaller from call to call (below 2^62);
/// tail is the oldest task that may still run.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mr_tensor_map_record(
    map: *mut mr_tensor_map,
    accesses: *const mr_access,
    n: usize,
    task: u64,
    tail: u64,
) -> mr_status {
    // SAFETY: the caller's promise.
    let given = unsafe { Many::new(accesses, n) };
    guard(|| {
        let accesses = self::accesses(given)?;
        if task >= LAST_TASK || tail > task {
            let why = format!("task {task} with tail {tail}: tail <= task < 2^62 must hold");
            return Err(Fail::argument(why));
        }
        with(map, |map| {
            map.record(&accesses, task, tail);
            Ok(())
        })
    })
}

/// The last task that writes the byte at address (compatible maps: the tensor that begins there).
///
/// MR_ERR_NOT_FOUND: none is known.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mr_tensor_map_writer(
    map: *mut mr_tensor_map,
    address: u64,
    out: *mut u64,
) -> mr_status {
    // SAFETY: the caller's promise.
    let out = unsafe { Out::new(out) };
    guard(|| {
        let out = out.check("out")?;
        with(map, |map| {
            // No range holds the very last byte, since its end would be no number.
            let writer = (address != u64::MAX).then(|| map.writer(address)).flatten();
            out.set(writer.ok_or_else(|| {
                Fail::new(MR_ERR_NOT_FOUND, format!("no task is known to write {address:#x}"))
            })?);
            Ok(())
        })
    })
}

/// Forgets a range whose memory is given to somebody else.
#[unsafe(no_mangle)]
pub extern "C" fn mr_tensor_map_erase(map: *mut mr_tensor_map, begin: u64, end: u64) -> mr_status {
    guard(|| {
        let range = range(begin, end)?;
        with(map, |map| {
            map.erase(&range);
            Ok(())
        })
    })
}

/// The number of ranges (compatible maps: of addresses) that are known.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mr_tensor_map_len(map: *mut mr_tensor_map, out: *mut usize) -> mr_status {
    // SAFETY: the caller's promise.
    let out = unsafe { Out::new(out) };
    guard(|| {
        let out = out.check("out")?;
        with(map, |map| {
            out.set(map.len());
            Ok(())
        })
    })
}
