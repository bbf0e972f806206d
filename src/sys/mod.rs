//! The system calls, and nothing but them: mapping, futex, processes, what the machine has.

pub(crate) mod descriptors;
#[cfg(feature = "flow")]
pub(crate) mod family;
pub(crate) mod file;
pub(crate) mod futex;
pub(crate) mod limits;
pub(crate) mod machine;
pub(crate) mod map;
pub(crate) mod membarrier;
pub(crate) mod process;
pub(crate) mod stack;
