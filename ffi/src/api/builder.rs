//! Building an executor.

use std::ffi::{c_char, c_void};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use mailring::Builder;
use mailring::chip::ChipRuntime;
use mailring::native::{NativeFunction, call_native};

use super::error::guard;
use super::executor::{Engine, mr_executor};
use super::handles::{self, Kind, Object, Owned};
use super::options::{self, mr_options};
use super::raw::{Out, Text, VersionedIn, null};
use super::status::mr_status;
use super::values::{mr_callable, mr_function, native};

/// What an executor is made from.
pub struct mr_builder {
    _opaque: [u8; 0],
}

pub(super) struct Making {
    builder: Builder,
    pub(super) chips: Option<ChipRuntime>,
    /// Lives as long as the executor, and a little longer.
    kept: Vec<Arc<Body>>,
}

// SAFETY: the only type of that kind.
unsafe impl Object for Making {
    const KIND: Kind = Kind::Builder;
}
impl Owned for Making {}

/// A function of the caller with its argument.
pub(super) struct Body {
    function: NativeFunction,
    user: *mut c_void,
    destroy: Option<unsafe extern "C" fn(user: *mut c_void)>,
    /// The process whose it is, once it is registered; 0 before.
    owner: AtomicU32,
}

// SAFETY: the pointer is only passed on; the header says that the function is called by several
// threads in THREAD mode.
unsafe impl Send for Body {}
// SAFETY: as above.
unsafe impl Sync for Body {}

impl Drop for Body {
    fn drop(&mut self) {
        if let Some(destroy) = self.destroy
            && *self.owner.get_mut() == std::process::id()
        {
            // SAFETY: the caller of `mr_register_with` says that it is such a function for this
            // `user`; nothing else uses that any more.
            unsafe { destroy(self.user) };
        }
    }
}

/// Begins an executor with these options (not NULL: it needs workers).
///
/// End it with mr_build, or with mr_builder_free.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_builder_new(
    options: *const mr_options,
    out: *mut *mut mr_builder,
) -> mr_status {
    // SAFETY: the caller's promise, at the front of the header.
    let (options, out) = unsafe { (VersionedIn::new(options), Out::new(out)) };
    guard(|| {
        let out = out.check("out")?;
        let builder = options::builder(options)?;
        out.set(handles::insert(Making { builder, chips: None, kept: Vec::new() })?);
        Ok(())
    })
}

/// Registers a function under a name that no other has; *out is what to submit.
///
/// user is passed to every call, and is the caller's own (see mr_register_with). Workers are forked in mr_build, so what user points to is what
/// it was then, each worker with its own copy; in THREAD mode it is the very thing, and it must
/// live until the executor is closed.
///
/// MR_ERR_DUPLICATE: the name is taken.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_register(
    builder: *mut mr_builder,
    name: *const c_char,
    function: mr_function,
    user: *mut c_void,
    out: *mut mr_callable,
) -> mr_status {
    // SAFETY: the caller's promise.
    unsafe { mr_register_with(builder, name, function, user, None, out) }
}

/// The same with a function that ends user: it is called once, in this process, when the executor
/// has been closed or the builder freed, and no function is called any more. Not when this function
/// fails.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_register_with(
    builder: *mut mr_builder,
    name: *const c_char,
    function: mr_function,
    user: *mut c_void,
    destroy: Option<unsafe extern "C" fn(user: *mut c_void)>,
    out: *mut mr_callable,
) -> mr_status {
    // SAFETY: the caller's promise.
    let (name, out) = unsafe { (Text::new(name), Out::new(out)) };
    guard(|| {
        let mut making = handles::lock::<Making, _>(builder)?;
        let out = out.check("out")?;
        let name = name.name("the name of a function")?.ok_or_else(|| null("name"))?;
        let function = native(function, "function")?;
        let body = Arc::new(Body { function, user, destroy, owner: AtomicU32::new(0) });
        let called = Arc::clone(&body);
        let callable = making.builder.register(&name, move |args, config, context| {
            // SAFETY: it is a function of this type that expects this `user`, by the promise of
            // the caller of `mr_register`.
            unsafe { call_native(called.function, called.user, args, config, context) }
        })?;
        body.owner.store(std::process::id(), Relaxed);
        making.kept.push(body);
        out.set(callable.0);
        Ok(())
    })
}

/// Maps the shared memory, forks the workers (or starts their threads), and waits until all are
/// ready. The builder is used up, also by an error, unless that is MR_ERR_HANDLE or MR_ERR_NULL.
///
/// Build early: beside other threads of the program, functions that take a lock which one of them
/// holds at this moment would wait for ever in the workers. Flush stdio before: a worker has what
/// was not written yet as well, and its exit() would write it again and run the program's atexit
/// handlers (in a function, use _exit or abort to end a worker, and fflush what it prints).
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_build(
    builder: *mut mr_builder,
    out: *mut *mut mr_executor,
) -> mr_status {
    // SAFETY: the caller's promise.
    let out = unsafe { Out::new(out) };
    guard(|| {
        let out = out.check("out")?;
        let making = handles::take::<Making, _>(builder)?;
        let Making { builder, chips, kept } = *making;
        let builder = match chips {
            Some(chips) => builder.chip_workers(chips),
            None => builder,
        };
        let exec = builder.build()?;
        out.set(handles::insert(Engine(exec, kept))?);
        Ok(())
    })
}

/// Ends a builder that was not built. NULL does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn mr_builder_free(builder: *mut mr_builder) -> mr_status {
    guard(|| if builder.is_null() { Ok(()) } else { handles::take::<Making, _>(builder).map(drop) })
}
