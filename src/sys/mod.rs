//! The system calls, and nothing but them: mapping, futex, processes, what the machine has.

#[cfg(feature = "flow")]
pub(crate) mod family;
pub(crate) mod futex;
pub(crate) mod machine;
pub(crate) mod map;
pub(crate) mod membarrier;
pub(crate) mod private;
pub(crate) mod process;
