//! The codes that the functions return, each with a reason.

use std::io::Write;

use mailring::abi::AbiError;

/// Why a call failed: its code, and what is printed about it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: i32,
    pub(crate) why: String,
}

/// The runtime's general code.
pub(crate) const GENERAL: i32 = -1;
/// A heap that is too small for what is asked.
pub(crate) const HEAP: i32 = -2;
/// Invalid arguments.
pub(crate) const INVALID: i32 = -5;

pub(crate) fn failure(code: i32, why: impl Into<String>) -> Failure {
    Failure { code, why: why.into() }
}

pub(crate) fn invalid(why: impl Into<String>) -> Failure {
    failure(INVALID, why)
}

impl From<AbiError> for Failure {
    fn from(error: AbiError) -> Self {
        invalid(error.to_string())
    }
}

/// Says why a call fails.
pub(crate) fn say(device: Option<i32>, why: &str) {
    // One write, so that lines of several processes stay whole; nobody to tell when it fails.
    let line = match device {
        Some(device) => format!("simchip: device {device}: {why}\n"),
        None => format!("simchip: {why}\n"),
    };
    let _ = std::io::stderr().write_all(line.as_bytes());
}
