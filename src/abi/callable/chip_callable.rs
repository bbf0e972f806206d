//! A callable of a chip: names, the binary that orchestrates, and core callables as children.

use std::borrow::Cow;
use std::mem::offset_of;

use bytemuck::{Pod, Zeroable};

use super::core_callable::len_at;
use super::direction::{RawSignature, Signature};
use super::storage::Storage;
use super::{AbiError, ArgDirection, ChipCallableBuilder, CoreCallableView, count, header};
use crate::limits::{CALLABLE_ALIGN, CALLABLE_NAME_BYTES, MAX_CHILDREN};

pub(super) const WHAT: &str = "chip callable";

/// ```text
///  0                  64          68            72               136
/// | signature i32x16 | sig_count | binary_size | func_name x 64 | func_name_len
///  140                   268                  396           400                464               468
/// | child_func_ids x 32 | child_offsets x 32 | child_count | config_name x 64 | config_name_len | ..
/// ```
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct ChipHeader {
    pub(super) signature: RawSignature,
    pub(super) sig_count: i32,
    pub(super) binary_size: u32,
    pub(super) func_name: Name,
    pub(super) func_name_len: u32,
    pub(super) child_func_ids: [i32; MAX_CHILDREN],
    pub(super) child_offsets: [u32; MAX_CHILDREN],
    pub(super) child_count: i32,
    pub(super) config_name: Name,
    pub(super) config_name_len: u32,
}

/// A name: its characters, then NULs to the end.
pub(super) type Name = [u8; CALLABLE_NAME_BYTES];

const _: () = {
    assert!(size_of::<ChipHeader>() == 468 && align_of::<ChipHeader>() == 4);
    assert!(offset_of!(ChipHeader, signature) == 0);
    assert!(offset_of!(ChipHeader, sig_count) == 64);
    assert!(offset_of!(ChipHeader, binary_size) == 68);
    assert!(offset_of!(ChipHeader, func_name) == 72);
    assert!(offset_of!(ChipHeader, func_name_len) == 136);
    assert!(offset_of!(ChipHeader, child_func_ids) == 140);
    assert!(offset_of!(ChipHeader, child_offsets) == 268);
    assert!(offset_of!(ChipHeader, child_count) == 396);
    assert!(offset_of!(ChipHeader, config_name) == 400);
    assert!(offset_of!(ChipHeader, config_name_len) == 464);
};

/// Where the storage begins: first the binary, then the children. It is not a multiple of 8, so
/// whatever lies in it is copied before it is looked at.
pub(super) const STORAGE: usize = size_of::<ChipHeader>();

/// A callable of a chip, owned. [`builder`](Self::builder) makes it.
#[derive(Clone)]
pub struct ChipCallable {
    pub(super) storage: Storage,
    pub(super) parts: Parts,
}

impl ChipCallable {
    /// Begins one whose entry is the function `func_name`.
    ///
    /// ```
    /// use mailring::abi::{ArgDirection, ChipCallable, CoreCallable};
    /// let chip = ChipCallable::builder("entry")
    ///     .signature(&[ArgDirection::In])
    ///     .binary(b"orchestration...")
    ///     .child(7, CoreCallable::build(&[], b"core")?)
    ///     .build()?;
    /// assert_eq!(chip.as_bytes().len(), 468 + 64 + 128 + 4);
    /// assert_eq!(chip.view().child(0)?.1.binary(), b"core");
    /// # Ok::<(), mailring::abi::AbiError>(())
    /// ```
    pub fn builder<'a>(func_name: impl Into<Cow<'a, str>>) -> ChipCallableBuilder<'a> {
        ChipCallableBuilder::new(func_name.into())
    }

    /// All bytes, at a multiple of 64.
    pub fn as_bytes(&self) -> &[u8] {
        self.storage.bytes()
    }

    /// The address of the first byte: what a chip runtime takes as its callable.
    pub fn as_ptr(&self) -> *const u8 {
        self.as_bytes().as_ptr()
    }

    /// What is in it.
    pub fn view(&self) -> ChipCallableView<'_> {
        ChipCallableView { bytes: self.as_bytes(), parts: self.parts }
    }
}

impl std::fmt::Debug for ChipCallable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.view().write(f, "ChipCallable")
    }
}

/// A header, checked.
#[derive(Clone, Copy)]
pub(super) struct Parts {
    signature: Signature,
    binary: usize,
    func_name: usize,
    config_name: usize,
    children: [(i32, u32); MAX_CHILDREN],
    child_count: usize,
}

impl Parts {
    /// Checks what the header says by itself; offsets are looked at later.
    pub(super) fn of(header: &ChipHeader) -> Result<Self, AbiError> {
        let mut children = [(0, 0); MAX_CHILDREN];
        let given = header.child_func_ids.into_iter().zip(header.child_offsets);
        children.iter_mut().zip(given).for_each(|(child, given)| *child = given);
        Ok(Self {
            signature: Signature::read(WHAT, &header.signature, header.sig_count)?,
            binary: header.binary_size as usize,
            func_name: name("func_name", &header.func_name, header.func_name_len)?,
            config_name: name("config_name", &header.config_name, header.config_name_len)?,
            child_count: count(WHAT, "child_count", header.child_count, MAX_CHILDREN)?,
            children,
        })
    }

    fn children(&self) -> &[(i32, u32)] {
        &self.children[..self.child_count]
    }
}

/// Checks a name; its length.
fn name(field: &'static str, name: &Name, len: u32) -> Result<usize, AbiError> {
    let wrong = |why| Err(AbiError::BadName { field, why });
    let Some((text, rest)) = name.split_at_checked(len as usize) else {
        return wrong("is longer than the 64 bytes of its place");
    };
    if rest.first() != Some(&0) {
        return wrong("has no NUL where its length ends");
    }
    if text.contains(&0) {
        return wrong("has a NUL before its length ends");
    }
    Ok(text.len())
}

/// A callable of a chip, read in place.
#[derive(Clone, Copy)]
pub struct ChipCallableView<'a> {
    /// From the header to the end of what lies last.
    bytes: &'a [u8],
    parts: Parts,
}

impl<'a> ChipCallableView<'a> {
    /// Reads a callable that begins at the first of these bytes, aligned or not. What lies behind
    /// its end is not looked at.
    ///
    /// # Errors
    /// An invalid count, name, direction or offset, fewer bytes than the header says, a
    /// child that overlaps another or the binary, or that is not a core callable.
    pub fn read(bytes: &'a [u8]) -> Result<Self, AbiError> {
        let parts = Parts::of(&header(WHAT, bytes)?)?;
        let (need, have) = (STORAGE + parts.binary, bytes.len());
        let storage = bytes.get(STORAGE..).filter(|storage| storage.len() >= parts.binary);
        let truncated = AbiError::Truncated { what: WHAT, field: "the binary", need, have };
        let storage = storage.ok_or(truncated)?;
        // Where the children lie, to be sorted: (begin, end, number).
        let mut places = [(0, 0, 0); MAX_CHILDREN];
        for (index, &(_, offset)) in parts.children().iter().enumerate() {
            let wrong = |why| AbiError::ChildPlace { index, offset, why };
            if !offset.is_multiple_of(CALLABLE_ALIGN as u32) {
                return Err(wrong("which is not a multiple of 64"));
            }
            let begin = offset as usize;
            let child = storage.get(begin..).ok_or(wrong("behind the end of the buffer"))?;
            let child = CoreCallableView::read(child).map_err(|source| AbiError::Entry {
                what: "child",
                index,
                source: Box::new(source),
            })?;
            places[index] = (begin, begin + child.as_bytes().len(), index);
        }
        let places = &mut places[..parts.child_count];
        places.sort_unstable();
        let mut end = parts.binary;
        for &(begin, behind, index) in &*places {
            if begin < end {
                let (_, offset) = parts.children()[index];
                let why = "inside the binary or another child";
                return Err(AbiError::ChildPlace { index, offset, why });
            }
            end = behind;
        }
        Ok(Self { bytes: &bytes[..STORAGE + end], parts })
    }

    /// Reads a callable of which only the address is known.
    ///
    /// # Errors
    /// As [`read`](Self::read), or the pointer is null.
    ///
    /// # Safety
    /// If it is not null, a header lies at `ptr`, behind it the binary and the children that the
    /// header counts, at the offsets that it names, and nobody writes to any of it for as long as
    /// the view or anything taken from it is used.
    pub unsafe fn from_ptr(ptr: *const u8) -> Result<Self, AbiError> {
        if ptr.is_null() {
            return Err(AbiError::Null(WHAT));
        }
        // SAFETY: the header is there, as the caller says, and any bytes are one.
        let header = unsafe { ptr.cast::<ChipHeader>().read_unaligned() };
        let parts = Parts::of(&header)?;
        let mut end = parts.binary;
        for &(_, offset) in parts.children() {
            // SAFETY: so are the children, where the header says.
            let len = unsafe { len_at(ptr.add(STORAGE + offset as usize)) };
            end = end.max(offset as usize + len as usize);
        }
        // SAFETY: everything up to the end of what lies last; fewer than 2^34 bytes.
        Self::read(unsafe { std::slice::from_raw_parts(ptr, STORAGE + end) })
    }

    /// What it does with its arguments.
    pub fn signature(&self) -> &[ArgDirection] {
        self.parts.signature.entries()
    }

    /// What it does with argument `index`.
    ///
    /// # Errors
    /// The signature has no such entry.
    pub fn direction(&self, index: usize) -> Result<ArgDirection, AbiError> {
        self.parts.signature.entry(index)
    }

    /// The binary that orchestrates.
    pub fn binary(&self) -> &'a [u8] {
        &self.bytes[STORAGE..][..self.parts.binary]
    }

    /// The function to call in the binary. Bytes that are no UTF-8 are replaced.
    pub fn func_name(&self) -> Cow<'a, str> {
        self.name(offset_of!(ChipHeader, func_name), self.parts.func_name)
    }

    /// The function that configures it; may be empty. Bytes that are no UTF-8 are replaced.
    pub fn config_name(&self) -> Cow<'a, str> {
        self.name(offset_of!(ChipHeader, config_name), self.parts.config_name)
    }

    // Other writers cut names at 63 bytes, maybe inside a character.
    fn name(&self, at: usize, len: usize) -> Cow<'a, str> {
        String::from_utf8_lossy(&self.bytes[at..at + len])
    }

    /// The children, in order.
    pub fn children(&self) -> Children<'a> {
        Children { view: *self, next: 0 }
    }

    /// Function id and core callable of child `index`.
    ///
    /// # Errors
    /// There is no such child.
    pub fn child(&self, index: usize) -> Result<(i32, CoreCallableView<'a>), AbiError> {
        let (func_id, offset) = self.place(index)?;
        Ok((func_id, CoreCallableView::read(&self.bytes[STORAGE + offset as usize..])?))
    }

    /// Where child `index` begins, counted from the first byte of the binary.
    ///
    /// # Errors
    /// There is no such child.
    pub fn child_offset(&self, index: usize) -> Result<u32, AbiError> {
        self.place(index).map(|(_, offset)| offset)
    }

    fn place(&self, index: usize) -> Result<(i32, u32), AbiError> {
        let count = self.parts.child_count;
        let none = AbiError::OutOfRange { what: "child", index, count };
        self.parts.children().get(index).copied().ok_or(none)
    }

    /// All bytes of it, from the header to the end of what lies last.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    fn write(&self, f: &mut std::fmt::Formatter<'_>, name: &str) -> std::fmt::Result {
        f.debug_struct(name)
            .field("func_name", &self.func_name())
            .field("config_name", &self.config_name())
            .field("signature", &self.signature())
            .field("binary_bytes", &self.binary().len())
            .field("children", &self.children().map(|(func_id, _)| func_id).collect::<Vec<_>>())
            .finish()
    }
}

impl std::fmt::Debug for ChipCallableView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.write(f, "ChipCallableView")
    }
}

/// The children of a chip callable: function id and core callable of each.
#[derive(Clone, Debug)]
pub struct Children<'a> {
    view: ChipCallableView<'a>,
    next: usize,
}

impl<'a> Iterator for Children<'a> {
    type Item = (i32, CoreCallableView<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        // Every child was read once already, so an error means that there are no more.
        let child = self.view.child(self.next).ok()?;
        self.next += 1;
        Some(child)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.view.parts.child_count - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Children<'_> {}
