//! What driver and workers have in common: the words and bytes that pass between them.
//!
//! | files | contents |
//! | --- | --- |
//! | [`cell`], [`notifier`], [`stream`], [`memory`] | shared memory: calls, wakeups, messages |
//! | [`codec`] | values as bytes |
//! | [`error`], [`resources`], [`options`], [`cancel`], [`pending`], [`info`], [`progress`] | what is said of calls |
//! | [`args`], [`handle`], [`refs`], [`arg_writer`], [`value`] | refs, and values with refs |
//! | [`wire`] | requests of workers |
//! | [`node`], [`call_context`] | functions, and one call as its function sees it |
//! | [`output`], [`note`] | what workers print; what they say for the profile |

use mailring_process::sync;

pub(crate) mod arg_writer;
pub(crate) mod args;
pub(crate) mod call_context;
pub(crate) mod cancel;
pub(crate) mod cell;
pub(crate) mod codec;
pub(crate) mod error;
pub(crate) mod handle;
pub(crate) mod info;
pub(crate) mod memory;
pub(crate) mod node;
pub(crate) mod note;
pub(crate) mod notifier;
pub(crate) mod options;
pub(crate) mod output;
pub(crate) mod pending;
pub(crate) mod progress;
pub(crate) mod refs;
pub(crate) mod resources;
pub(crate) mod stream;
pub(crate) mod value;
pub(crate) mod wire;
