//! The system calls, and nothing but them: mapping, futex, processes, what the machine has.

pub(crate) mod descriptors;
pub(crate) mod file;
pub(crate) mod futex;
pub(crate) mod limits;
pub(crate) mod machine;
pub(crate) mod map;
pub(crate) mod membarrier;
pub(crate) mod process;
#[cfg_attr(not(feature = "flow"), expect(dead_code, reason = "flows ask for more of it"))]
pub(crate) mod process_tree;
pub(crate) mod stack;
