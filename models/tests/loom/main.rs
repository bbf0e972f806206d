//! The sources, the scenarios and the planted defects on loom.

pub(crate) mod checker;

#[path = "../shared/bedroom.rs"]
pub(crate) mod bedroom;
#[path = "../shared/crash.rs"]
pub(crate) mod crash;
#[path = "../shared/desk.rs"]
pub(crate) mod desk;
#[path = "../shared/gang.rs"]
pub(crate) mod gang;
#[path = "../shared/hinted.rs"]
pub(crate) mod hinted;
#[path = "../shared/mailbox.rs"]
pub(crate) mod mailbox;
#[path = "../shared/ring.rs"]
pub(crate) mod ring;
#[path = "../shared/sync.rs"]
pub(crate) mod sync;
#[path = "../shared/watchman.rs"]
pub(crate) mod watchman;
#[path = "../shared/world.rs"]
pub(crate) mod world;

#[path = "../shared/model/mod.rs"]
mod model;
#[path = "planted/mod.rs"]
mod model_planted;

#[path = "../../../src/limits.rs"]
#[allow(dead_code, unreachable_pub, reason = "only the sources included here use it")]
mod limits;
