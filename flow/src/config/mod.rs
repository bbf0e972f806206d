//! The configuration of caching and bypass: a YAML file, and what programs add to it.
//!
//! | file | what it owns |
//! | --- | --- |
//! | `tree` | YAML as a tree in which everything knows its line and column |
//! | `rules` | what the file says of functions, checked |
//! | `call` | a call as conditions and providers see it |
//! | `snapshot` | [`Config`](snapshot::Config), and what it says of one call |

pub(crate) mod call;
mod rules;
pub(crate) mod snapshot;
mod tree;
