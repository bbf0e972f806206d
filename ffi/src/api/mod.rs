//! Functions, types and constants of C, by subject. Comments of public items are those of the
//! header, so they speak to a C programmer.
//!
//! | file | subject |
//! | --- | --- |
//! | `status`, `error` | numbers of errors, what the calling thread is told, the guard |
//! | `handles` | the table behind the opaque pointers |
//! | `raw` | pointers of the caller: checked and copied here and nowhere else |
//! | `values`, `options` | plain structures |
//! | `builder`, `executor`, `buffers`, `args` | making things |
//! | `runs`, `submit`, `pending` | running graphs |
//! | `recordings` | running them again |
//! | `blob`, `chips`, `log` | arguments in their encoded form; workers that drive chips; the log |
//!
//! The files name each other by `super::`, so this tree can be compiled as a module of another
//! crate (fuzz targets do).

#![allow(non_camel_case_types, reason = "the names are those of C")]
#![allow(clippy::missing_safety_doc, reason = "the front of the header says it once for all")]

pub mod args;
pub mod blob;
pub mod buffers;
pub mod builder;
pub mod chips;
pub mod error;
pub mod executor;
mod handles;
pub mod log;
pub mod options;
pub mod pending;
mod raw;
pub mod recordings;
pub mod runs;
pub mod status;
pub mod submit;
pub mod values;
pub mod version;
