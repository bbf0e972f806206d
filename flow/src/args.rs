//! Arguments on their way: each is a value, encoded, or a ref to one.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::codec::{self, Buffer, FOREIGN, Fault, Value};
use crate::error::{BadArgument, Error};
use crate::node::NodeDesc;
use crate::reference::{Fill, Handle, ObjectRef, Side};

/// Arguments longer than this get a place of their own, instead of standing in task descriptors.
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
    pub(super) bytes: Buffer,
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
    /// The flow that is called; none: the arguments are for whoever is called without any wait.
    side: Option<Side>,
    pub(super) args: Args,
    /// What cannot be encoded, and why.
    failed: Option<(usize, Failed)>,
    /// Refs that were given away, and places of long arguments: they live until the call has been
    /// entered.
    kept: SmallVec<[Handle; 2]>,
}

/// Why there is no argument.
#[derive(Debug)]
enum Failed {
    Encode(String),
    Place(Error),
}

impl ArgWriter {
    pub(super) fn new(side: Side) -> Self {
        Self { side: Some(side), ..Self::default() }
    }

    /// Encodes a value as the next argument.
    #[inline]
    pub(super) fn value<T: Value>(&mut self, value: &T) {
        match codec::as_plain(value) {
            Some((tag, bytes)) => self.plain_bytes(tag, bytes),
            None => self.message(|side, out| codec::encode(value, side, out)),
        }
    }

    /// The same for a slice, which arrives as a vector.
    pub(super) fn slice<E: Value>(&mut self, value: &[E]) {
        match codec::slice_as_plain(value) {
            Some((tag, bytes)) => self.plain_bytes(tag, bytes),
            None => self.message(|side, out| codec::encode_slice(value, side, out)),
        }
    }

    fn text(&mut self, text: &str) {
        let (tag, bytes) = codec::text_as_plain(text);
        self.plain_bytes(tag, bytes);
    }

    fn path(&mut self, path: &OsStr) {
        let (tag, bytes) = codec::path_as_plain(path);
        self.plain_bytes(tag, bytes);
    }

    /// Bytes and the tag behind them: long ones go where they will stay at once.
    #[inline]
    fn plain_bytes(&mut self, tag: u8, bytes: &[u8]) {
        let len = bytes.len() + 1;
        if len > LONG_ARGUMENT && self.side.is_some() {
            return self.place(len, &mut |room: &mut [u8]| {
                room[..bytes.len()].copy_from_slice(bytes);
                room[bytes.len()] = tag;
            });
        }
        self.args.bytes.extend_from_slice(bytes);
        self.args.bytes.push(tag);
        self.here(len);
    }

    fn message(
        &mut self,
        encode: impl FnOnce(Option<&Side>, &mut Buffer) -> Result<Vec<Handle>, Fault>,
    ) {
        let before = self.args.bytes.len();
        match encode(self.side.as_ref(), &mut self.args.bytes) {
            Ok(named) => {
                self.args.nested.extend(named.iter().map(Handle::id));
                self.kept.extend(named);
            }
            Err(fault) => {
                self.args.bytes.truncate(before);
                self.fail(Failed::Encode(fault.to_string()));
            }
        }
        let len = self.args.bytes.len() - before;
        if len > LONG_ARGUMENT && self.side.is_some() {
            let long = Buffer::from(&self.args.bytes[before..]);
            self.args.bytes.truncate(before);
            return self.place(len, &mut |room: &mut [u8]| room.copy_from_slice(&long));
        }
        self.here(len);
    }

    /// So many of the encoded bytes are an argument.
    fn here(&mut self, len: usize) {
        match u32::try_from(len) {
            Ok(len) => self.args.list.push(Arg::Value(len)),
            Err(_) => {
                let why = format!("{len} bytes are more than an argument can have here (4 GiB)");
                self.fail(Failed::Encode(why));
                self.args.list.push(Arg::Value(0));
            }
        }
    }

    /// An argument in a place of its own: written once, instead of into task descriptors again and
    /// again.
    #[cold]
    fn place(&mut self, len: usize, fill: Fill<'_>) {
        let Some(side) = &self.side else { return };
        match side.new_block(len as u64, fill) {
            Ok((handle, _)) => {
                self.args.list.push(Arg::Ref(handle.id()));
                self.kept.push(handle);
            }
            Err(error) => {
                self.fail(Failed::Place(error));
                self.args.list.push(Arg::Value(0));
            }
        }
    }

    fn fail(&mut self, why: Failed) {
        self.failed.get_or_insert((self.args.list.len(), why));
    }

    /// The next argument, encoded already, with nothing in it that would have to be kept.
    pub(super) fn encoded(&mut self, bytes: &[u8]) {
        self.args.bytes.extend_from_slice(bytes);
        self.here(bytes.len());
    }

    /// The arguments, if there is one for each parameter. What they name is held for as long as
    /// the second part lives.
    pub(super) fn finish(self, node: &NodeDesc) -> Result<(Args, impl Sized), Error> {
        match self.failed {
            None => Ok((self.args, self.kept)),
            Some((_, Failed::Place(error))) => Err(error),
            Some((index, Failed::Encode(why))) => {
                let name = node.params.get(index).copied().unwrap_or("?");
                let what = format!("argument {index} (`{name}`) of `{}`", node.name);
                Err(Error::Encode { what, why })
            }
        }
    }

    /// Values alone, for those who are called without any wait: the encoded arguments.
    pub(super) fn plain(self) -> Result<Vec<Vec<u8>>, String> {
        if let Some((index, why)) = self.failed {
            return Err(match why {
                Failed::Encode(why) => format!("argument {index} cannot be encoded: {why}"),
                Failed::Place(error) => error.to_string(),
            });
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
        let ours = match &self.side {
            Some(side) => side.stamp() == handle.stamp(),
            None => true, // refused anyway
        };
        if !ours {
            self.fail(Failed::Encode(FOREIGN.to_owned()));
        }
        self.args.list.push(Arg::Ref(handle.id()));
    }
}

/// A message of ours as bytes.
pub(super) fn encode<T: Serialize + ?Sized>(message: &T) -> Result<Vec<u8>, String> {
    postcard::to_allocvec(message).map_err(|error| error.to_string())
}

/// A message of ours; what is left over is an error as well.
pub(super) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(format!("{} of {} bytes are left over", rest.len(), bytes.len())),
        Err(error) => Err(error.to_string()),
    }
}

/// What can be given for a parameter of type `T`: a `T`, a reference to one, or an [`ObjectRef`]
/// of one. For a `String` also `&str`, for a `Vec` a slice or an array, for a `PathBuf` a path or
/// text, for an `OsString` an `&OsStr` or text, for a `CString` a `&CStr`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be given for a parameter of type `{T}`",
    label = "expected a `{T}`, a `&{T}`, or an `ObjectRef<{T}>`"
)]
pub trait IntoArg<T> {
    #[doc(hidden)]
    fn put(self, writer: &mut ArgWriter);
}

impl<T: Value> IntoArg<T> for T {
    #[inline]
    fn put(self, writer: &mut ArgWriter) {
        writer.value(&self);
    }
}

impl<T: Value> IntoArg<T> for &T {
    #[inline]
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
        writer.text(self);
    }
}

impl<T: Value, const N: usize> IntoArg<Vec<T>> for [T; N] {
    fn put(self, writer: &mut ArgWriter) {
        writer.slice(&self);
    }
}

impl<T: Value, const N: usize> IntoArg<Vec<T>> for &[T; N] {
    fn put(self, writer: &mut ArgWriter) {
        writer.slice(self);
    }
}

impl<T: Value> IntoArg<Vec<T>> for &[T] {
    fn put(self, writer: &mut ArgWriter) {
        writer.slice(self);
    }
}

impl IntoArg<PathBuf> for &str {
    fn put(self, writer: &mut ArgWriter) {
        writer.path(self.as_ref());
    }
}

impl IntoArg<PathBuf> for &Path {
    fn put(self, writer: &mut ArgWriter) {
        writer.path(self.as_os_str());
    }
}

impl IntoArg<OsString> for &str {
    fn put(self, writer: &mut ArgWriter) {
        writer.path(self.as_ref());
    }
}

impl IntoArg<OsString> for &OsStr {
    fn put(self, writer: &mut ArgWriter) {
        writer.path(self);
    }
}

impl IntoArg<CString> for &CStr {
    fn put(self, writer: &mut ArgWriter) {
        writer.value(&self.to_owned());
    }
}

/// Encoded arguments.
#[derive(Clone, Copy)]
pub struct RawArgs<'a>(pub(super) &'a [&'a [u8]]);

impl RawArgs<'_> {
    /// Looks whether an argument is a `T`.
    pub(super) fn check<T: DeserializeOwned>(&self, index: usize) -> Result<(), BadArgument> {
        let bad = |why: String| BadArgument { index, why };
        let bytes = self.0.get(index).ok_or_else(|| bad("it is missing".to_owned()))?;
        codec::decode::<T>(bytes, None).map(drop).map_err(|fault| bad(fault.to_string()))
    }
}
