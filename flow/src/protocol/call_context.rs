//! One call as its node sees it: arguments in, a completion out.

use std::any::Any;
use std::cell::{RefCell, RefMut};
use std::ops::{Deref, DerefMut};

use serde::de::DeserializeOwned;

use super::codec::{self, Buffer, Gathered, Lend, Value};
use super::error::{Cause, Error, Raised};
use super::handle::{Fill, Handle};
use super::memory::{CellRef, Completion, LONG_COMPLETION, SHORT_COMPLETION, completion};
use super::refs;
use super::wire::encode;

/// What a worker does with results that a cell does not hold.
pub(crate) trait ResultSink {
    /// A place for an encoded value of `bytes`, filled by `fill`: its address.
    fn place_value(&self, bytes: u64, urgent: bool, fill: Fill<'_>) -> Result<u64, Error>;

    /// The value that was written names these objects: the driver holds them for it, before the
    /// value of this process is dropped, and its own refs with it.
    fn hold_children(&self, ids: Vec<u64>);
}

/// The value that an actor's process keeps.
pub(crate) type Kept = RefCell<Option<Box<dyn Any>>>;

/// Where the completion goes, if anywhere: hooks have none.
struct Out<'f> {
    cell: CellRef,
    sink: &'f dyn ResultSink,
    completion: Option<Completion>,
    /// What is written is an error, which does not wait for room.
    urgent: bool,
}

/// A call: what the expansion of `#[node]` works on.
pub struct CallContext<'f> {
    name: &'static str,
    params: &'static [&'static str],
    args: &'f [&'f [u8]],
    actor: &'f Kept,
    out: Option<Out<'f>>,
    /// Where the value goes if it goes nowhere else.
    captured: Option<Captured>,
}

/// The encoded value of a call in this process, and the objects that it names.
#[derive(Default)]
pub(crate) struct Captured {
    pub(crate) bytes: Buffer,
    pub(crate) named: Vec<Handle>,
}

impl<'f> CallContext<'f> {
    pub(crate) fn new(
        (name, params): (&'static str, &'static [&'static str]),
        args: &'f [&'f [u8]],
        actor: &'f Kept,
        to: Option<(CellRef, &'f dyn ResultSink)>,
    ) -> Self {
        let out = to.map(|(cell, sink)| Out { cell, sink, completion: None, urgent: false });
        Self { name, params, args, actor, out, captured: None }
    }

    /// Its value is kept here.
    pub(crate) fn capture(&mut self) {
        self.captured = Some(Captured::default());
    }

    /// What was kept.
    pub(crate) fn captured(&mut self) -> Captured {
        self.captured.take().unwrap_or_default()
    }

    fn value(&self, index: usize) -> Result<&'f [u8], Raised> {
        self.args.get(index).copied().ok_or_else(|| self.bad(index, "it is missing"))
    }

    /// Decodes an argument.
    #[inline]
    pub fn arg<T: DeserializeOwned>(&self, index: usize) -> Result<T, Raised> {
        refs::decode(self.value(index)?, None).map_err(|fault| self.bad(index, &fault.to_string()))
    }

    /// An argument that is taken by reference: where it is, if it can be read there.
    #[inline]
    pub fn lend<T: Lend + ?Sized>(&self, index: usize) -> Result<T::Lent<'f>, Raised> {
        T::lend(self.value(index)?).map_err(|fault| self.bad(index, &fault.to_string()))
    }

    #[cold]
    fn bad(&self, index: usize, why: &str) -> Raised {
        let name = self.params.get(index).copied().unwrap_or("?");
        Raised(Cause::Codec(format!(
            "could not decode argument {index} (`{name}`) of `{}`: {why}",
            self.name
        )))
    }

    /// Encodes the value.
    #[inline]
    pub fn complete<T: Value>(&mut self, value: &T) -> Result<(), Raised> {
        let Some(out) = &mut self.out else { return self.keep(value) };
        if let Some((tag, bytes)) = codec::as_plain(value) {
            let mut fill = |room: &mut [u8]| {
                room[..bytes.len()].copy_from_slice(bytes);
                room[bytes.len()] = tag;
            };
            return out
                .write(bytes.len() + 1, &mut fill, VALUE)
                .map_err(|error| Raised(error.into()));
        }
        let mut encoded = Buffer::new();
        let named = refs::encode(value, None, &mut encoded).map_err(|fault| {
            Raised(Cause::Codec(format!("its value cannot be encoded: {fault}")))
        })?;
        let mut fill = |room: &mut [u8]| room.copy_from_slice(&encoded);
        out.write(encoded.len(), &mut fill, VALUE).map_err(|error| Raised(error.into()))?;
        if !named.is_empty() {
            out.sink.hold_children(named.iter().map(Handle::id).collect());
        }
        Ok(())
    }

    #[cold]
    fn keep<T: Value>(&mut self, value: &T) -> Result<(), Raised> {
        let Some(Captured { bytes, named }) = &mut self.captured else { return Ok(()) };
        *named = refs::encode(value, None, bytes).map_err(|fault| {
            Raised(Cause::Codec(format!("its value cannot be encoded: {fault}")))
        })?;
        Ok(())
    }

    /// Encodes the value that a file says: a text or bytes as they are, anything else from JSON.
    pub fn complete_data<T: Value>(&mut self, bytes: &[u8]) -> Result<(), Raised> {
        let wrong = |why: String| {
            let ty = std::any::type_name::<T>();
            Raised(Cause::Codec(format!("the data file is no `{ty}`: {why}")))
        };
        let of = typeid::of::<T>();
        if of == typeid::of::<Vec<u8>>() {
            return self.complete(&bytes.to_vec());
        }
        if of == typeid::of::<String>() {
            let text = std::str::from_utf8(bytes).map_err(|error| wrong(error.to_string()))?;
            return self.complete(&text.to_owned());
        }
        let value = serde_json::from_slice::<T>(bytes);
        self.complete(&value.map_err(|error| wrong(format!("as JSON, {error}")))?)
    }

    /// Encodes why there is no value.
    pub(crate) fn fail(&mut self, cause: &Cause) {
        let Some(out) = &mut self.out else { return };
        out.urgent = true;
        let mut write = |cause: &Cause| {
            let Ok(encoded) = encode(cause) else { return false };
            let mut fill = |room: &mut [u8]| room.copy_from_slice(&encoded);
            out.write(encoded.len(), &mut fill, FAILED).is_ok()
        };
        if !write(cause) {
            // No memory even for that: as much of it as the cell takes.
            write(&brief(cause));
        }
    }

    /// The completion that was written.
    pub(crate) fn written(&self) -> Option<Completion> {
        self.out.as_ref()?.completion
    }

    /// All arguments, as an encoded vector of them.
    pub(crate) fn complete_gathered(&mut self) -> Result<(), Raised> {
        let Some(out) = &mut self.out else { return Ok(()) };
        let all = Gathered::new(self.args).map_err(|fault| {
            Raised(Cause::Codec(format!("values that cannot stand in one vector: {fault}")))
        })?;
        out.write(all.len(), &mut |room| all.write(room), VALUE)
            .map_err(|error| Raised(error.into()))
    }

    /// The only argument, as it is.
    pub(crate) fn complete_same(&mut self) -> Result<(), Raised> {
        let Some(out) = &mut self.out else { return Ok(()) };
        let value = self.args.first().copied().unwrap_or_default();
        let mut fill = |room: &mut [u8]| room.copy_from_slice(value);
        out.write(value.len(), &mut fill, VALUE).map_err(|error| Raised(error.into()))
    }

    /// Keeps the value of an actor.
    pub fn keep_actor<T: 'static>(&mut self, state: T) -> Result<(), Raised> {
        *self.actor.borrow_mut() = Some(Box::new(state));
        self.complete(&())
    }

    /// The value of the actor.
    pub fn actor<T: 'static>(&self) -> Result<ActorGuard<'f, T>, Raised> {
        let gone = || Raised(Cause::ActorDied("its value is not here".to_owned()));
        let kept = self.actor.try_borrow_mut().map_err(|_| gone())?;
        let inner = RefMut::filter_map(kept, |kept| kept.as_mut()?.downcast_mut());
        inner.map(ActorGuard).map_err(|_| gone())
    }
}

/// The kinds of a completion: in the cell, and in memory of its own.
type Kinds = (u32, u32);
const VALUE: Kinds = (completion::VALUE, completion::PLACED);
const FAILED: Kinds = (completion::FAILED, completion::FAILED_PLACED);

impl Out<'_> {
    /// So many bytes, into the cell or into memory of their own.
    fn write(&mut self, len: usize, fill: Fill<'_>, kinds: Kinds) -> Result<(), Error> {
        let mut completion = Completion { kind: kinds.0, len: len as u32, ..Completion::default() };
        if len <= SHORT_COMPLETION {
            fill(&mut bytemuck::cast_slice_mut(&mut completion.short)[..len]);
        } else if len <= LONG_COMPLETION {
            // SAFETY: at most the size of the area; this worker holds the task descriptor, and
            // nobody else looks at the area before it is done.
            fill(unsafe { std::slice::from_raw_parts_mut(self.cell.long(), len) });
        } else {
            let address = self.sink.place_value(len as u64, self.urgent, fill)?;
            let short = [address, len as u64];
            completion = Completion { kind: kinds.1, len: 0, short, ..Completion::default() };
        }
        self.completion = Some(completion);
        Ok(())
    }
}

/// An error for which there is no room, as far as a cell has room for it.
#[cold]
fn brief(cause: &Cause) -> Cause {
    let text = match cause {
        Cause::OutOfMemory(why) => why.clone(),
        other => format!("not even for its error: {other}"),
    };
    let end = (0..=LONG_COMPLETION - 32).rev().find(|&end| text.is_char_boundary(end));
    Cause::OutOfMemory(text.get(..end.unwrap_or(0)).unwrap_or(&text).to_owned())
}

/// The value of an actor, lent to one call.
pub struct ActorGuard<'f, T>(RefMut<'f, T>);

impl<T> Deref for ActorGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for ActorGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}
