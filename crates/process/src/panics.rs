//! What a panic of a body leaves for its error: where it was, and how it came there if
//! `RUST_BACKTRACE` asks for that.
//!
//! In a worker process a hook of the program is not called: it may want a lock that was held at the
//! fork, and what it would print is in the error. Where workers are threads, it is, after [`note`].

use std::any::Any;
use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;

const OFF: u8 = 0;
const SHORT: u8 = 1;
const FULL: u8 = 2;

/// What `RUST_BACKTRACE` asks for.
static STYLE: AtomicU8 = AtomicU8::new(OFF);

/// In the host, before a fork.
pub fn prepare() {
    let style = match std::env::var_os("RUST_BACKTRACE") {
        Some(text) if text == "full" => FULL,
        Some(text) if text != "0" => SHORT,
        _ => OFF,
    };
    STYLE.store(style, Relaxed);
}

/// Bytes of a backtrace, at most.
const MOST: usize = 12 << 10;

/// Where a panic was.
#[derive(Default)]
pub struct Noted {
    /// `file:line:column`.
    pub at: String,
    /// As the standard library writes it.
    pub backtrace: Option<String>,
}

thread_local! {
    static NOTED: RefCell<Noted> = RefCell::default();
}

/// In the hook: remembers where this thread panics.
pub fn note(info: &PanicHookInfo<'_>) {
    let at = info.location().map_or_else(String::new, ToString::to_string);
    let style = STYLE.load(Relaxed);
    let backtrace = (style != OFF).then(|| {
        let whole = Backtrace::force_capture().to_string();
        if style == FULL { cut(&whole) } else { cut(&shorten(&whole)) }
    });
    let _ = NOTED.try_with(|noted| {
        if let Ok(mut noted) = noted.try_borrow_mut() {
            *noted = Noted { at, backtrace };
        }
    });
}

/// Runs the user's code; a panic of it comes back as text.
///
/// The payload of a panic is the user's as well: dropping it may panic again, and then it is left
/// where it is.
#[inline]
pub fn guard<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(text_of)
}

#[cold]
#[inline(never)]
fn text_of(payload: Box<dyn Any + Send>) -> String {
    let text = payload.downcast_ref::<&str>().map(|s| (*s).to_owned());
    let text = text
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic with a value that is not text".to_owned());
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(again);
    }
    text
}

/// Where the last panic of this thread was.
pub fn take() -> Noted {
    NOTED.take()
}

/// The frames between the panic and us: those of the body.
fn shorten(whole: &str) -> String {
    let mut frames: Vec<String> = Vec::new();
    for line in whole.lines() {
        let number = line.trim_start().split_once(": ").map(|(number, _)| number);
        let begins = number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
        match frames.last_mut() {
            Some(frame) if !begins => {
                frame.push('\n');
                frame.push_str(line);
            }
            _ => frames.push(line.to_owned()),
        }
    }
    let name = |frame: &String| -> String {
        let first = frame.lines().next().unwrap_or("");
        first.trim_start().split_once(": ").map_or("", |(_, name)| name).to_owned()
    };
    let machinery = ["core::panicking::", "std::panicking::", "rust_begin_unwind", "__rustc::"];
    let is_machinery = |frame: &String| machinery.iter().any(|part| name(frame).contains(part));
    // Names of functions that were inlined stand without a path, or not at all.
    let callers = ["panics::guard", "worker::participant::", "worker::serve::"];
    let is_ours = |frame: &String| {
        let name = name(frame);
        callers.iter().any(|caller| name.contains(caller)) || name.starts_with("guard<")
    };
    let end = frames.iter().position(is_ours).unwrap_or(frames.len());
    // The last one of the panic itself; calls of the standard library behind it catch panics.
    let hook = frames[..end].iter().position(is_machinery).unwrap_or(0);
    let begin = frames[hook..end].iter().position(|frame| !is_machinery(frame)).unwrap_or(0) + hook;
    let between = ["catch_unwind", "do_call", "call_once", "__rust_try", "run_guarded"];
    let places = ["flow/src/worker/serve.rs"];
    let body = frames[begin..end].iter().filter(|frame| {
        let name = name(frame);
        !between.iter().any(|part| name.contains(part))
            && !places.iter().any(|place| frame.contains(place))
    });
    let numbered = body.enumerate().map(|(number, frame)| {
        let behind = frame.trim_start().split_once(": ").map_or(frame.as_str(), |(_, rest)| rest);
        format!("{number:4}: {behind}")
    });
    numbered.collect::<Vec<_>>().join("\n")
}

fn cut(text: &str) -> String {
    if text.len() <= MOST {
        return text.to_owned();
    }
    let end = (0..=MOST).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    format!("{}\n [{} bytes more]", &text[..end], text.len() - end)
}

/// Writes the backtrace of the last panic of this thread to standard error, where there is no room
/// for it in the error.
pub fn tell(who: &str, message: &str) {
    let Noted { at, backtrace } = take();
    if let Some(backtrace) = backtrace {
        let text = format!("{who} panicked at {at}: {message}\nstack backtrace:\n{backtrace}\n");
        // By one call, without the library's lock.
        // SAFETY: the bytes are a live local's.
        unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frames_of_the_body_are_left() {
        let whole = "   0: std::backtrace::Backtrace::force_capture\n   1: mailring_process::panics::note\n   2: std::panicking::panic_with_hook\n   3: __rustc::rust_begin_unwind\n   4: core::panicking::panic_fmt\n   5: program::deep\n             at ./src/main.rs:3:5\n   6: program::body\n   7: core::ops::function::FnOnce::call_once\n   8: std::panicking::catch_unwind\n   9: mailring_process::panics::guard\n  10: main";
        let short = shorten(whole);
        assert_eq!(
            short,
            "   0: program::deep\n             at ./src/main.rs:3:5\n   1: program::body"
        );
        assert_eq!(shorten("no frames"), "   0: no frames");
        assert_eq!(shorten(""), "");
    }

    #[test]
    fn a_long_one_is_cut() {
        let text = "\u{e4}".repeat(MOST);
        assert!(cut(&text).len() < MOST + 40 && cut("a") == "a");
    }
}
