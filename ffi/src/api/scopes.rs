//! A stack of scopes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mailring::graph::ScopeStack;

use super::error::{Fail, guard};
use super::handles::{self, Kind, Object};
use super::raw::Out;
use super::status::mr_status;

/// Part of the engine, for those who test against it: the open scopes of a run. Programs use
/// mr_scope_begin and mr_scope_end.
pub struct mr_scopes {
    _opaque: [u8; 0],
}

pub(super) struct Stack(Mutex<ScopeStack>);

impl Object for Stack {
    const KIND: Kind = Kind::Scopes;
}

impl Stack {
    pub(super) fn lock(&self) -> MutexGuard<'_, ScopeStack> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stack of a handle that may be null.
    pub(super) fn maybe(scopes: *const mr_scopes) -> Result<Option<Arc<Self>>, Fail> {
        if scopes.is_null() { Ok(None) } else { handles::get::<Self, _>(scopes).map(Some) }
    }
}

/// A stack without scopes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mr_scopes_new(out: *mut *mut mr_scopes) -> mr_status {
    // SAFETY: the caller's promise, at the front of the header.
    let out = unsafe { Out::new(out) };
    guard(|| {
        let out = out.check("out")?;
        out.set(handles::insert(Stack(Mutex::new(ScopeStack::new())))?);
        Ok(())
    })
}

/// Ends it.
#[unsafe(no_mangle)]
pub extern "C" fn mr_scopes_free(scopes: *mut mr_scopes) -> mr_status {
    guard(|| handles::take::<Stack, _>(scopes).map(drop))
}

/// Opens a scope; next is the number of the next task.
///
/// MR_ERR_SCOPE: 64 are open.
#[unsafe(no_mangle)]
pub extern "C" fn mr_scopes_begin(scopes: *mut mr_scopes, next: u64) -> mr_status {
    guard(|| Ok(handles::get::<Stack, _>(scopes)?.lock().begin(next)?))
}

/// Closes the innermost scope. *first (which may be NULL) is the next that it was opened with:
/// the first task that can be in it.
///
/// MR_ERR_SCOPE: none is open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mr_scopes_end(scopes: *mut mr_scopes, first: *mut u64) -> mr_status {
    // SAFETY: the caller's promise.
    let first = unsafe { Out::new(first) };
    guard(|| {
        first.set(handles::get::<Stack, _>(scopes)?.lock().end()?.first);
        Ok(())
    })
}

/// How many scopes are open (*depth), and which heap ring, 0 to 3, outputs are taken from now
/// (*heap). Either pointer may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mr_scopes_state(
    scopes: *mut mr_scopes,
    depth: *mut usize,
    heap: *mut u32,
) -> mr_status {
    // SAFETY: the caller's promise.
    let (depth, heap) = unsafe { (Out::new(depth), Out::new(heap)) };
    guard(|| {
        let stack = handles::get::<Stack, _>(scopes)?;
        let stack = stack.lock();
        depth.set(stack.depth());
        heap.set(stack.heap_ring() as u32);
        Ok(())
    })
}
