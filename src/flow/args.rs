//! Arguments on their way: each is a value, encoded, or a ref to one.

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::error::{BadArgument, Error};
use super::node::NodeDesc;
use super::reference::{Fill, Handle, ObjectRef, Side};

/// Arguments longer than this get a place of their own, instead of standing in letters.
const LONG_ARGUMENT: usize = 2048;

/// One argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Arg {
    /// So many of the encoded bytes.
    Value(u32),
    /// The value of this object.
    Ref(u64),
}

/// The arguments of a call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Args {
    pub(super) list: SmallVec<[Arg; 4]>,
    pub(super) bytes: SmallVec<[u8; 64]>,
    /// Objects that the encoded values name.
    pub(super) nested: Vec<u64>,
}

impl Args {
    /// Every object that they name.
    pub(super) fn ids(&self) -> impl Iterator<Item = u64> + '_ {
        let refs = self.list.iter().filter_map(|arg| match arg {
            Arg::Ref(id) => Some(*id),
            Arg::Value(_) => None,
        });
        refs.chain(self.nested.iter().copied())
    }

    /// Whether the lengths fit the bytes: another process may have made them.
    pub(super) fn check(&self) -> Result<(), Error> {
        let lengths = self.list.iter().map(|arg| match arg {
            Arg::Value(len) => u64::from(*len),
            Arg::Ref(_) => 0,
        });
        if lengths.sum::<u64>() == self.bytes.len() as u64 {
            return Ok(());
        }
        Err(Error::Invalid("the lengths of arguments do not fit their bytes".to_owned()))
    }

    /// The encoded values, in order; `None` for a ref.
    pub(super) fn values(&self) -> impl Iterator<Item = Option<&[u8]>> {
        let mut rest = &self.bytes[..];
        self.list.iter().map(move |arg| match arg {
            Arg::Value(len) => {
                let (value, behind) = rest.split_at(*len as usize);
                rest = behind;
                Some(value)
            }
            Arg::Ref(_) => None,
        })
    }
}

/// Collects the arguments of a call.
#[derive(Debug, Default)]
pub struct ArgWriter {
    pub(super) args: Args,
    /// What cannot be encoded, and why.
    pub(super) failed: Option<(usize, String)>,
    /// Refs that were given away: they live until the call is on its way.
    kept: SmallVec<[Handle; 2]>,
}

impl ArgWriter {
    /// Encodes a value as the next argument.
    pub(super) fn value<T: Serialize + ?Sized>(&mut self, value: &T) {
        let before = self.args.bytes.len();
        let sink = Bytes(&mut self.args.bytes);
        let (encoded, named) =
            collecting(|| postcard::serialize_with_flavor::<T, _, ()>(value, sink));
        self.args.nested.extend(named.iter().map(Handle::id));
        self.kept.extend(named);
        if let Err(error) = encoded {
            let index = self.args.list.len();
            self.failed.get_or_insert((index, describe(&error)));
        }
        let len = self.args.bytes.len() - before;
        match u32::try_from(len) {
            Ok(len) => self.args.list.push(Arg::Value(len)),
            Err(_) => {
                let why = format!("{len} bytes are more than an argument can have (4 GiB)");
                self.failed.get_or_insert((self.args.list.len(), why));
            }
        }
    }

    /// The next argument, encoded already. Refs inside are not known, and not kept.
    pub(super) fn encoded(&mut self, bytes: &[u8]) {
        self.args.bytes.extend_from_slice(bytes);
        self.args.list.push(Arg::Value(bytes.len() as u32));
    }

    /// Whether there is an argument for each parameter, and all could be encoded.
    fn check(&self, node: &NodeDesc) -> Result<(), Error> {
        let Some((index, why)) = &self.failed else { return Ok(()) };
        let name = node.params.get(*index).copied().unwrap_or("?");
        Err(Error::Encode {
            what: format!("argument {index} (`{name}`) of `{}`", node.name),
            why: why.clone(),
        })
    }

    /// Writes long arguments to places of their own once, instead of into letters again and again.
    /// What `new_block` made must live until the call has been entered.
    pub(super) fn place_long(
        &mut self,
        node: &NodeDesc,
        mut new_block: impl FnMut(u64, Fill<'_>) -> Result<(Handle, u64), Error>,
    ) -> Result<Vec<Handle>, Error> {
        self.check(node)?;
        let mut held = Vec::new();
        if self.args.bytes.len() <= LONG_ARGUMENT {
            return Ok(held);
        }
        let old = std::mem::take(&mut self.args);
        let mut args = Args { nested: old.nested.clone(), ..Args::default() };
        for (arg, value) in old.list.iter().zip(old.values()) {
            match value {
                Some(value) if value.len() > LONG_ARGUMENT => {
                    let mut fill = |room: &mut [u8]| room.copy_from_slice(value);
                    let (handle, _) = new_block(value.len() as u64, &mut fill)?;
                    args.list.push(Arg::Ref(handle.id()));
                    held.push(handle);
                }
                Some(value) => {
                    args.list.push(*arg);
                    args.bytes.extend_from_slice(value);
                }
                None => args.list.push(*arg),
            }
        }
        self.args = args;
        Ok(held)
    }

    /// Values alone, for those who are called without any wait: the encoded arguments.
    pub(super) fn plain(self) -> Result<Vec<Vec<u8>>, String> {
        if let Some((index, why)) = self.failed {
            return Err(format!("argument {index} cannot be encoded: {why}"));
        }
        if !self.args.nested.is_empty() {
            return Err("refs inside its arguments are not kept alive; give values".to_owned());
        }
        let refused = || "refs among its arguments are not resolved; give values".to_owned();
        let values = self.args.values().map(|value| value.map(<[u8]>::to_vec));
        values.map(|value| value.ok_or_else(refused)).collect()
    }

    fn keep(&mut self, handle: Handle) {
        self.kept.push(handle);
    }

    /// The value of an object as the next argument.
    pub(super) fn object(&mut self, handle: &Handle) {
        if let Err(why) = check_flow(handle) {
            self.failed.get_or_insert((self.args.list.len(), why));
        }
        self.args.list.push(Arg::Ref(handle.id()));
    }
}

/// What a serialiser of the user said.
pub(super) fn describe(error: &postcard::Error) -> String {
    match REFUSED.take() {
        Some(why) => why,
        None => error.to_string(),
    }
}

struct Bytes<'a>(&'a mut SmallVec<[u8; 64]>);

impl postcard::ser_flavors::Flavor for Bytes<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

thread_local! {
    /// Objects that the value being encoded names.
    static NAMED: RefCell<Option<Vec<Handle>>> = const { RefCell::new(None) };
    /// Why the value being encoded cannot be.
    static REFUSED: RefCell<Option<String>> = const { RefCell::new(None) };
    /// The flow that the call being made, or the value, is for; 0: that of this process.
    static TARGET: Cell<usize> = const { Cell::new(0) };
}

/// Makes a call for the flow with this stamp.
pub(super) fn for_flow<T>(stamp: usize, f: impl FnOnce() -> T) -> T {
    struct Before(usize);
    impl Drop for Before {
        fn drop(&mut self) {
            TARGET.set(self.0);
        }
    }
    let _before = Before(TARGET.replace(stamp));
    f()
}

/// Whether a ref is of the flow that it is about to be given to.
fn check_flow(handle: &Handle) -> Result<(), String> {
    check_stamp(handle.stamp())
}

/// The same for whatever is of a flow.
pub(super) fn check_stamp(stamp: usize) -> Result<(), String> {
    let target = match TARGET.get() {
        0 => Side::current().map_err(|error| error.to_string())?.stamp(),
        target => target,
    };
    if stamp == target {
        return Ok(());
    }
    REFUSED.set(Some(FOREIGN.to_owned())); // postcard keeps no words of a serialiser
    Err(FOREIGN.to_owned())
}

/// What is said of a ref in the wrong place.
pub(super) const FOREIGN: &str = "a ref of another flow means nothing here; get its value first";

/// Puts back what was there before, also after a panic of a serialiser.
struct Outer(Option<Vec<Handle>>);

impl Drop for Outer {
    fn drop(&mut self) {
        NAMED.set(self.0.take());
    }
}

/// Encodes; the objects that were named on the way, which may be dropped with the value.
pub(super) fn collecting<T>(encode: impl FnOnce() -> T) -> (T, Vec<Handle>) {
    REFUSED.set(None); // whatever was refused before
    let _outer = Outer(NAMED.replace(Some(Vec::new())));
    let value = encode();
    (value, NAMED.take().unwrap_or_default())
}

/// Notes that the value being encoded names an object.
pub(super) fn note(handle: &Handle) -> Result<(), String> {
    let checked = check_flow(handle);
    // Whoever encodes a ref for himself alone keeps it himself.
    if NAMED.with_borrow(Option::is_some) {
        let handle = handle.clone();
        NAMED.with_borrow_mut(|named| named.iter_mut().for_each(|all| all.push(handle.clone())));
    }
    checked
}

/// Encodes into a vector.
pub(super) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, String> {
    postcard::to_allocvec(value).map_err(|error| describe(&error))
}

/// Decodes; what is left over is an error as well.
pub(super) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(format!("{} of {} bytes are left over", rest.len(), bytes.len())),
        Err(error) => Err(error.to_string()),
    }
}

/// What can be given for a parameter of type `T`: a `T`, a reference to one, or an [`ObjectRef`]
/// of one. For a `String` also `&str`, for a `Vec` a slice or an array, for a `PathBuf` a path or
/// text.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be given for a parameter of type `{T}`",
    label = "expected a `{T}`, a `&{T}`, or an `ObjectRef<{T}>`"
)]
pub trait IntoArg<T> {
    #[doc(hidden)]
    fn put(self, writer: &mut ArgWriter);
}

impl<T: Serialize> IntoArg<T> for T {
    fn put(self, writer: &mut ArgWriter) {
        writer.value(&self);
    }
}

impl<T: Serialize> IntoArg<T> for &T {
    fn put(self, writer: &mut ArgWriter) {
        writer.value(self);
    }
}

impl<T> IntoArg<T> for ObjectRef<T> {
    fn put(self, writer: &mut ArgWriter) {
        writer.object(self.handle());
        writer.keep(self.erase());
    }
}

impl<T> IntoArg<T> for &ObjectRef<T> {
    fn put(self, writer: &mut ArgWriter) {
        writer.object(self.handle());
    }
}

impl IntoArg<String> for &str {
    fn put(self, writer: &mut ArgWriter) {
        writer.value(self);
    }
}

impl<T: Serialize, const N: usize> IntoArg<Vec<T>> for [T; N] {
    fn put(self, writer: &mut ArgWriter) {
        writer.value(&self[..]);
    }
}

impl<T: Serialize, const N: usize> IntoArg<Vec<T>> for &[T; N] {
    fn put(self, writer: &mut ArgWriter) {
        writer.value(&self[..]);
    }
}

impl IntoArg<PathBuf> for &str {
    fn put(self, writer: &mut ArgWriter) {
        writer.value(self);
    }
}

impl IntoArg<PathBuf> for &Path {
    fn put(self, writer: &mut ArgWriter) {
        writer.value(self);
    }
}

impl<T: Serialize> IntoArg<Vec<T>> for &[T] {
    fn put(self, writer: &mut ArgWriter) {
        writer.value(self);
    }
}

/// Encoded arguments.
#[derive(Clone, Copy)]
pub struct RawArgs<'a>(pub(super) &'a [&'a [u8]]);

impl<'a> RawArgs<'a> {
    #[doc(hidden)]
    pub fn decode<T: Deserialize<'a>>(&self, index: usize) -> Result<T, BadArgument> {
        let bytes = self.0.get(index);
        let bytes = bytes.ok_or_else(|| BadArgument { index, why: "it is missing".to_owned() })?;
        decode(bytes).map_err(|why| BadArgument { index, why })
    }
}
