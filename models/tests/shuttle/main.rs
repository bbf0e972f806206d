//! The sources and the scenarios on shuttle.

pub(crate) mod checker;

#[path = "../shared/call_cell.rs"]
pub(crate) mod call_cell;
#[path = "../shared/crash.rs"]
pub(crate) mod crash;
#[path = "../shared/deadline_clock.rs"]
pub(crate) mod deadline_clock;
#[path = "../shared/group_pool.rs"]
pub(crate) mod group_pool;
#[path = "../shared/mailbox.rs"]
pub(crate) mod mailbox;
#[path = "../shared/queued.rs"]
pub(crate) mod queued;
#[path = "../shared/ring.rs"]
pub(crate) mod ring;
#[path = "../shared/sleepers.rs"]
pub(crate) mod sleepers;
#[path = "../shared/sync.rs"]
pub(crate) mod sync;
#[path = "../shared/world.rs"]
pub(crate) mod world;

#[path = "../shared/model/mod.rs"]
mod model;

#[path = "../../../src/limits.rs"]
#[allow(dead_code, unreachable_pub, reason = "only the sources included here use it")]
mod limits;
