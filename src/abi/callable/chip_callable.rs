//! A callable of a chip: names, the binary that orchestrates, and core callables as children. Its
//! bytes, its builder, and what reads it.

use std::borrow::Cow;
use std::mem::offset_of;
use std::path::Path;

use bytemuck::{Pod, Zeroable};

use super::core_callable::{count_bytes, len_at, read_binary};
use super::direction::{RawSignature, Signature};
use super::storage::Storage;
use super::{AbiError, ArgDirection, CoreCallable, CoreCallableView, aligned, count, header};
use crate::limits::{CALLABLE_ALIGN, CALLABLE_NAME_BYTES, MAX_CHILDREN};

const WHAT: &str = "chip callable";

/// ```text
///  0                  64          68            72               136
/// | signature i32x16 | sig_count | binary_size | func_name x 64 | func_name_len
///  140                   268                  396           400                464               468
/// | child_func_ids x 32 | child_offsets x 32 | child_count | config_name x 64 | config_name_len | ..
/// ```
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ChipHeader {
    signature: RawSignature,
    sig_count: i32,
    binary_size: u32,
    func_name: Name,
    func_name_len: u32,
    child_func_ids: [i32; MAX_CHILDREN],
    child_offsets: [u32; MAX_CHILDREN],
    child_count: i32,
    config_name: Name,
    config_name_len: u32,
}

/// A name: its characters, then NULs to the end.
type Name = [u8; CALLABLE_NAME_BYTES];

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
const STORAGE: usize = size_of::<ChipHeader>();

/// A callable of a chip, owned. [`builder`](Self::builder) makes it.
#[derive(Clone)]
pub struct ChipCallable {
    storage: Storage,
    parts: Parts,
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

/// What a chip callable is to consist of; begun with [`ChipCallable::builder`].
#[derive(Clone, Debug)]
#[must_use = "nothing is made before `build`"]
pub struct ChipCallableBuilder<'a> {
    func_name: Cow<'a, str>,
    config_name: Cow<'a, str>,
    signature: Cow<'a, [ArgDirection]>,
    binary: Cow<'a, [u8]>,
    children: Vec<(i32, CoreCallable)>,
}

impl<'a> ChipCallableBuilder<'a> {
    fn new(func_name: Cow<'a, str>) -> Self {
        Self {
            func_name,
            config_name: Cow::default(),
            signature: Cow::default(),
            binary: Cow::default(),
            children: Vec::new(),
        }
    }

    /// The function that configures it.
    pub fn config_name(mut self, name: impl Into<Cow<'a, str>>) -> Self {
        self.config_name = name.into();
        self
    }

    /// What it does with its arguments; none without this.
    pub fn signature(mut self, signature: impl Into<Cow<'a, [ArgDirection]>>) -> Self {
        self.signature = signature.into();
        self
    }

    /// The binary that orchestrates; empty without this.
    pub fn binary(mut self, binary: impl Into<Cow<'a, [u8]>>) -> Self {
        self.binary = binary.into();
        self
    }

    /// The same from a file, for example a shared object.
    ///
    /// # Errors
    /// The file cannot be read, or has 4 GiB or more.
    pub fn binary_file(self, path: impl AsRef<Path>) -> Result<Self, AbiError> {
        Ok(self.binary(read_binary(path.as_ref())?))
    }

    /// One more child, behind those there are.
    pub fn child(mut self, func_id: i32, callable: CoreCallable) -> Self {
        self.children.push((func_id, callable));
        self
    }

    /// Puts it together. Names are cut after 63 bytes, between two characters.
    ///
    /// # Errors
    /// A signature of more than 16 entries, more than 32 children, a NUL in a name, 4 GiB or more
    /// in all.
    pub fn build(&self) -> Result<ChipCallable, AbiError> {
        let (signature, sig_count) = Signature::new(WHAT, &self.signature)?.raw();
        let (count, limit) = (self.children.len(), MAX_CHILDREN);
        if count > limit {
            return Err(AbiError::TooMany { what: WHAT, field: "children", count, limit });
        }
        let (func_name, func_name_len) = padded("func_name", &self.func_name)?;
        let (config_name, config_name_len) = padded("config_name", &self.config_name)?;
        let mut child_func_ids = [0; MAX_CHILDREN];
        let mut child_offsets = [0; MAX_CHILDREN];
        // Everything is measured before anything is copied.
        let mut end = self.binary.len() as u64;
        let binary_size = count_bytes(WHAT, end)?;
        for ((func_id, child), (id, offset)) in
            self.children.iter().zip(child_func_ids.iter_mut().zip(&mut child_offsets))
        {
            let begin = aligned(end);
            end = begin + child.as_bytes().len() as u64;
            count_bytes(WHAT, end)?;
            *id = *func_id;
            *offset = begin as u32; // below `end`, which fits
        }
        let header = ChipHeader {
            signature,
            sig_count,
            binary_size,
            func_name,
            func_name_len,
            child_func_ids,
            child_offsets,
            child_count: count as i32,
            config_name,
            config_name_len,
        };
        let mut parts: Vec<(usize, &[u8])> = Vec::with_capacity(2 + count);
        parts.push((0, bytemuck::bytes_of(&header)));
        parts.push((STORAGE, &self.binary));
        let places = child_offsets.iter().map(|&offset| STORAGE + offset as usize);
        parts.extend(places.zip(self.children.iter().map(|(_, child)| child.as_bytes())));
        Ok(ChipCallable { storage: Storage::of(&parts), parts: Parts::of(&header)? })
    }
}

/// A header, checked.
#[derive(Clone, Copy)]
struct Parts {
    signature: Signature,
    binary: usize,
    func_name: usize,
    config_name: usize,
    children: [(i32, u32); MAX_CHILDREN],
    child_count: usize,
}

impl Parts {
    /// Checks what the header says by itself; offsets are looked at later.
    fn of(header: &ChipHeader) -> Result<Self, AbiError> {
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

/// A name as a header holds it.
fn padded(field: &'static str, text: &str) -> Result<(Name, u32), AbiError> {
    if text.contains('\0') {
        return Err(AbiError::BadName { field, why: "has a NUL inside; C would end it there" });
    }
    let most = text.len().min(CALLABLE_NAME_BYTES - 1);
    let cut = (0..=most).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    let text = &text.as_bytes()[..cut];
    let mut bytes = [0; CALLABLE_NAME_BYTES];
    bytes[..text.len()].copy_from_slice(text);
    Ok((bytes, text.len() as u32))
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
