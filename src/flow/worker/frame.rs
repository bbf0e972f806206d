//! One call as its node sees it: arguments in, a reply out.

use std::any::Any;
use std::cell::{RefCell, RefMut};
use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Serialize};

use super::client::Client;
use crate::flow::args::{collecting, decode, describe, encode};
use crate::flow::error::{Cause, Error, Raised};
use crate::flow::memory::{CellRef, LONG_REPLY, Reply, SHORT_REPLY, reply};
use crate::flow::node::NodeDesc;
use crate::flow::reference::{Fill, Handle};
use crate::flow::wire::Ask;

/// The value that an actor's process keeps.
pub(super) type Kept = RefCell<Option<Box<dyn Any>>>;

/// Where the reply goes, if anywhere: hooks have none.
struct Out<'f> {
    cell: CellRef,
    client: &'f Client,
    reply: Option<Reply>,
    /// What is written is an error, which does not wait for room.
    urgent: bool,
}

/// A call: what the expansion of `#[node]` works on.
pub struct Frame<'f> {
    desc: &'static NodeDesc,
    args: &'f [&'f [u8]],
    actor: &'f Kept,
    out: Option<Out<'f>>,
}

impl<'f> Frame<'f> {
    pub(super) fn new(
        desc: &'static NodeDesc,
        args: &'f [&'f [u8]],
        actor: &'f Kept,
        to: Option<(CellRef, &'f Client)>,
    ) -> Self {
        let out = to.map(|(cell, client)| Out { cell, client, reply: None, urgent: false });
        Self { desc, args, actor, out }
    }

    /// Decodes an argument; borrowed types read it where it is.
    #[inline]
    pub fn arg<T: Deserialize<'f>>(&self, index: usize) -> Result<T, Raised> {
        let bytes = self.args.get(index).ok_or_else(|| self.bad(index, "it is missing"))?;
        decode(bytes).map_err(|why| self.bad(index, &why))
    }

    #[cold]
    fn bad(&self, index: usize, why: &str) -> Raised {
        let name = self.desc.params.get(index).copied().unwrap_or("?");
        Raised(Cause::Codec(format!(
            "could not decode argument {index} (`{name}`) of `{}`: {why}",
            self.desc.name
        )))
    }

    /// Encodes the value.
    #[inline]
    pub fn reply<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Raised> {
        let Some(out) = &mut self.out else { return Ok(()) };
        let kinds = (reply::VALUE, reply::PLACED);
        let written = out.write(value, kinds);
        let named = written.map_err(|error| match error {
            Error::Encode { why, .. } => {
                Raised(Cause::Codec(format!("its value cannot be encoded: {why}")))
            }
            other => Raised(other.into()),
        })?;
        // Before the value is dropped, and its own refs with it.
        if !named.is_empty() {
            out.client.keep_all();
            let ids = named.iter().map(Handle::id).collect();
            out.client.say(Ask::Children { ids });
        }
        Ok(())
    }

    /// Encodes why there is no value.
    pub(super) fn fail(&mut self, cause: &Cause) {
        let Some(out) = &mut self.out else { return };
        let kinds = (reply::FAILED, reply::FAILED_PLACED);
        out.urgent = true;
        if out.write(cause, kinds).is_err() {
            // No memory even for that: as much of it as the cell takes.
            let _ = out.write(&brief(cause), kinds);
        }
    }

    /// The reply that was written.
    pub(super) fn written(&self) -> Option<Reply> {
        self.out.as_ref()?.reply
    }

    /// All arguments behind each other, as an encoded vector of them.
    pub(in crate::flow) fn reply_gathered(&mut self) -> Result<(), Raised> {
        let Some(out) = &mut self.out else { return Ok(()) };
        let count = encode(&self.args.len()).map_err(|why| Raised(Cause::Codec(why)))?;
        let total = count.len() + self.args.iter().map(|arg| arg.len()).sum::<usize>();
        let args = self.args;
        let mut fill = |mut room: &mut [u8]| {
            for part in std::iter::once(&count[..]).chain(args.iter().copied()) {
                let (here, behind) = std::mem::take(&mut room).split_at_mut(part.len());
                here.copy_from_slice(part);
                room = behind;
            }
        };
        out.write_bytes(total, &mut fill, (reply::VALUE, reply::PLACED))
            .map_err(|error| Raised(error.into()))
    }

    /// The only argument, as it is.
    pub(in crate::flow) fn reply_same(&mut self) -> Result<(), Raised> {
        let Some(out) = &mut self.out else { return Ok(()) };
        let value = self.args.first().copied().unwrap_or_default();
        let mut fill = |room: &mut [u8]| room.copy_from_slice(value);
        out.write_bytes(value.len(), &mut fill, (reply::VALUE, reply::PLACED))
            .map_err(|error| Raised(error.into()))
    }

    /// Keeps the value of an actor.
    pub fn keep_actor<T: 'static>(&mut self, state: T) -> Result<(), Raised> {
        *self.actor.borrow_mut() = Some(Box::new(state));
        self.reply(&())
    }

    /// The value of the actor.
    pub fn actor<T: 'static>(&self) -> Result<ActorGuard<'f, T>, Raised> {
        let gone = || Raised(Cause::ActorDied("its value is not here".to_owned()));
        let kept = self.actor.try_borrow_mut().map_err(|_| gone())?;
        let inner = RefMut::filter_map(kept, |kept| kept.as_mut()?.downcast_mut());
        inner.map(ActorGuard).map_err(|_| gone())
    }
}

impl Out<'_> {
    /// Into the cell, or into memory of its own; the objects that it names.
    fn write<T: Serialize + ?Sized>(
        &mut self,
        value: &T,
        kinds: (u32, u32),
    ) -> Result<Vec<Handle>, Error> {
        let mut buffer = [0u8; LONG_REPLY];
        let (encoded, named) = collecting(|| match postcard::to_slice(value, &mut buffer) {
            Ok(bytes) => Ok(Some(bytes.len())),
            Err(postcard::Error::SerializeBufferFull) => Ok(None),
            Err(error) => Err(encode_error(&error)),
        });
        if let Some(len) = encoded? {
            self.put(&buffer[..len], kinds.0);
            return Ok(named);
        }
        // The first try ended somewhere in the middle: who is named is found out anew.
        let (size, named) = collecting(|| postcard::experimental::serialized_size(value));
        let size = size.map_err(|error| encode_error(&error))?;
        let mut done = Ok(());
        let mut fill = |room: &mut [u8]| {
            let (written, _) =
                collecting(|| postcard::to_slice(value, room).map(|bytes| bytes.len()));
            done = match written {
                Ok(len) if len == size => Ok(()),
                Ok(_) | Err(postcard::Error::SerializeBufferFull) => Err(Error::Encode {
                    what: "the value".to_owned(),
                    why: "it is not the same each time it is encoded".to_owned(),
                }),
                Err(error) => Err(encode_error(&error)),
            };
        };
        self.write_bytes(size, &mut fill, kinds)?;
        done?;
        Ok(named)
    }

    fn write_bytes(&mut self, len: usize, fill: Fill<'_>, kinds: (u32, u32)) -> Result<(), Error> {
        if len <= LONG_REPLY {
            let mut buffer = [0u8; LONG_REPLY];
            fill(&mut buffer[..len]);
            self.put(&buffer[..len], kinds.0);
            return Ok(());
        }
        let address = self.client.place_value(len as u64, self.urgent, fill)?;
        let short = [address, len as u64];
        self.reply = Some(Reply { kind: kinds.1, len: 0, short, ..Reply::default() });
        Ok(())
    }

    fn put(&mut self, bytes: &[u8], kind: u32) {
        let mut reply = Reply { kind, len: bytes.len() as u32, ..Reply::default() };
        if bytes.len() <= SHORT_REPLY {
            bytemuck::cast_slice_mut(&mut reply.short)[..bytes.len()].copy_from_slice(bytes);
        } else {
            // SAFETY: at most the size of the area; this worker holds the letter.
            unsafe { self.cell.long().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        }
        self.reply = Some(reply);
    }
}

/// An error for which there is no room, as far as a cell has room for it.
#[cold]
fn brief(cause: &Cause) -> Cause {
    let text = match cause {
        Cause::OutOfMemory(why) => why.clone(),
        other => format!("not even for its error: {other}"),
    };
    let end = (0..=LONG_REPLY - 32).rev().find(|&end| text.is_char_boundary(end));
    Cause::OutOfMemory(text.get(..end.unwrap_or(0)).unwrap_or(&text).to_owned())
}

#[cold]
fn encode_error(error: &postcard::Error) -> Error {
    Error::Encode { what: "the value".to_owned(), why: describe(error) }
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
