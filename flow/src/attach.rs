//! The one place where something attaches to every call of a node, local or remote: profiles,
//! caches, bypasses. With nothing attached a direct call costs one relaxed load more than the
//! plain function.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use crate::node::NodeDesc;

/// Whether anything is attached.
static ATTACHED: AtomicBool = AtomicBool::new(false);

/// Runs the body of a node, called directly.
#[inline(always)]
pub fn call<R>(desc: &'static NodeDesc, body: impl FnOnce() -> R) -> R {
    if ATTACHED.load(Relaxed) {
        return attached(desc, body);
    }
    body()
}

/// A call of a node on a worker, as it enters the flow.
#[inline(always)]
pub(super) fn dispatched(desc: &'static NodeDesc) {
    if ATTACHED.load(Relaxed) {
        tracing::trace!(node = desc.name, "remote call");
    }
}

/// What is attached sees a local call here.
#[cold]
#[inline(never)]
fn attached<R>(desc: &'static NodeDesc, body: impl FnOnce() -> R) -> R {
    tracing::trace!(node = desc.name, "local call");
    body()
}
