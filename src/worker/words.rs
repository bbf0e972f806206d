//! What is said of a body that failed.

use std::error::Error;
use std::ffi::c_int;
use std::fmt;

use super::Worker;
use crate::segment::Detail;

pub(crate) type BoxError = Box<dyn Error + Send + Sync>;

/// What a body that failed had to say, and the number that goes with it.
#[derive(Debug, Default)]
pub(crate) struct Words {
    pub(crate) text: String,
    pub(crate) detail: Detail,
}

impl Words {
    pub(crate) fn new(text: String) -> Self {
        Self { text, detail: Detail::None }
    }

    /// What `worker` says of an error of its own.
    pub(crate) fn of(worker: &dyn Worker, error: &(dyn Error + 'static)) -> Self {
        let returned = error.downcast_ref::<Returned>().map(|returned| returned.code);
        let returned = returned.or_else(|| worker.return_code(error));
        let detail = returned.map_or(Detail::None, Detail::Returned);
        Self { text: describe(error), detail }
    }
}

/// An error with everything that caused it, in one line.
pub(super) fn describe(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.ends_with(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

/// What a function of C has returned, and said with `fail`.
#[derive(Debug)]
pub(crate) struct Returned {
    code: c_int,
    text: String,
}

impl Returned {
    pub(super) fn new(code: c_int, text: String) -> Self {
        Self { code, text }
    }
}

impl fmt::Display for Returned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, text } = self;
        if text.is_empty() {
            return write!(f, "it returned {code}");
        }
        write!(f, "{text} (it returned {code})")
    }
}

impl Error for Returned {}
