//! Results of calls on disk, each under its tag: a directory with one file an entry, which several
//! programs may share.
//!
//! | file | what it owns |
//! | --- | --- |
//! | `budget` | how many bytes a cache may take |
//! | `file` | one entry as bytes: its head, its value, their checksum; written whole or not at all |
//! | `index` | which entries a directory has, how large they are, and which was used last |
//! | `store` | [`Cache`]: the directory as programs use it |
//! | `key` | what tells calls apart |
//! | `inputs` | what files contain, by size and time where those say enough |

pub(crate) mod budget;
pub(crate) mod file;
mod index;
pub(crate) mod inputs;
pub(crate) mod key;
pub(crate) mod store;

pub use budget::Budget;
#[doc(hidden)]
pub use file::entry_or_not;
pub use store::Cache;
