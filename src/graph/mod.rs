//! What a submit has to know of earlier ones: who wrote and who reads which bytes
//! ([`TensorMap`]), and which scopes are open ([`ScopeStack`]). Private to the submitting thread;
//! no atomics, no shared memory, no system call.

mod access;
mod blocks;
mod keys;
mod overlap;
mod ranges;
mod scope;
mod segment;
mod tensor_map;

pub use access::{Access, Dependencies, Producer};
pub(crate) use blocks::Place;
pub(crate) use keys::Spread;
pub use overlap::{shared_and_written, written_twice};
pub(crate) use ranges::{Found, RangeMap};
pub use scope::{Scope, ScopeError, ScopeStack};
pub(crate) use segment::Segment;
pub use tensor_map::{Hazards, TensorMap};
