//! Workers that drive a chip through a runtime library of six C functions.
//!
//! ```text
//!  worker process i                                      libhost_runtime.so (dlopen, RTLD_LOCAL)
//! ┌──────────────────────────┐  create_device_context   ┌──────────────────────────────┐
//! │ ChipWorker               │  get_runtime_size        │                              │
//! │   context, runtime buffer├─────────────────────────▶│ device context ───▶ device i │
//! │   1,672 bytes of args    │  set_device, run_runtime │                              │
//! │   AICPU, AICore binaries │  finalize_device         └──────────────────────────────┘
//! └──────────────────────────┘  destroy_device_context
//! ```
//!
//! A [`ChipRuntime`] says what to load, which devices there are, and which
//! [`ChipCallable`](crate::abi::ChipCallable)s can be submitted.
//! [`Builder::chip_workers`](crate::Builder::chip_workers) makes one worker a device
//! of it, each in its own process: what a runtime does to its process, it does to one device.
//! A [`ChipWorker`] can also be driven by hand.

mod buffer;
mod error;
mod library;
mod runtime;
mod worker;

pub use error::{ChipError, run_code_name};
pub use runtime::ChipRuntime;
pub use worker::ChipWorker;
