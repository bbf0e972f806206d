//! The fork server: a small single-threaded process, forked first, that forks all workers.
//!
//! ```text
//! host ─ ─ fork ─ ▶ fork server ──fork──▶ worker 0, worker 1, ...      (`fork_server_start`)
//!   │  socket pair    │                     │
//!   └─ pidfds ◀───────┘ (SCM_RIGHTS)        └ killed with the fork server (PR_SET_PDEATHSIG)
//!                     └ watches a pidfd of the host; subreaper of all descendants
//! ```
//!
//! So a replacement is never forked from a process with threads, and however the host dies, the
//! fork server sees it and ends all workers. `PR_SET_PDEATHSIG` is not enough between host and
//! fork server: it fires when the *thread* that forked ends.
mod child;
mod handler;
mod host;
mod host_watch;
mod message;
mod progress;
mod server;
mod start;

pub use child::ChildHandle;
pub use handler::ForkServerHandler;
pub use host::ForkServer;
pub use progress::{StartProgress, StartStep};
