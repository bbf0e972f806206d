//! The ring of task slots: what a slot is, how it moves, who may reuse it.
//!
//! [`word`] is the state word, [`slot`] the steps, [`table`] the window that all participants
//! share, [`dist_ring`] the owner's side (window, payload and heap rings with their cursors).
//! Nothing here knows a system call; memory is handed in.

use mailring_process::sync;

pub mod dist_ring;
pub mod heap;
pub mod slot;
pub mod span;
pub mod table;
pub mod word;

pub use dist_ring::{DistRing, Geometry, Reservation, RingError};
pub use heap::{HeapRing, Slab};
pub use slot::Slot;
pub use table::{Edge, EdgeKind, Table};
pub use word::{Phase, Word};
