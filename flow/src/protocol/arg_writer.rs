//! Writing the arguments of a call, and reading them.

use std::ffi::OsStr;

use serde::de::DeserializeOwned;
use smallvec::SmallVec;

use super::args::{Arg, Args};
use super::codec::{self, Buffer, Fault, Value};
use super::error::{BadArgument, Error};
use super::handle::{Fill, Given, Handle, Side};
use super::options::Overrides;
use super::refs::{self, FOREIGN};

/// Arguments longer than this get a place of their own, instead of standing in task descriptors.
const LONG_ARGUMENT: usize = 2048;

/// Collects the arguments of a call.
#[derive(Debug, Default)]
pub struct ArgWriter<'f> {
    /// The flow that is called; none: the arguments are for whoever is called without any wait.
    side: Option<&'f Side>,
    written: Written,
}

/// The arguments of a call.
#[derive(Debug, Default)]
pub(crate) struct Written {
    args: Args,
    /// What cannot be encoded, and why.
    failed: Option<Box<(usize, Failed)>>,
    /// Refs that were given away.
    given: Given,
    /// Refs inside of values, and places of long arguments: they live until the call has been
    /// entered.
    kept: SmallVec<[Handle; 1]>,
}

/// Why there is no argument.
#[derive(Debug)]
enum Failed {
    Encode(String),
    Place(Error),
}

impl<'f> ArgWriter<'f> {
    #[inline]
    pub(crate) fn new(side: &'f Side) -> Self {
        Self { side: Some(side), written: Written::default() }
    }

    /// What was written.
    pub(crate) fn written(self) -> Written {
        self.written
    }

    /// Encodes a value as the next argument.
    #[inline]
    pub(crate) fn value<T: Value>(&mut self, value: &T) {
        match codec::as_plain(value) {
            Some((tag, bytes)) => self.plain_bytes(tag, bytes),
            None => self.message(|side, out| refs::encode(value, side, out)),
        }
    }

    /// The same for a slice, which arrives as a vector.
    pub(crate) fn slice<E: Value>(&mut self, value: &[E]) {
        match codec::slice_as_plain(value) {
            Some((tag, bytes)) => self.plain_bytes(tag, bytes),
            None => self.message(|side, out| refs::encode_slice(value, side, out)),
        }
    }

    pub(crate) fn text(&mut self, text: &str) {
        let (tag, bytes) = codec::text_as_plain(text);
        self.plain_bytes(tag, bytes);
    }

    pub(crate) fn path(&mut self, path: &OsStr) {
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
        let args = &mut self.written.args;
        args.bytes.extend_from_slice(bytes);
        args.bytes.push(tag);
        self.here(len);
    }

    fn message(
        &mut self,
        encode: impl FnOnce(Option<&Side>, &mut Buffer) -> Result<Vec<Handle>, Fault>,
    ) {
        let Written { args, kept, .. } = &mut self.written;
        let before = args.bytes.len();
        match encode(self.side, &mut args.bytes) {
            Ok(named) => {
                args.nested.extend(named.iter().map(Handle::id));
                kept.extend(named);
            }
            Err(fault) => {
                args.bytes.truncate(before);
                self.fail(Failed::Encode(fault.to_string()));
            }
        }
        let args = &mut self.written.args;
        let len = args.bytes.len() - before;
        if len > LONG_ARGUMENT && self.side.is_some() {
            let long = Buffer::from(&args.bytes[before..]);
            args.bytes.truncate(before);
            return self.place(len, &mut |room: &mut [u8]| room.copy_from_slice(&long));
        }
        self.here(len);
    }

    /// So many of the encoded bytes are an argument.
    fn here(&mut self, len: usize) {
        match u32::try_from(len) {
            Ok(len) => self.written.args.list.push(Arg::Value(len)),
            Err(_) => {
                let why = format!("{len} bytes are more than an argument can have here (4 GiB)");
                self.fail(Failed::Encode(why));
                self.written.args.list.push(Arg::Value(0));
            }
        }
    }

    /// An argument in a place of its own: written once, instead of into task descriptors again and
    /// again.
    #[cold]
    fn place(&mut self, len: usize, fill: Fill<'_>) {
        let Some(side) = self.side else { return };
        let written = &mut self.written;
        match side.new_block(len as u64, fill) {
            Ok((handle, _)) => {
                written.args.list.push(Arg::Ref(handle.id()));
                written.kept.push(handle);
            }
            Err(error) => {
                written.fail(Failed::Place(error));
                written.args.list.push(Arg::Value(0));
            }
        }
    }

    fn fail(&mut self, why: Failed) {
        self.written.fail(why);
    }

    /// The next argument, encoded already, with nothing in it that would have to be kept.
    pub(crate) fn encoded(&mut self, bytes: &[u8]) {
        self.written.args.bytes.extend_from_slice(bytes);
        self.here(bytes.len());
    }

    /// Values alone, for those who are called without any wait: the encoded arguments.
    pub(crate) fn plain(self) -> Result<Vec<Vec<u8>>, String> {
        let Written { args, failed, .. } = self.written;
        if let Some(failed) = failed {
            let (index, why) = *failed;
            return Err(match why {
                Failed::Encode(why) => format!("argument {index} cannot be encoded: {why}"),
                Failed::Place(error) => error.to_string(),
            });
        }
        if !args.nested.is_empty() {
            return Err("refs inside its arguments are not kept alive; give values".to_owned());
        }
        let refused = || "refs among its arguments are not resolved; give values".to_owned();
        let values = args.values().map(|value| value.map(<[u8]>::to_vec));
        values.map(|value| value.ok_or_else(refused)).collect()
    }

    /// The same, and the handle is the call's.
    #[inline]
    pub(crate) fn given(&mut self, handle: Handle) {
        self.object(&handle);
        if self.side.is_some_and(|side| side.is_same(handle.side())) {
            self.written.given.add(handle);
        } else {
            self.written.kept.push(handle);
        }
    }

    /// The value of an object as the next argument.
    #[inline]
    pub(crate) fn object(&mut self, handle: &Handle) {
        let ours = match self.side {
            Some(side) => side.is_same(handle.side()) || side.stamp() == handle.stamp(),
            None => true, // refused anyway
        };
        if !ours {
            self.fail(Failed::Encode(FOREIGN.to_owned()));
        }
        self.written.args.list.push(Arg::Ref(handle.id()));
    }

    /// Calls a node with what was collected.
    #[inline]
    pub(crate) fn submit(
        &mut self,
        node: u32,
        signature: (&str, &[&str]),
        overrides: Option<&Overrides>,
    ) -> Result<Handle, Error> {
        let side = self.side.ok_or_else(no_flow)?;
        self.written.submit(side, node, signature, overrides, None)
    }

    /// The arguments, if there is one for each parameter. What they name is held for as long as
    /// the writer lives.
    pub(crate) fn finish(&mut self, name: &str, params: &[&str]) -> Result<&mut Args, Error> {
        self.written.finish(name, params)
    }
}

impl Written {
    #[cold]
    fn fail(&mut self, why: Failed) {
        self.failed.get_or_insert_with(|| Box::new((self.args.list.len(), why)));
    }

    /// Calls a node of this flow, or a method of an actor.
    #[inline]
    pub(crate) fn submit(
        &mut self,
        side: &Side,
        node: u32,
        (name, params): (&str, &[&str]),
        overrides: Option<&Overrides>,
        actor: Option<u64>,
    ) -> Result<Handle, Error> {
        self.finish(name, params)?;
        let name = side.submit(node, &mut self.args, &mut self.given, overrides, actor)?;
        // What a ref that was given away had of the flow is the new one's: no count changes.
        let own = self.given.take_side().unwrap_or_else(|| side.clone());
        Ok(Handle::counted(name, own))
    }

    #[inline]
    fn finish(&mut self, name: &str, params: &[&str]) -> Result<&mut Args, Error> {
        match self.failed.take() {
            None => Ok(&mut self.args),
            Some(failed) => Err(Self::error(*failed, name, params)),
        }
    }

    #[cold]
    fn error((index, failed): (usize, Failed), name: &str, params: &[&str]) -> Error {
        match failed {
            Failed::Place(error) => error,
            Failed::Encode(why) => {
                let parameter = params.get(index).copied().unwrap_or("?");
                Error::Encode { what: format!("argument {index} (`{parameter}`) of `{name}`"), why }
            }
        }
    }
}

#[cold]
fn no_flow() -> Error {
    Error::Invalid("arguments for no flow".to_owned())
}

/// Encoded arguments.
#[derive(Clone, Copy)]
pub struct RawArgs<'a>(pub(crate) &'a [&'a [u8]]);

impl RawArgs<'_> {
    /// Looks whether an argument is a `T`.
    pub(crate) fn check<T: DeserializeOwned>(&self, index: usize) -> Result<(), BadArgument> {
        let bad = |why: String| BadArgument { index, why };
        let bytes = self.0.get(index).ok_or_else(|| bad("it is missing".to_owned()))?;
        refs::decode::<T>(bytes, None).map(drop).map_err(|fault| bad(fault.to_string()))
    }
}
