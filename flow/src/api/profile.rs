//! What calls and bodies say for the profile.

use serde::Serialize;

use super::current;
use crate::profile::frames;
use crate::protocol::node::NodeDesc;

/// Writes a line of its own into the profile, in a body or in the driver: `kind` is its type, and
/// `fields`, which serde serialises to a map or a struct, are its fields. (Anything else becomes the
/// field `value`.) Without a profile it does nothing.
///
/// ```no_run
/// #[derive(serde::Serialize)]
/// struct Checkpoint {
///     step: u32,
///     loss: f64,
/// }
///
/// mailring::flow::log_event("checkpoint", Checkpoint { step: 3, loss: 0.25 });
/// ```
pub fn log_event(kind: &str, fields: impl Serialize) {
    if frames::are_calls_noted()
        && let Ok(side) = current::side()
    {
        side.note(frames::event(kind, fields));
    }
}

/// A call of a node as an ordinary function: it has ended when this is dropped.
#[derive(Debug)]
pub struct LocalCall(bool);

/// Such a call begins.
#[inline]
pub fn local_call(node: &'static NodeDesc) -> LocalCall {
    LocalCall(frames::are_calls_noted() && frames::enter_call(node))
}

impl Drop for LocalCall {
    #[inline]
    fn drop(&mut self) {
        if self.0
            && let Some(note) = frames::leave_call()
            && let Ok(side) = current::side()
        {
            side.note(note);
        }
    }
}
