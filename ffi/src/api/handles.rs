//! The table behind the opaque pointers. A handle is no address: it is a place in this table,
//! how often the place was used before, and the kind of what is there.
//!
//! ```text
//!  63    56 55    48 47           24 23        0
//! |  'm'   |  kind  |  generation   |  place    |
//! ```
//!
//! The upper bits are those of no address of a program, so code that dereferences a handle stops
//! at once. A generation is never used twice: a place that has used up all of them is left empty.
//!
//! After a fork the child begins with an empty table whose first place lies behind those of its
//! parent: the parent's locks may be held by threads that the child does not have, and the
//! parent's handles are recognised.

use std::any::Any;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64};
use std::sync::{Arc, PoisonError, RwLock};

use super::error::Fail;
use super::status::{MR_ERR_HANDLE, MR_ERR_OTHER};

const MARK: u64 = b'm' as u64;
const FIELD: u64 = (1 << 24) - 1;

/// What a handle can stand for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Kind {
    Builder = 1,
    Executor = 2,
    Run = 3,
    Pending = 4,
    Buffer = 5,
    Args = 6,
    Ring = 7,
    Scopes = 8,
    TensorMap = 9,
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::Builder,
        Self::Executor,
        Self::Run,
        Self::Pending,
        Self::Buffer,
        Self::Args,
        Self::Ring,
        Self::Scopes,
        Self::TensorMap,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Builder => "a builder (mr_builder)",
            Self::Executor => "an executor (mr_executor)",
            Self::Run => "an open run (mr_run_handle)",
            Self::Pending => "a detached run (mr_pending)",
            Self::Buffer => "a buffer (mr_buffer)",
            Self::Args => "task arguments (mr_args)",
            Self::Ring => "a ring (mr_ring)",
            Self::Scopes => "a stack of scopes (mr_scopes)",
            Self::TensorMap => "a tensor map (mr_tensor_map)",
        }
    }
}

/// What lies in the table.
pub(super) trait Object: Any + Send + Sync {
    const KIND: Kind;
}

struct Entry {
    generation: u64,
    object: Option<Arc<dyn Any + Send + Sync>>,
}

#[derive(Default)]
struct Entries {
    places: Vec<Entry>,
    free: Vec<u32>,
}

struct Table {
    /// The process it is of, by forks since the first one.
    forks: u64,
    /// Places before this one are the parent's.
    base: u32,
    /// Places handed out, the parent's included; readable without the lock.
    end: AtomicU32,
    entries: RwLock<Entries>,
}

static TABLE: AtomicPtr<Table> = AtomicPtr::new(std::ptr::null_mut());
static FORKS: AtomicU64 = AtomicU64::new(0);
static NOTICED: AtomicBool = AtomicBool::new(false);

extern "C" fn in_child() {
    FORKS.fetch_add(1, Relaxed);
}

/// The table of this process.
fn table() -> &'static Table {
    if !NOTICED.swap(true, AcqRel) {
        // SAFETY: the function only adds to an atomic. Out of memory is the only failure, and
        // then forks are not noticed.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    }
    let forks = FORKS.load(Relaxed);
    let mut current = TABLE.load(Acquire);
    loop {
        // SAFETY: null, or a table that is never freed.
        let known = unsafe { current.as_ref() };
        if let Some(table) = known.filter(|table| table.forks == forks) {
            return table;
        }
        let base = known.map_or(0, |parents| parents.end.load(Acquire));
        let made = Box::into_raw(Box::new(Table {
            forks,
            base,
            end: AtomicU32::new(base),
            entries: RwLock::default(),
        }));
        match TABLE.compare_exchange(current, made, AcqRel, Acquire) {
            Ok(_) => current = made,
            Err(theirs) => {
                // SAFETY: made above, and nobody else has seen it.
                drop(unsafe { Box::from_raw(made) });
                current = theirs;
            }
        }
    }
}

fn encode(kind: Kind, generation: u64, place: u32) -> u64 {
    MARK << 56 | (kind as u64) << 48 | generation << 24 | u64::from(place)
}

/// What a handle of the right kind says.
struct Place {
    generation: u64,
    place: u32,
}

fn decode<T: Object>(handle: u64) -> Result<Place, Fail> {
    let expected = T::KIND.name();
    let refuse = |why: String| Err(Fail::new(MR_ERR_HANDLE, why));
    if handle == 0 {
        return refuse(format!("NULL was given where {expected} is expected"));
    }
    let kind = Kind::ALL.into_iter().find(|&kind| kind as u64 == handle >> 48 & 0xff);
    let Some(kind) = kind.filter(|_| handle >> 56 == MARK) else {
        return refuse(format!("{handle:#x} is no handle of mailring; {expected} is expected"));
    };
    if kind != T::KIND {
        return refuse(format!("{} was given where {expected} is expected", kind.name()));
    }
    Ok(Place { generation: handle >> 24 & FIELD, place: (handle & FIELD) as u32 })
}

fn stale<T: Object>(table: &Table, place: &Place) -> Fail {
    let name = T::KIND.name();
    let why = if place.place < table.base {
        format!("{name} was made before a fork: it belongs to the parent process")
    } else {
        format!("{name} that was closed already")
    };
    Fail::new(MR_ERR_HANDLE, why)
}

/// The number of a handle that C holds.
pub(super) fn number<H>(handle: *const H) -> u64 {
    handle.addr() as u64
}

/// Puts something into the table.
pub(super) fn insert<T: Object, H>(object: T) -> Result<*mut H, Fail> {
    let table = table();
    let mut entries = table.entries.write().unwrap_or_else(PoisonError::into_inner);
    let index = match entries.free.pop() {
        Some(index) => index,
        None => {
            let index = entries.places.len() as u32;
            if u64::from(table.base) + u64::from(index) > FIELD {
                let why = "16,777,216 handles are open or used up; close some, and reuse mr_args";
                return Err(Fail::new(MR_ERR_OTHER, why));
            }
            entries.places.push(Entry { generation: 1, object: None });
            table.end.store(table.base + index + 1, Release);
            index
        }
    };
    let entry = &mut entries.places[index as usize];
    entry.object = Some(Arc::new(object));
    let handle = encode(T::KIND, entry.generation, table.base + index);
    Ok(std::ptr::without_provenance_mut(handle as usize))
}

/// What a handle stands for. It stays alive while the result does, whoever closes the handle.
pub(super) fn get<T: Object, H>(handle: *const H) -> Result<Arc<T>, Fail> {
    let place = decode::<T>(number(handle))?;
    let table = table();
    let entries = table.entries.read().unwrap_or_else(PoisonError::into_inner);
    let index = place.place.checked_sub(table.base);
    let entry = index.and_then(|index| entries.places.get(index as usize));
    let object = entry.filter(|e| e.generation == place.generation).and_then(|e| e.object.clone());
    // The kind is in the handle and was checked; a forged handle of another kind ends here.
    let object = object.and_then(|object| object.downcast::<T>().ok());
    object.ok_or_else(|| stale::<T>(table, &place))
}

/// Takes it out of the table: the handle is stale from here on.
pub(super) fn take<T: Object, H>(handle: *const H) -> Result<Arc<T>, Fail> {
    let place = decode::<T>(number(handle))?;
    let table = table();
    let mut entries = table.entries.write().unwrap_or_else(PoisonError::into_inner);
    let index = place.place.checked_sub(table.base);
    let entry = index.and_then(|index| entries.places.get_mut(index as usize));
    let Some(entry) = entry.filter(|e| e.generation == place.generation) else {
        return Err(stale::<T>(table, &place));
    };
    let Some(object) = entry.object.take() else { return Err(stale::<T>(table, &place)) };
    match object.downcast::<T>() {
        Ok(object) => {
            entry.generation += 1;
            if let Some(index) = index.filter(|_| entry.generation <= FIELD) {
                entries.free.push(index);
            }
            Ok(object)
        }
        Err(object) => {
            entry.object = Some(object);
            Err(stale::<T>(table, &place))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Thing(u32);
    impl Object for Thing {
        const KIND: Kind = Kind::Ring;
    }
    // Of a kind that no other test makes: a forged handle must not be that of another test.
    struct Lone;
    impl Object for Lone {
        const KIND: Kind = Kind::Buffer;
    }
    struct Other;
    impl Object for Other {
        const KIND: Kind = Kind::Pending;
    }

    fn why<T>(result: Result<Arc<T>, Fail>) -> super::super::status::mr_status {
        result.err().map_or(0, |fail| fail.status)
    }

    #[test]
    fn a_closed_handle_is_never_valid_again() {
        let mut seen = Vec::new();
        for i in 0..1000 {
            let handle: *mut u8 = insert(Thing(i)).ok().unwrap();
            assert!(!seen.contains(&handle));
            assert!(seen.iter().rev().take(50).all(|&old| get::<Thing, u8>(old).is_err()));
            assert_eq!(get::<Thing, u8>(handle).ok().unwrap().0, i);
            assert_eq!(take::<Thing, u8>(handle).ok().unwrap().0, i);
            assert_eq!(why(take::<Thing, u8>(handle)), MR_ERR_HANDLE);
            seen.push(handle);
        }
    }

    #[test]
    fn no_bits_of_a_handle_may_be_changed() {
        let handle: *mut u8 = insert(Lone).ok().unwrap();
        let other: *mut u8 = insert(Other).ok().unwrap();
        for bit in 0..64 {
            let forged: *const u8 = std::ptr::without_provenance(handle.addr() ^ (1 << bit));
            if forged != other {
                assert_eq!(why(get::<Lone, u8>(forged)), MR_ERR_HANDLE, "bit {bit}");
                assert_eq!(why(take::<Lone, u8>(forged)), MR_ERR_HANDLE, "bit {bit}");
            }
            assert_eq!(why(get::<Other, u8>(forged)), MR_ERR_HANDLE, "bit {bit}");
        }
        assert_eq!(why(get::<Lone, u8>(std::ptr::null())), MR_ERR_HANDLE);
        assert!(take::<Lone, u8>(handle).is_ok() && take::<Other, u8>(other).is_ok());
    }
}
