//! The builder of chip callables.

use std::borrow::Cow;
use std::path::Path;

use super::chip_callable::{ChipHeader, Name, Parts, STORAGE, WHAT};
use super::core_callable::{count_bytes, read_binary};
use super::direction::Signature;
use super::storage::Storage;
use super::{AbiError, ArgDirection, ChipCallable, CoreCallable, aligned};
use crate::limits::{CALLABLE_NAME_BYTES, MAX_CHILDREN};

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
    pub(super) fn new(func_name: Cow<'a, str>) -> Self {
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
        let (func_name, func_name_len) = name("func_name", &self.func_name)?;
        let (config_name, config_name_len) = name("config_name", &self.config_name)?;
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

/// A name as a header holds it.
fn name(field: &'static str, text: &str) -> Result<(Name, u32), AbiError> {
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
