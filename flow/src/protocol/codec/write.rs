//! MessagePack, written by serde. Structs are maps with the names of their fields, variants go by
//! their names, and two things have extension types of their own (see [`ext`](super::format::ext)): what
//! the format has no item for, and what only this flow may read.

use serde::ser::{
    Serialize, SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};

use super::format::{Buffer, Fault, MAX_DEPTH, ext, mark};
use super::token;

/// Writes one value behind what is in the buffer.
pub(super) fn write<T: Serialize + ?Sized>(value: &T, out: &mut Buffer) -> Result<(), Fault> {
    value.serialize(&mut Writer { out, depth: 0 })
}

pub(super) struct Writer<'b> {
    out: &'b mut Buffer,
    depth: usize,
}

/// What a header stands for.
#[derive(Clone, Copy)]
enum Group {
    Array,
    Map,
}

/// The head of an array or a map.
fn head(group: Group, len: u32) -> ([u8; 5], usize) {
    let (fixed, long) = match group {
        Group::Array => (mark::FIX_ARRAY, mark::ARRAY_16),
        Group::Map => (mark::FIX_MAP, mark::MAP_16),
    };
    let [a, b, c, d] = len.to_be_bytes();
    match len {
        0..=15 => ([fixed | d, 0, 0, 0, 0], 1),
        16..=0xffff => ([long, c, d, 0, 0], 3),
        _ => ([long + 1, a, b, c, d], 5),
    }
}

fn length(len: usize) -> Result<u32, Fault> {
    u32::try_from(len).map_err(|_| {
        Fault::new(format!("{len} elements or bytes in one place, and the most are {}", u32::MAX))
    })
}

/// The head of an array of so many elements.
pub(super) fn array_head(len: usize, out: &mut Buffer) -> Result<(), Fault> {
    let (bytes, used) = head(Group::Array, length(len)?);
    out.extend_from_slice(&bytes[..used]);
    Ok(())
}

/// The head of a text of so many bytes.
pub(super) fn text_head(len: usize, out: &mut Buffer) -> Result<(), Fault> {
    let [a, b, c, d] = length(len)?.to_be_bytes();
    match len {
        0..=31 => out.push(mark::FIX_STR | d),
        32..=0xff => out.extend_from_slice(&[mark::STR_8, d]),
        0x100..=0xffff => out.extend_from_slice(&[mark::STR_8 + 1, c, d]),
        _ => out.extend_from_slice(&[mark::STR_8 + 2, a, b, c, d]),
    }
    Ok(())
}

/// The head of so many plain bytes.
pub(super) fn bytes_head(len: usize, out: &mut Buffer) -> Result<(), Fault> {
    let [a, b, c, d] = length(len)?.to_be_bytes();
    match len {
        0..=0xff => out.extend_from_slice(&[mark::BIN_8, d]),
        0x100..=0xffff => out.extend_from_slice(&[mark::BIN_8 + 1, c, d]),
        _ => out.extend_from_slice(&[mark::BIN_8 + 2, a, b, c, d]),
    }
    Ok(())
}

/// The head of an extension with so many bytes.
pub(super) fn ext_head(kind: u8, len: usize, out: &mut Buffer) -> Result<(), Fault> {
    let [a, b, c, d] = length(len)?.to_be_bytes();
    match len {
        1 | 2 | 4 | 8 | 16 => {
            out.extend_from_slice(&[mark::FIX_EXT_1 + len.trailing_zeros() as u8, kind]);
        }
        0..=0xff => out.extend_from_slice(&[mark::EXT_8, d, kind]),
        0x100..=0xffff => out.extend_from_slice(&[mark::EXT_8 + 1, c, d, kind]),
        _ => out.extend_from_slice(&[mark::EXT_8 + 2, a, b, c, d, kind]),
    }
    Ok(())
}

pub(super) fn unsigned(value: u64, out: &mut Buffer) {
    let [.., e, f, g, h] = value.to_be_bytes();
    match value {
        0..=0x7f => out.push(h),
        0x80..=0xff => out.extend_from_slice(&[mark::U8, h]),
        0x100..=0xffff => out.extend_from_slice(&[mark::U8 + 1, g, h]),
        0x1_0000..=0xffff_ffff => out.extend_from_slice(&[mark::U8 + 2, e, f, g, h]),
        _ => {
            out.push(mark::U8 + 3);
            out.extend_from_slice(&value.to_be_bytes());
        }
    }
}

pub(super) fn signed(value: i64, out: &mut Buffer) {
    let [.., e, f, g, h] = value.to_be_bytes();
    match value {
        0.. => unsigned(value as u64, out),
        -32..0 => out.push(h),
        -0x80..-32 => out.extend_from_slice(&[mark::I8, h]),
        -0x8000..-0x80 => out.extend_from_slice(&[mark::I8 + 1, g, h]),
        -0x8000_0000..-0x8000 => out.extend_from_slice(&[mark::I8 + 2, e, f, g, h]),
        _ => {
            out.push(mark::I8 + 3);
            out.extend_from_slice(&value.to_be_bytes());
        }
    }
}

pub(super) fn wide_unsigned(value: u128, out: &mut Buffer) -> Result<(), Fault> {
    match u64::try_from(value) {
        Ok(value) => unsigned(value, out),
        Err(_) => {
            ext_head(ext::U128, 16, out)?;
            out.extend_from_slice(&value.to_be_bytes());
        }
    }
    Ok(())
}

pub(super) fn wide_signed(value: i128, out: &mut Buffer) -> Result<(), Fault> {
    match (i64::try_from(value), u64::try_from(value)) {
        (Ok(value), _) => signed(value, out),
        (_, Ok(value)) => unsigned(value, out),
        _ => {
            ext_head(ext::I128, 16, out)?;
            out.extend_from_slice(&value.to_be_bytes());
        }
    }
    Ok(())
}

pub(super) fn float(value: f32, out: &mut Buffer) {
    out.push(mark::F32);
    out.extend_from_slice(&value.to_bits().to_be_bytes());
}

pub(super) fn double(value: f64, out: &mut Buffer) {
    out.push(mark::F64);
    out.extend_from_slice(&value.to_bits().to_be_bytes());
}

impl<'b> Writer<'b> {
    fn deeper(&mut self) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth <= MAX_DEPTH {
            return Ok(());
        }
        Err(Fault::new(format!(
            "it is nested deeper than {MAX_DEPTH} levels; keep its parts in a vector, and let \
             them name each other by their places in it"
        )))
    }

    fn inner<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.deeper()?;
        value.serialize(&mut *self)?;
        self.depth -= 1;
        Ok(())
    }

    fn group(&mut self, group: Group, len: Option<usize>) -> Result<Parts<'_, 'b>, Fault> {
        self.deeper()?;
        let said = length(len.unwrap_or(0))?;
        let at = self.out.len();
        let (bytes, used) = head(group, said);
        self.out.extend_from_slice(&bytes[..used]);
        Ok(Parts { writer: self, group, at, said, count: 0 })
    }

    /// A variant that has something: a map with its name as the only key.
    fn variant(&mut self, name: &str) -> Result<(), Fault> {
        self.out.push(mark::FIX_MAP | 1);
        self.serialize_str(name)
    }
}

/// The parts of an array or a map, one after the other.
pub(super) struct Parts<'w, 'b> {
    writer: &'w mut Writer<'b>,
    group: Group,
    /// Where its head is, and how many parts that says.
    at: usize,
    said: u32,
    count: usize,
}

impl Parts<'_, '_> {
    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.count += 1;
        value.serialize(&mut *self.writer)
    }

    fn field<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), Fault> {
        self.count += 1;
        self.writer.serialize_str(name)?;
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Result<(), Fault> {
        self.writer.depth -= 1;
        let count = length(self.count)?;
        if count != self.said {
            // It was not known, or not right: another head, perhaps a longer one.
            let (_, before) = head(self.group, self.said);
            let (bytes, used) = head(self.group, count);
            let (same, more) = bytes[..used].split_at(before.min(used));
            self.writer.out[self.at..self.at + same.len()].copy_from_slice(same);
            if more.is_empty() {
                self.writer.out.drain(self.at + used..self.at + before);
            } else {
                self.writer.out.insert_from_slice(self.at + before, more);
            }
        }
        Ok(())
    }
}

impl<'w, 'b> Serializer for &'w mut Writer<'b> {
    type Ok = ();
    type Error = Fault;
    type SerializeSeq = Parts<'w, 'b>;
    type SerializeTuple = Parts<'w, 'b>;
    type SerializeTupleStruct = Parts<'w, 'b>;
    type SerializeTupleVariant = Parts<'w, 'b>;
    type SerializeMap = Parts<'w, 'b>;
    type SerializeStruct = Parts<'w, 'b>;
    type SerializeStructVariant = Parts<'w, 'b>;

    fn serialize_bool(self, value: bool) -> Result<(), Fault> {
        self.out.push(if value { mark::TRUE } else { mark::FALSE });
        Ok(())
    }

    fn serialize_i8(self, value: i8) -> Result<(), Fault> {
        self.serialize_i64(value.into())
    }

    fn serialize_i16(self, value: i16) -> Result<(), Fault> {
        self.serialize_i64(value.into())
    }

    fn serialize_i32(self, value: i32) -> Result<(), Fault> {
        self.serialize_i64(value.into())
    }

    fn serialize_i64(self, value: i64) -> Result<(), Fault> {
        signed(value, self.out);
        Ok(())
    }

    fn serialize_i128(self, value: i128) -> Result<(), Fault> {
        wide_signed(value, self.out)
    }

    fn serialize_u8(self, value: u8) -> Result<(), Fault> {
        self.serialize_u64(value.into())
    }

    fn serialize_u16(self, value: u16) -> Result<(), Fault> {
        self.serialize_u64(value.into())
    }

    fn serialize_u32(self, value: u32) -> Result<(), Fault> {
        self.serialize_u64(value.into())
    }

    fn serialize_u64(self, value: u64) -> Result<(), Fault> {
        unsigned(value, self.out);
        Ok(())
    }

    fn serialize_u128(self, value: u128) -> Result<(), Fault> {
        wide_unsigned(value, self.out)
    }

    fn serialize_f32(self, value: f32) -> Result<(), Fault> {
        float(value, self.out);
        Ok(())
    }

    fn serialize_f64(self, value: f64) -> Result<(), Fault> {
        double(value, self.out);
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), Fault> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), Fault> {
        text_head(value.len(), self.out)?;
        self.out.extend_from_slice(value.as_bytes());
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Fault> {
        bytes_head(value.len(), self.out)?;
        self.out.extend_from_slice(value);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Fault> {
        self.serialize_unit()
    }

    /// As what is inside; but when that is nothing as well, it is said how often.
    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Fault> {
        let at = self.out.len();
        self.inner(value)?;
        match self.out[at..] {
            [mark::NIL, ..] => {
                self.out.truncate(at);
                self.out.extend_from_slice(&[mark::FIX_EXT_1, ext::SOME, 1]);
            }
            [mark::FIX_EXT_1, ext::SOME, times] => {
                let more = times.checked_add(1);
                self.out[at + 2] =
                    more.ok_or_else(|| Fault::new("more than 255 options around nothing"))?;
            }
            _ => {}
        }
        Ok(())
    }

    fn serialize_unit(self) -> Result<(), Fault> {
        self.out.push(mark::NIL);
        Ok(())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Fault> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), Fault> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Fault> {
        if name == token::TOKEN
            && let Some(token) = token::take_token()
        {
            ext_head(token.kind, token.words().len() * 8, self.out)?;
            for word in token.words() {
                self.out.extend_from_slice(&word.to_be_bytes());
            }
            return Ok(());
        }
        self.inner(value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Fault> {
        self.variant(variant)?;
        self.inner(value)
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Parts<'w, 'b>, Fault> {
        self.group(Group::Array, len)
    }

    fn serialize_tuple(self, len: usize) -> Result<Parts<'w, 'b>, Fault> {
        self.group(Group::Array, Some(len))
    }

    fn serialize_tuple_struct(
        self,
        _name: &'static str,
        len: usize,
    ) -> Result<Parts<'w, 'b>, Fault> {
        self.group(Group::Array, Some(len))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Parts<'w, 'b>, Fault> {
        self.variant(variant)?;
        self.group(Group::Array, Some(len))
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Parts<'w, 'b>, Fault> {
        self.group(Group::Map, len)
    }

    fn serialize_struct(self, _name: &'static str, len: usize) -> Result<Parts<'w, 'b>, Fault> {
        self.group(Group::Map, Some(len))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Parts<'w, 'b>, Fault> {
        self.variant(variant)?;
        self.group(Group::Map, Some(len))
    }
}

impl SerializeSeq for Parts<'_, '_> {
    type Ok = ();
    type Error = Fault;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.part(value)
    }

    fn end(self) -> Result<(), Fault> {
        Parts::end(self)
    }
}

impl SerializeTuple for Parts<'_, '_> {
    type Ok = ();
    type Error = Fault;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.part(value)
    }

    fn end(self) -> Result<(), Fault> {
        Parts::end(self)
    }
}

impl SerializeTupleStruct for Parts<'_, '_> {
    type Ok = ();
    type Error = Fault;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.part(value)
    }

    fn end(self) -> Result<(), Fault> {
        Parts::end(self)
    }
}

impl SerializeTupleVariant for Parts<'_, '_> {
    type Ok = ();
    type Error = Fault;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        self.part(value)
    }

    fn end(self) -> Result<(), Fault> {
        Parts::end(self)
    }
}

impl SerializeMap for Parts<'_, '_> {
    type Ok = ();
    type Error = Fault;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Fault> {
        self.part(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Fault> {
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Result<(), Fault> {
        Parts::end(self)
    }
}

impl SerializeStruct for Parts<'_, '_> {
    type Ok = ();
    type Error = Fault;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Fault> {
        self.field(name, value)
    }

    fn end(self) -> Result<(), Fault> {
        Parts::end(self)
    }
}

impl SerializeStructVariant for Parts<'_, '_> {
    type Ok = ();
    type Error = Fault;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), Fault> {
        self.field(name, value)
    }

    fn end(self) -> Result<(), Fault> {
        Parts::end(self)
    }
}
