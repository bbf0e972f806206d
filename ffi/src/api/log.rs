//! What the library tells of its own doings.

use std::cell::Cell;
use std::ffi::{CString, c_char, c_void};
use std::fmt::{Debug, Write};
use std::mem::MaybeUninit;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{PoisonError, RwLock};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use super::error::{Fail, guard};
use super::raw::number;
use super::status::{MR_ERR_MISUSE, mr_status};

/// How much is told.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum mr_log_level {
    /// Nothing.
    MR_LOG_OFF = 0,
    /// The executor cannot go on.
    MR_LOG_ERROR = 1,
    /// A worker died, a task failed, a deadline passed.
    MR_LOG_WARN = 2,
    /// Workers started, replaced, ended.
    MR_LOG_INFO = 3,
    /// What the supervisor does.
    MR_LOG_DEBUG = 4,
    /// All there is.
    MR_LOG_TRACE = 5,
}
pub use mr_log_level::*;

/// Is told one thing: a line of text without a newline, good for the length of the call. Called by
/// any thread of the host, by several at the same time; never in a worker process. It must return
/// soon, must not call mr_set_log, and what other functions of this library it calls tell nothing.
pub type mr_log_fn =
    Option<unsafe extern "C" fn(level: mr_log_level, message: *const c_char, user: *mut c_void)>;

struct Sink {
    function: unsafe extern "C" fn(mr_log_level, *const c_char, *mut c_void),
    user: *mut c_void,
}

// SAFETY: the pointer is only passed on; the header says that several threads call.
unsafe impl Send for Sink {}
// SAFETY: as above.
unsafe impl Sync for Sink {}

static SINK: RwLock<Option<Sink>> = RwLock::new(None);
static LEVEL: AtomicU32 = AtomicU32::new(0);
/// The process that asked: workers, and other children, tell nothing.
static PROCESS: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// Whether this thread is inside the function.
    static TELLING: Cell<bool> = const { Cell::new(false) };
}

fn level_of(level: &Level) -> mr_log_level {
    match *level {
        Level::ERROR => MR_LOG_ERROR,
        Level::WARN => MR_LOG_WARN,
        Level::INFO => MR_LOG_INFO,
        Level::DEBUG => MR_LOG_DEBUG,
        _ => MR_LOG_TRACE,
    }
}

struct Hook;

impl Subscriber for Hook {
    fn enabled(&self, about: &Metadata<'_>) -> bool {
        level_of(about.level()) as u32 <= LEVEL.load(Relaxed)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match LEVEL.load(Relaxed) {
            0 => LevelFilter::OFF,
            1 => LevelFilter::ERROR,
            2 => LevelFilter::WARN,
            3 => LevelFilter::INFO,
            4 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        })
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let inside = TELLING.try_with(|telling| telling.replace(true)).unwrap_or(true);
        if inside {
            return;
        }
        if std::process::id() == PROCESS.load(Relaxed) {
            let mut line = Line::default();
            event.record(&mut line);
            let text = line.message + &line.fields;
            let text = CString::new(text.replace(['\0', '\n'], " ")).unwrap_or_default();
            let sink = SINK.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(sink) = &*sink {
                // SAFETY: the caller of `mr_set_log` says that it is such a function.
                unsafe {
                    (sink.function)(level_of(event.metadata().level()), text.as_ptr(), sink.user)
                };
            }
        }
        let _ = TELLING.try_with(|telling| telling.set(false));
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

/// Lets function be told what the library does, up to level; NULL or MR_LOG_OFF: nobody is. user is
/// passed to every call. What was set before is not called any more when this returns.
///
/// MR_ERR_MISUSE: called by such a function; or the program has a subscriber of Rust's own.
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn mr_set_log(
    level: MaybeUninit<mr_log_level>,
    function: mr_log_fn,
    user: *mut c_void,
) -> mr_status {
    guard(|| {
        let level = number(level);
        if level > MR_LOG_TRACE as u32 {
            let why = format!("{level} is not a level; see MR_LOG_OFF (0) to MR_LOG_TRACE (5)");
            return Err(Fail::argument(why));
        }
        if TELLING.try_with(Cell::get).unwrap_or(true) {
            let why = "mr_set_log inside of what it has set would wait for itself";
            return Err(Fail::new(MR_ERR_MISUSE, why));
        }
        let sink = function.filter(|_| level > 0).map(|function| Sink { function, user });
        if sink.is_some() && !hooked() {
            let why = "this program has a subscriber for tracing events already; use that one";
            return Err(Fail::new(MR_ERR_MISUSE, why));
        }
        LEVEL.store(if sink.is_some() { level } else { 0 }, Relaxed);
        PROCESS.store(std::process::id(), Relaxed);
        *SINK.write().unwrap_or_else(PoisonError::into_inner) = sink;
        tracing::callsite::rebuild_interest_cache();
        Ok(())
    })
}

/// Whether events come here.
fn hooked() -> bool {
    static HOOKED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *HOOKED.get_or_init(|| tracing::subscriber::set_global_default(Hook).is_ok())
}
