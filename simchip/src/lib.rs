//! A simulated chip for [`mailring::chip`]: the six functions of a host runtime, in a library that
//! computes what a chip would.
//!
//! ```text
//!  worker process of device N
//! ┌─────────────────────────────────────────────────────────────────────────────────────────┐
//! │ ChipWorker ── run_runtime(callable, args) ──▶ libmailring_simchip.so                    │
//! │                                                 │ checks all that it was given          │
//! │   host memory (buffers, heap rings)             │ loads the binaries of the callable    │
//! │  ┌────────────────┐    copies tensors in        ▼                                       │
//! │  │ tensors        ├────────────────────▶ device memory ◀──┐                             │
//! │  │                │◀──────────────────── OUT, INOUT       │ reads, writes               │
//! │  └────────────────┘    copies back, on success            │                             │
//! │                                   orchestration.func_name(task)                         │
//! │                                         │ task->launch(func_id, blocks, tensors, ...)   │
//! │                                         └─▶ child.kernel_entry(block, blocks, ...)      │
//! │                                              for block 0, 1, ... of the launch          │
//! └─────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! What kernels and orchestration functions see is in `include/simchip.h`; how to write and pack
//! them, and how to make the chip fail, is in the package's `README.md`.
//!
//! The package is two things: the library that a worker loads, and this crate, which knows where
//! cargo has put the library ([`library_path`]).

mod context;
mod fault;
mod interface;
mod job;
mod loader;
mod memory;
mod run;
mod status;
pub mod symbols;

use std::path::{Path, PathBuf};

/// Devices there are: 0 to 15.
pub const DEVICES: i32 = 16;

/// File name of the library.
pub const LIBRARY: &str = "libmailring_simchip.so";

/// Which state of the sources this is. In the library it can be found as text.
#[unsafe(no_mangle)]
#[used]
static SIMCHIP_BUILD: [u8; 39] = *concat_bytes();

const fn concat_bytes() -> &'static [u8; 39] {
    match concat!("mailring-simchip build ", env!("SIMCHIP_BUILD")).as_bytes().first_chunk() {
        Some(text) => text,
        None => panic!("the name of a build has 16 digits"),
    }
}

/// The library that was built with this crate: beside the running program, or where cargo puts it
/// when the program is a test or an example. None when there is none, or only one of another state
/// of the sources.
pub fn library_path() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let beside = program.parent()?;
    let above = beside.parent().unwrap_or(beside);
    let places = [beside.join("deps"), beside.to_owned(), above.join("deps"), above.to_owned()];
    places.iter().map(|place| place.join(LIBRARY)).find(|path| is_this_build(path))
}

fn is_this_build(path: &Path) -> bool {
    let Ok(bytes) = std::fs::read(path) else { return false };
    let (first, rest) = SIMCHIP_BUILD.split_at(1);
    let mut from = bytes.as_slice();
    while let Some(at) = from.iter().position(|byte| byte == &first[0]) {
        from = &from[at + 1..];
        if from.starts_with(rest) {
            return true;
        }
    }
    false
}
