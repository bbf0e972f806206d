//! Values with refs in them: what their own `Serialize` and `Deserialize` cannot be given as
//! parameters, namely which flow the value is for, and which objects it names.

use std::cell::RefCell;

use serde::de::DeserializeOwned;

use super::codec::{self, Buffer, Fault, Value};
use super::handle::{Handle, Side};

/// What there is to know while one value is written or read.
#[derive(Default)]
struct Context {
    /// The flow that it is for; none: that of this process.
    side: Option<Side>,
    /// Objects that the value being written names.
    named: Option<Vec<Handle>>,
}

thread_local! {
    static CONTEXT: RefCell<Context> = const { RefCell::new(Context { side: None, named: None }) };
}

/// Does something in a context of its own; the old one comes back, also after a panic of the
/// user's code.
fn within<R>(context: Context, f: impl FnOnce() -> R) -> (R, Context) {
    struct Before(Option<Context>);
    impl Drop for Before {
        fn drop(&mut self) {
            if let Some(before) = self.0.take() {
                CONTEXT.replace(before);
            }
        }
    }
    let mut before = Before(Some(CONTEXT.replace(context)));
    let result = f();
    let own = before.0.take().map(|before| CONTEXT.replace(before));
    (result, own.unwrap_or_default())
}

/// The flow that the value at hand is for, if that is not simply the one of this process.
pub(crate) fn side() -> Option<Side> {
    CONTEXT.with_borrow(|context| context.side.clone())
}

/// Writes a value behind what is in the buffer, if it will arrive as it is; the objects that it
/// names, which may be dropped with the value. `side` is the flow that it is for.
#[inline]
pub(crate) fn encode<T: Value>(
    value: &T,
    side: Option<&Side>,
    out: &mut Buffer,
) -> Result<Vec<Handle>, Fault> {
    writing(side, || codec::encode(value, out))
}

/// The same for a slice, which arrives as a vector.
pub(crate) fn encode_slice<E: Value>(
    value: &[E],
    side: Option<&Side>,
    out: &mut Buffer,
) -> Result<Vec<Handle>, Fault> {
    writing(side, || codec::encode_slice(value, out))
}

fn writing(
    side: Option<&Side>,
    write: impl FnOnce() -> Result<(), Fault>,
) -> Result<Vec<Handle>, Fault> {
    let context = Context { side: side.cloned(), named: Some(Vec::new()) };
    let (written, context) = within(context, write);
    written.map(|()| context.named.unwrap_or_default())
}

/// Reads a value of a flow; what is left over is an error as well.
#[inline]
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8], side: Option<&Side>) -> Result<T, Fault> {
    if let Some(value) = codec::decode_plain(bytes) {
        return value; // no refs stand in it
    }
    let context = Context { side: side.cloned(), named: None };
    within(context, || codec::decode(bytes)).0
}

/// Notes that the value being written names an object. Whoever writes a ref for himself alone
/// keeps it himself.
pub(crate) fn note(handle: &Handle) {
    if !codec::stays_here() && CONTEXT.with_borrow(|context| context.named.is_some()) {
        let handle = handle.clone();
        CONTEXT.with_borrow_mut(|context| {
            context.named.iter_mut().for_each(|all| all.push(handle.clone()))
        });
    }
}

/// What is said of a ref in the wrong place.
pub(crate) const FOREIGN: &str = "a ref of another flow means nothing here; get its value first";
