//! What the driver knows: parts, each with one file that alone changes it.
//!
//! | files | contents |
//! | --- | --- |
//! | [`objects`], [`tasks`], [`ranks`] | what exists, who holds it, who waits for it; in which order |
//! | [`nodes`] | what is known of each function |
//! | [`store`], [`block_allocator`], [`admission`], [`weights`] | blocks of memory, and who waits for some |
//! | [`scheduler`], [`quantities`], [`classes`], [`workers`], [`bundles`], [`claims`] | which task may have which worker |
//! | [`processes`], [`waits`], [`responses`], [`unpark`] | processes, their cells, what their bodies wait for |
//! | [`readiness`] | which tasks may start, and who may have memory |
//! | [`actors`], [`cancels`], [`wait_sets`] | as they say |
//! | [`features`], [`results`] | what a configuration makes of a task; results on their way to and from the cache |
//! | [`deadlock_graph`] | deadlock detection on a plain graph |
//! | [`effects`] | what a step has found out for others |
//! | [`recorder`] | what is noted for the profile |
//! | [`state`] | all of these together |

pub(crate) mod actors;
pub(crate) mod admission;
pub(crate) mod block_allocator;
pub(crate) mod bundles;
pub(crate) mod cancels;
pub(crate) mod claims;
pub(crate) mod classes;
pub(crate) mod deadlock_graph;
pub(crate) mod effects;
pub(crate) mod features;
pub(crate) mod nodes;
pub(crate) mod objects;
pub(crate) mod processes;
pub(crate) mod quantities;
pub(crate) mod ranks;
pub(crate) mod readiness;
pub(crate) mod recorder;
pub(crate) mod responses;
pub(crate) mod results;
pub(crate) mod scheduler;
pub(crate) mod state;
pub(crate) mod store;
pub(crate) mod tasks;
pub(crate) mod unpark;
pub(crate) mod wait_sets;
pub(crate) mod waits;
pub(crate) mod weights;
pub(crate) mod workers;
