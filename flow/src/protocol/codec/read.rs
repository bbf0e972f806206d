//! MessagePack, read by serde. Whatever the bytes are, this ends with a value or an error: lengths
//! are compared with what is left, and nesting has a limit.

use serde::de::value::StrDeserializer;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer,
    MapAccess, SeqAccess, Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::format::{Fault, MAX_DEPTH, ext, mark};
use super::plain::{Number, NumberParts, Numbers};
use super::token::{self, Token};

/// Reads one value that takes up all bytes.
pub(super) fn read<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, Fault> {
    let mut reader = Reader { bytes, at: 0, depth: 0 };
    let value = T::deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    value.map_err(|fault| fault.at(reader.at, bytes.len()))
}

/// Looks through one item that takes up all bytes.
pub(super) fn look_through(bytes: &[u8]) -> Result<(), Fault> {
    let mut reader = Reader { bytes, at: 0, depth: 0 };
    let looked = reader.skip().and_then(|()| reader.end());
    looked.map_err(|fault| fault.at(reader.at, bytes.len()))
}

struct Reader<'de> {
    bytes: &'de [u8],
    at: usize,
    depth: usize,
}

/// One item, or the head of one that has parts.
enum Item<'de> {
    Nil,
    /// Nothing, in so many options.
    Some(u8),
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    WideUnsigned(u128),
    WideSigned(i128),
    Float(f32),
    Double(f64),
    Text(&'de str),
    Bytes(&'de [u8]),
    Array(usize),
    Map(usize),
    Numbers(Numbers<'de>),
    Token(Token),
}

impl Item<'_> {
    fn unexpected(&self) -> Unexpected<'_> {
        match self {
            Self::Nil => Unexpected::Unit,
            Self::Some(_) => Unexpected::Option,
            Self::Bool(value) => Unexpected::Bool(*value),
            Self::Unsigned(value) => Unexpected::Unsigned(*value),
            Self::Signed(value) => Unexpected::Signed(*value),
            Self::WideUnsigned(_) | Self::WideSigned(_) => {
                Unexpected::Other("a number of 128 bits")
            }
            Self::Float(value) => Unexpected::Float((*value).into()),
            Self::Double(value) => Unexpected::Float(*value),
            Self::Text(text) => Unexpected::Str(text),
            Self::Bytes(bytes) => Unexpected::Bytes(bytes),
            Self::Array(_) | Self::Numbers(_) => Unexpected::Seq,
            Self::Map(_) => Unexpected::Map,
            Self::Token(_) => Unexpected::Other("a ref"),
        }
    }
}

impl<'de> Reader<'de> {
    fn take(&mut self, len: usize) -> Result<&'de [u8], Fault> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let (taken, _) = rest.split_at_checked(len).ok_or_else(|| {
            Fault::new(format!("it ends too early: {len} bytes are said to follow"))
        })?;
        self.at += len;
        Ok(taken)
    }

    fn take_array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    /// A number of 1, 2, 4 or 8 bytes.
    fn word(&mut self, power: u8) -> Result<u64, Fault> {
        let bytes = self.take(1 << power)?;
        Ok(bytes.iter().fold(0, |word, &byte| word << 8 | u64::from(byte)))
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn end(&self) -> Result<(), Fault> {
        match self.bytes.len() - self.at {
            0 => Ok(()),
            rest => Err(Fault::new(format!("{rest} bytes are left over"))),
        }
    }

    fn text(&mut self, len: usize) -> Result<Item<'de>, Fault> {
        let bytes = self.take(len)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Item::Text(text)),
            Err(error) => Err(Fault::new(format!("a text that is not UTF-8: {error}"))),
        }
    }

    /// How many parts follow; each of them has a byte at least.
    fn parts(&self, parts: u64, each: usize) -> Result<usize, Fault> {
        let left = self.bytes.len() - self.at;
        match usize::try_from(parts) {
            Ok(parts) if parts <= left / each => Ok(parts),
            _ => Err(Fault::new(format!(
                "it ends too early: {parts} parts are said to follow, in {left} bytes"
            ))),
        }
    }

    fn item(&mut self) -> Result<Item<'de>, Fault> {
        let first = self.word(0)? as u8;
        Ok(match first {
            0..mark::FIX_MAP => Item::Unsigned(first.into()),
            mark::FIX_MAP..mark::FIX_ARRAY => Item::Map(self.parts((first & 15).into(), 2)?),
            mark::FIX_ARRAY..mark::FIX_STR => Item::Array(self.parts((first & 15).into(), 1)?),
            mark::FIX_STR..mark::NIL => self.text((first & 31).into())?,
            mark::NIL => Item::Nil,
            mark::FALSE | mark::TRUE => Item::Bool(first == mark::TRUE),
            mark::BIN_8..mark::EXT_8 => {
                let len = self.word(first - mark::BIN_8)?;
                Item::Bytes(self.take(len as usize)?)
            }
            mark::EXT_8..mark::F32 => {
                let len = self.word(first - mark::EXT_8)?;
                self.ext(len as usize)?
            }
            mark::F32 => Item::Float(f32::from_bits(u32::from_be_bytes(self.take_array()?))),
            mark::F64 => Item::Double(f64::from_bits(u64::from_be_bytes(self.take_array()?))),
            mark::U8..mark::I8 => Item::Unsigned(self.word(first - mark::U8)?),
            mark::I8..mark::FIX_EXT_1 => {
                let power = first - mark::I8;
                let shift = 64 - (8 << power);
                let value = ((self.word(power)? << shift) as i64) >> shift;
                u64::try_from(value).map_or(Item::Signed(value), Item::Unsigned)
            }
            mark::FIX_EXT_1..mark::STR_8 => self.ext(1 << (first - mark::FIX_EXT_1))?,
            mark::STR_8..mark::ARRAY_16 => {
                let len = self.word(first - mark::STR_8)?;
                self.text(len as usize)?
            }
            mark::ARRAY_16..mark::MAP_16 => {
                let parts = self.word(first - mark::ARRAY_16 + 1)?;
                Item::Array(self.parts(parts, 1)?)
            }
            mark::MAP_16..mark::FIX_NEGATIVE => {
                let parts = self.word(first - mark::MAP_16 + 1)?;
                Item::Map(self.parts(parts, 2)?)
            }
            mark::FIX_NEGATIVE.. => Item::Signed((first as i8).into()),
            mark::UNUSED => return Err(Fault::new("a byte that MessagePack does not use")),
        })
    }

    fn ext(&mut self, len: usize) -> Result<Item<'de>, Fault> {
        let kind = self.word(0)? as u8;
        let bytes = self.take(len)?;
        let wrong = || Fault::new(format!("an extension {kind} of {len} bytes, which is none"));
        Ok(match kind {
            ext::SOME => match bytes {
                [times] if *times > 0 => Item::Some(*times),
                _ => return Err(wrong()),
            },
            ext::U128 => {
                let bytes = bytes.try_into().map_err(|_| wrong())?;
                Item::WideUnsigned(u128::from_be_bytes(bytes))
            }
            ext::I128 => {
                let bytes = bytes.try_into().map_err(|_| wrong())?;
                Item::WideSigned(i128::from_be_bytes(bytes))
            }
            ext::REF | ext::SHARED | ext::ACTOR => {
                let (words, rest) = bytes.as_chunks::<8>();
                let words: Vec<u64> =
                    words.iter().take(5).map(|w| u64::from_be_bytes(*w)).collect();
                let token = Token::new(kind, &words).filter(|_| rest.is_empty());
                let token = token.ok_or_else(wrong)?;
                token::see(token).map_err(Fault::new)?;
                Item::Token(token)
            }
            _ => {
                let number = kind.checked_sub(ext::NUMBERS).and_then(Number::from_code);
                let numbers = number.and_then(|number| Numbers::new(number, bytes));
                Item::Numbers(numbers.ok_or_else(wrong)?)
            }
        })
    }

    /// Does something one level deeper.
    fn deeper<R>(&mut self, f: impl FnOnce(&mut Self) -> Result<R, Fault>) -> Result<R, Fault> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(Fault::new(format!("it is nested deeper than {MAX_DEPTH} levels")));
        }
        let result = f(self)?;
        self.depth -= 1;
        Ok(result)
    }

    fn skip(&mut self) -> Result<(), Fault> {
        // Items that are still to come; no recursion, since what is skipped has no limit.
        let mut open = 1u64;
        while open > 0 {
            open -= 1;
            match self.item()? {
                Item::Array(parts) => open += parts as u64,
                Item::Map(parts) => open += 2 * parts as u64,
                _ => {}
            }
        }
        Ok(())
    }

    fn array<V: Visitor<'de>>(&mut self, parts: usize, visitor: V) -> Result<V::Value, Fault> {
        self.deeper(|reader| {
            let mut all = Parts { reader, left: parts };
            let value = visitor.visit_seq(&mut all)?;
            all.end().map(|()| value)
        })
    }

    fn map<V: Visitor<'de>>(&mut self, parts: usize, visitor: V) -> Result<V::Value, Fault> {
        self.deeper(|reader| {
            let mut all = Parts { reader, left: parts };
            let value = visitor.visit_map(&mut all)?;
            all.end().map(|()| value)
        })
    }

    fn visit<V: Visitor<'de>>(&mut self, item: Item<'de>, visitor: V) -> Result<V::Value, Fault> {
        match item {
            Item::Nil => visitor.visit_unit(),
            Item::Some(times) => visitor.visit_some(Nothing(times - 1)),
            Item::Bool(value) => visitor.visit_bool(value),
            Item::Unsigned(value) => visitor.visit_u64(value),
            Item::Signed(value) => visitor.visit_i64(value),
            Item::WideUnsigned(value) => visitor.visit_u128(value),
            Item::WideSigned(value) => visitor.visit_i128(value),
            Item::Float(value) => visitor.visit_f32(value),
            Item::Double(value) => visitor.visit_f64(value),
            Item::Text(text) => visitor.visit_borrowed_str(text),
            Item::Bytes(bytes) => visitor.visit_borrowed_bytes(bytes),
            Item::Array(parts) => self.array(parts, visitor),
            Item::Map(parts) => self.map(parts, visitor),
            Item::Numbers(numbers) => NumberParts::visit(numbers, visitor),
            Item::Token(token) => visitor.visit_newtype_struct(Words(token)),
        }
    }

    /// As an array of exactly so many: what has fewer, since a field was skipped, would put the
    /// rest into wrong places.
    fn exactly<V: Visitor<'de>>(&mut self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        let item = self.item()?;
        let there = match &item {
            Item::Array(parts) => *parts,
            Item::Numbers(numbers) => numbers.len(),
            Item::Bytes(bytes) => bytes.len(),
            _ => return self.visit(item, visitor),
        };
        if there != len {
            return Err(Fault::new(format!("{there} parts, where there have to be {len}")));
        }
        match item {
            Item::Bytes(bytes) => NumberParts::visit(Numbers::of_bytes(bytes), visitor),
            item => self.visit(item, visitor),
        }
    }
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let item = self.item()?;
        self.visit(item, visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.peek() == Some(mark::NIL) {
            self.at += 1;
            return visitor.visit_none();
        }
        if self.peek() == Some(mark::FIX_EXT_1) && self.bytes.get(self.at + 1) == Some(&ext::SOME) {
            return self.deserialize_any(visitor);
        }
        self.deeper(|reader| visitor.visit_some(reader))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if name == token::TOKEN {
            return match self.item()? {
                Item::Token(token) => visitor.visit_newtype_struct(Words(token)),
                other => Err(Fault::invalid_type(other.unexpected(), &"a ref")),
            };
        }
        self.deeper(|reader| visitor.visit_newtype_struct(reader))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.item()? {
            Item::Bytes(bytes) => NumberParts::visit(Numbers::of_bytes(bytes), visitor),
            item => self.visit(item, visitor),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        self.exactly(len, visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.exactly(len, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.exactly(fields.len(), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.item()? {
            Item::Text(name) => visitor.visit_enum(name.into_deserializer()),
            Item::Map(1) => self.deeper(|reader| visitor.visit_enum(Variant { reader })),
            other => Err(Fault::invalid_type(
                other.unexpected(),
                &"the name of a variant, or a map with that as its only key",
            )),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.skip()?;
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct map identifier
    }
}

/// What is left of an array or a map.
struct Parts<'r, 'de> {
    reader: &'r mut Reader<'de>,
    left: usize,
}

impl Parts<'_, '_> {
    fn end(&self) -> Result<(), Fault> {
        match self.left {
            0 => Ok(()),
            left => Err(Fault::new(format!("{left} parts are left over"))),
        }
    }
}

impl<'de> SeqAccess<'de> for Parts<'_, 'de> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(&mut *self.reader).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> MapAccess<'de> for Parts<'_, 'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        self.next_element_seed(seed)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        seed.deserialize(&mut *self.reader)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// A variant that has something.
struct Variant<'r, 'de> {
    reader: &'r mut Reader<'de>,
}

impl<'de> EnumAccess<'de> for Variant<'_, 'de> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Fault> {
        let name = match self.reader.item()? {
            Item::Text(name) => name,
            other => {
                return Err(Fault::invalid_type(other.unexpected(), &"the name of a variant"));
            }
        };
        let name = seed.deserialize(StrDeserializer::<Fault>::new(name))?;
        Ok((name, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, 'de> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        <()>::deserialize(self.reader)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Fault> {
        seed.deserialize(self.reader)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Fault> {
        self.reader.exactly(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.reader.exactly(fields.len(), visitor)
    }
}

/// Nothing, in so many options.
struct Nothing(u8);

impl<'de> Deserializer<'de> for Nothing {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            0 => visitor.visit_unit(),
            times => visitor.visit_some(Self(times - 1)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0 {
            0 => visitor.visit_none(),
            times => visitor.visit_some(Self(times - 1)),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct enum identifier
    }
}

/// The words of a token.
struct Words(Token);

impl<'de> Deserializer<'de> for Words {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let words = self.0.words().iter().copied();
        visitor.visit_seq(serde::de::value::SeqDeserializer::new(words))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier
        ignored_any
    }
}

/// What an item comes to, whatever the order in which maps and sets gave their parts: two
/// encodings of one value have the same.
pub(super) fn fingerprint(bytes: &[u8]) -> Option<u64> {
    let mut reader = Reader { bytes, at: 0, depth: 0 };
    let print = reader.print().ok()?;
    reader.end().ok().map(|()| print)
}

impl Reader<'_> {
    fn print(&mut self) -> Result<u64, Fault> {
        let from = self.at;
        let (parts, each) = match self.item()? {
            Item::Array(parts) => (parts, 1),
            Item::Map(parts) => (parts, 2),
            _ => return Ok(hash(&self.bytes[from..self.at])),
        };
        let mut sum = hash(&[each, (parts % 251) as u8]);
        for _ in 0..parts {
            let mut part = self.deeper(Self::print)?;
            if each == 2 {
                let value = self.deeper(Self::print)?;
                let mut both = [0; 16];
                both[..8].copy_from_slice(&part.to_ne_bytes());
                both[8..].copy_from_slice(&value.to_ne_bytes());
                part = hash(&both);
            }
            sum = sum.wrapping_add(part);
        }
        Ok(hash(&sum.to_ne_bytes()))
    }
}

fn hash(bytes: &[u8]) -> u64 {
    use std::hash::Hasher;
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}
