//! Values as bytes: how an argument or a result stands in shared memory.
//!
//! ```text
//! payload | tag 1        the payload comes first, so that it lies where the value does: at 64
//!
//! tag          payload
//! ONE  | type  the bytes of one number
//! MANY | type  the bytes of numbers: Vec<f64>, &[u32], [u8; 4]
//! TEXT, PATH   the bytes of a text; of a path or another string of the system
//! MESSAGE      one item of MessagePack: whatever else serde can derive
//! ```
//!
//! MessagePack describes itself, so fields that were skipped, variants that are told apart by what
//! is in them and flattened structs are read as they were written. What it has no item for stands
//! in extensions ([`format::ext`]). A value that would still arrive as another one is refused: whatever is
//! not made of the standard library's types alone is read and written again before it is sent.
//!
//! | file | what is in it |
//! | --- | --- |
//! | `format` | tags, extensions and marks |
//! | `plain` | what travels as its bytes |
//! | `write`, `read` | MessagePack |
//! | `token` | refs, as items of their own |
//! | `lend` | values that are read where they are |

mod format;
mod lend;
mod plain;
mod read;
mod token;
mod write;

#[cfg(test)]
mod tests;

use serde::Serialize;
use serde::de::DeserializeOwned;

use format::tag;

pub(crate) use format::Fault;
pub(crate) use format::{ALIGN, Buffer};
pub use lend::{Lend, Owned, Viewable};
pub(crate) use token::{kind, put_token, stays_here, take_words};

/// What can be an argument or a result: any type with `serde::Serialize` and `serde::Deserialize`
/// that borrows nothing.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel between processes",
    label = "this type has to be serialised and deserialised",
    note = "put `#[derive(serde::Serialize, serde::Deserialize)]` on `{Self}`, or on the types of yours that it is made of",
    note = "for a type of another crate, look there for a feature `serde`, or take something that can be read from it"
)]
pub trait Value: Serialize + DeserializeOwned {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> Value for T {}

/// Writes a value behind what is in the buffer, if it will arrive as it is.
#[inline]
pub(crate) fn encode<T: Value>(value: &T, out: &mut Buffer) -> Result<(), Fault> {
    match plain::bytes_of(value) {
        Some((tag, bytes)) => {
            put_plain(tag, bytes, out);
            Ok(())
        }
        None => encode_message::<T, T>(value, out),
    }
}

/// The same for a slice, which arrives as a vector.
pub(crate) fn encode_slice<E: Value>(value: &[E], out: &mut Buffer) -> Result<(), Fault> {
    match plain::slice_bytes(value) {
        Some((tag, bytes)) => {
            put_plain(tag, bytes, out);
            Ok(())
        }
        None => encode_message::<[E], Vec<E>>(value, out),
    }
}

/// A value that travels as its bytes: these, and the tag that stands behind them.
#[inline]
pub(crate) fn as_plain<T: Value>(value: &T) -> Option<(u8, &[u8])> {
    plain::bytes_of(value)
}

/// The same for a slice.
pub(crate) fn slice_as_plain<E: Value>(value: &[E]) -> Option<(u8, &[u8])> {
    plain::slice_bytes(value)
}

/// A text, as its bytes.
pub(crate) fn text_as_plain(text: &str) -> (u8, &[u8]) {
    (tag::TEXT, text.as_bytes())
}

/// A path, or another string of the system, as its bytes.
pub(crate) fn path_as_plain(path: &std::ffi::OsStr) -> (u8, &[u8]) {
    use std::os::unix::ffi::OsStrExt;
    (tag::PATH, path.as_bytes())
}

fn put_plain(tag: u8, bytes: &[u8], out: &mut Buffer) {
    out.reserve(bytes.len() + 1);
    out.extend_from_slice(bytes);
    out.push(tag);
}

/// `T` is written, and read as an `R`.
fn encode_message<T: Serialize + ?Sized, R: Value>(
    value: &T,
    out: &mut Buffer,
) -> Result<(), Fault> {
    let from = out.len();
    token::writing(|| write::write(value, out))?;
    if !is_well_known(std::any::type_name::<R>()) {
        check_arrival::<R>(&out[from..])?;
    }
    out.push(tag::MESSAGE);
    Ok(())
}

/// Writes an error or the like, which is only read if that works.
pub(crate) fn encode_unchecked<T: Serialize>(value: &T) -> Result<Vec<u8>, Fault> {
    let mut out = Buffer::new();
    write::write(value, &mut out)?;
    out.push(tag::MESSAGE);
    Ok(out.into_vec())
}

/// Reads a value as who gets it will, and writes that again: the two have to be the same.
fn check_arrival<R: Value>(bytes: &[u8]) -> Result<(), Fault> {
    let wrong = |why: String| {
        Fault(format!("a `{}` would not arrive as it is: {why}", std::any::type_name::<R>()))
    };
    let mut again = Buffer::new();
    let same = token::trying(|| {
        let value = read::read::<R>(bytes)?;
        write::write(&value, &mut again)?;
        let print = || read::fingerprint(bytes);
        Ok(again[..] == *bytes || print().is_some_and(|own| Some(own) == read::fingerprint(&again)))
    });
    match same {
        Ok(true) => Ok(()),
        Ok(false) => Err(wrong(
            "read and written again it is another value; look for a field that is skipped and \
             has another default, or variants that are told apart by what is in them and look alike"
                .to_owned(),
        )),
        Err(Fault(why)) => Err(wrong(why)),
    }
}

/// Whether a type is made of the standard library's and our own types alone: those are read as
/// they are written.
fn is_well_known(name: &str) -> bool {
    let is_ident = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let mut paths = name.split(|c| !is_ident(c)).filter(|path| path.contains("::"));
    paths.all(|path| {
        ["alloc::", "core::", "std::"].iter().any(|front| path.starts_with(front))
            || path == "mailring_flow::api::reference::ObjectRef"
            || path == "mailring_flow::api::shared::Shared"
    })
}

/// Reads a value in which no refs can stand; `None` for a message, in which they may.
#[inline]
pub(crate) fn decode_plain<T: DeserializeOwned>(bytes: &[u8]) -> Option<Result<T, Fault>> {
    let (&tag, payload) = bytes.split_last()?;
    match plain::value_of::<T>(tag, payload) {
        None if tag != tag::MESSAGE => Some(T::deserialize(plain::Plain { tag, bytes: payload })),
        value => value,
    }
}

/// Reads a value; what is left over is an error as well.
#[inline]
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    let (&tag, payload) = bytes.split_last().ok_or_else(nothing)?;
    match plain::value_of::<T>(tag, payload) {
        Some(value) => value,
        None if tag == tag::MESSAGE => token::reading(|| read::read(payload)),
        None => T::deserialize(plain::Plain { tag, bytes: payload }),
    }
}

/// For `fuzz/`: what reads as a `T` and is not refused when it is written arrives as it was written.
#[doc(hidden)]
pub fn there_and_back<T: Value>(bytes: &[u8]) {
    let Ok(value) = decode::<T>(bytes) else { return };
    let (mut first, mut second) = (Buffer::new(), Buffer::new());
    if encode(&value, &mut first).is_ok() {
        let again = decode::<T>(&first).expect("it was written just now");
        encode(&again, &mut second).expect("it was read just now");
        assert_eq!(first, second, "of a `{}`", std::any::type_name::<T>());
    }
}

/// For `fuzz/`: an argument of `call_by_name` is a value, or an error.
#[doc(hidden)]
pub fn from_outside_or_not(item: &[u8]) -> Option<Vec<u8>> {
    from_outside(item).ok()
}

#[cold]
fn nothing() -> Fault {
    Fault::new("there is nothing")
}

/// An item of MessagePack from outside, as an encoded value. It cannot name refs, since nothing
/// would hold them.
pub(crate) fn from_outside(item: &[u8]) -> Result<Vec<u8>, Fault> {
    token::reading_foreign(|| read::look_through(item))?;
    Ok([item, &[tag::MESSAGE]].concat())
}

/// Whether a value names no refs, nor anything else of its flow: then it means the same anywhere.
pub(crate) fn is_self_contained(value: &[u8]) -> bool {
    match value.split_last() {
        Some((&tag::MESSAGE, item)) => token::reading_foreign(|| read::look_through(item)).is_ok(),
        Some(_) => true,
        None => false,
    }
}

/// Encoded values as one: that of a vector of them.
pub(crate) struct Gathered<'a> {
    /// The head of each part, and what follows.
    parts: Vec<(Buffer, &'a [u8])>,
    tag: u8,
}

impl<'a> Gathered<'a> {
    pub(crate) fn new(values: &[&'a [u8]]) -> Result<Self, Fault> {
        let split = values.iter().map(|value| value.split_last().ok_or_else(nothing));
        let split = split.collect::<Result<Vec<_>, _>>()?;
        // Numbers of one type are a list of them.
        if let Some(&(&first, _)) = split.first()
            && first & tag::ONE != 0
            && split.iter().all(|(tag, _)| **tag == first)
        {
            let parts = split.iter().map(|(_, bytes)| (Buffer::new(), *bytes)).collect();
            return Ok(Self { parts, tag: first & tag::CODE | tag::MANY });
        }
        let mut parts = Vec::with_capacity(split.len() + 1);
        let mut head = Buffer::new();
        write::array_head(split.len(), &mut head)?;
        parts.push((head, &[][..]));
        for (tag, bytes) in split {
            let mut head = Buffer::new();
            let rest = plain::as_item(*tag, bytes, &mut head)?;
            parts.push((head, rest));
        }
        Ok(Self { parts, tag: tag::MESSAGE })
    }

    pub(crate) fn len(&self) -> usize {
        self.parts.iter().map(|(head, rest)| head.len() + rest.len()).sum::<usize>() + 1
    }

    /// Writes them into room of this length.
    pub(crate) fn write(&self, mut room: &mut [u8]) {
        let all = self.parts.iter().flat_map(|(head, rest)| [&head[..], rest]);
        for part in all.chain([&[self.tag][..]]) {
            let (here, behind) = std::mem::take(&mut room).split_at_mut(part.len());
            here.copy_from_slice(part);
            room = behind;
        }
    }
}

/// Whether these bytes are a value that is to lie at a multiple of 64, and do not.
#[inline]
pub(crate) fn is_misplaced(value: &[u8]) -> bool {
    !value.as_ptr().addr().is_multiple_of(ALIGN)
        && value.last().is_some_and(|&tag| plain::is_aligned(tag))
}

/// Bytes at a multiple of 64.
#[derive(Default)]
pub(crate) struct Aligned(Vec<Line>);

#[derive(Clone, Copy, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([u64; 8]);

impl Aligned {
    pub(crate) fn copy_of(bytes: &[u8]) -> Self {
        let mut lines = vec![Line::default(); bytes.len().div_ceil(ALIGN)];
        bytemuck::cast_slice_mut::<_, u8>(&mut lines)[..bytes.len()].copy_from_slice(bytes);
        Self(lines)
    }

    /// Room for so many bytes; what was in it is gone.
    pub(crate) fn room(&mut self, bytes: usize) -> &mut [u8] {
        let lines = bytes.div_ceil(ALIGN);
        if self.0.len() < lines {
            self.0.resize(lines, Line::default());
        }
        &mut bytemuck::cast_slice_mut(&mut self.0)[..bytes]
    }

    /// All of it, up to the end of the last line.
    pub(crate) fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}
