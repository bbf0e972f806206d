//! What travels as its bytes: numbers, text, paths, and vectors, slices and arrays of numbers.
//!
//! Which types these are is found out by their ids, which the compiler knows: of all this, a copy
//! of bytes is left.

use std::any::TypeId;
use std::ffi::OsString;
use std::mem::{ManuallyDrop, needs_drop};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use serde::de::{DeserializeSeed, Deserializer, IntoDeserializer, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::format::{Buffer, Fault, ext, mark, tag};
use super::write;

const _: () = assert!(size_of::<usize>() == 8, "usize travels as u64");

macro_rules! numbers {
    ($($name:ident = $code:literal: $($type:ty),+ => $put:expr, $visit:ident;)+) => {
        /// A type of number.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Number {
            $($name = $code,)+
        }

        impl Number {
            /// The one with this code.
            pub(super) fn from_code(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)+
                    _ => None,
                }
            }

            /// Bytes of one.
            pub(super) fn size(self) -> usize {
                match self {
                    $(Self::$name => size_of::<numbers!(@first $($type),+)>(),)+
                }
            }

            /// What Rust calls it.
            fn name(self) -> &'static str {
                match self {
                    $(Self::$name => std::any::type_name::<numbers!(@first $($type),+)>(),)+
                }
            }

            fn visit<'de, V: Visitor<'de>>(self, bytes: &[u8], visitor: V) -> Result<V::Value, Fault> {
                match self {
                    $(Self::$name => visitor.$visit(read_one(bytes)?),)+
                }
            }

            /// As an item of MessagePack.
            fn write(self, bytes: &[u8], out: &mut Buffer) -> Result<(), Fault> {
                match self {
                    $(Self::$name => {
                        let put: fn(numbers!(@first $($type),+), &mut Buffer) -> Result<(), Fault> = $put;
                        put(read_one(bytes)?, out)
                    })+
                }
            }
        }

        /// The number that a type is.
        #[inline(always)]
        fn number_by_id(id: TypeId) -> Option<Number> {
            $($(
                if id == TypeId::of::<$type>() {
                    return Some(Number::$name);
                }
            )+)+
            None
        }

        /// The number of which a type of this size is an array. Not generic, so that it is compiled
        /// once and not for each type that travels.
        #[inline(never)]
        fn array_by_id(id: TypeId, size: usize) -> Option<Number> {
            $($(
                if id == array_id::<$type>(size) {
                    return Some(Number::$name);
                }
            )+)+
            None
        }

        /// The tag and the bytes of a value that travels as such.
        #[inline(always)]
        pub(super) fn bytes_of<T>(value: &T) -> Option<(u8, &[u8])> {
            let id = typeid::of::<T>();
            if const { size_of::<T>() == 0 } && id == TypeId::of::<()>() {
                // The item of MessagePack for nothing: what many calls return.
                return Some((tag::MESSAGE, &[mark::NIL]));
            }
            if const { !needs_drop::<T>() } {
                let code = match number_by_id(id) {
                    Some(number) => tag::ONE | number as u8,
                    None => tag::MANY | array_by_id(id, size_of::<T>())? as u8,
                };
                // SAFETY: `T` is a number or an array of such: all of its bytes are part of it.
                return Some((code, unsafe { bytes_at(std::ptr::from_ref(value), 1) }));
            }
            if const { size_of::<T>() != size_of::<Vec<u8>>() } {
                return None;
            }
            $($(
                if id == TypeId::of::<Vec<$type>>() {
                    // SAFETY: the ids say that `T` is this.
                    let all = unsafe { &*std::ptr::from_ref(value).cast::<Vec<$type>>() };
                    return Some((tag::MANY | Number::$name as u8, bytemuck::cast_slice(all)));
                }
            )+)+
            if id == TypeId::of::<String>() {
                // SAFETY: the ids say that `T` is this.
                let text = unsafe { &*std::ptr::from_ref(value).cast::<String>() };
                return Some((tag::TEXT, text.as_bytes()));
            }
            if id == TypeId::of::<PathBuf>() {
                // SAFETY: the ids say that `T` is this.
                let path = unsafe { &*std::ptr::from_ref(value).cast::<PathBuf>() };
                return Some((tag::PATH, path.as_os_str().as_bytes()));
            }
            if id == TypeId::of::<OsString>() {
                // SAFETY: the ids say that `T` is this.
                let path = unsafe { &*std::ptr::from_ref(value).cast::<OsString>() };
                return Some((tag::PATH, path.as_bytes()));
            }
            None
        }

        /// The tag of a list of such elements, if they are numbers.
        #[inline(always)]
        pub(super) fn list_tag<E>() -> Option<u8> {
            number_by_id(typeid::of::<E>()).map(|number| tag::MANY | number as u8)
        }

        /// The value of a type that travels as its bytes. `None`: this is no such type, or the
        /// bytes are not in this form.
        #[inline(always)]
        pub(super) fn value_of<T>(tag: u8, bytes: &[u8]) -> Option<Result<T, Fault>> {
            let id = typeid::of::<T>();
            if const { size_of::<T>() == 0 }
                && id == TypeId::of::<()>()
                && (tag, bytes) == (tag::MESSAGE, &[mark::NIL])
            {
                // SAFETY: the ids say that the two types are one.
                return Some(Ok(unsafe { same(()) }));
            }
            if tag == tag::MESSAGE {
                return None;
            }
            if const { !needs_drop::<T>() } {
                let (code, number) = match number_by_id(id) {
                    Some(number) => (tag::ONE, number),
                    None => (tag::MANY, array_by_id(id, size_of::<T>())?),
                };
                if tag != code | number as u8 {
                    return Some(Err(another::<T>(tag)));
                }
                if bytes.len() != size_of::<T>() {
                    return Some(Err(of_another_length::<T>(number, bytes.len())));
                }
                // SAFETY: a number or an array of numbers, which any bytes of its size are.
                return Some(Ok(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() }));
            }
            if const { size_of::<T>() != size_of::<Vec<u8>>() } {
                return None;
            }
            $($(
                if id == TypeId::of::<Vec<$type>>() {
                    let all = match tag == tag::MANY | Number::$name as u8 {
                        true => read_all::<$type>(bytes),
                        false => Err(another::<T>(tag)),
                    };
                    // SAFETY: the ids say that the two types are one.
                    return Some(all.map(|all| unsafe { same(all) }));
                }
            )+)+
            if id == TypeId::of::<String>() {
                let text = match tag == tag::TEXT {
                    true => text(bytes).map(str::to_owned),
                    false => Err(another::<T>(tag)),
                };
                // SAFETY: the ids say that the two types are one.
                return Some(text.map(|text| unsafe { same(text) }));
            }
            if id == TypeId::of::<PathBuf>() || id == TypeId::of::<OsString>() {
                if tag != tag::PATH && tag != tag::TEXT {
                    return Some(Err(another::<T>(tag)));
                }
                let name = OsString::from_vec(bytes.to_vec());
                return Some(Ok(if id == TypeId::of::<OsString>() {
                    // SAFETY: the ids say that the two types are one.
                    unsafe { same(name) }
                } else {
                    // SAFETY: the ids say that the two types are one.
                    unsafe { same(PathBuf::from(name)) }
                }));
            }
            None
        }
    };
    (@first $first:ty $(, $rest:ty)*) => { $first };
}

numbers! {
    U8 = 0: u8 => |value, out| { write::unsigned(value.into(), out); Ok(()) }, visit_u8;
    U16 = 1: u16 => |value, out| { write::unsigned(value.into(), out); Ok(()) }, visit_u16;
    U32 = 2: u32 => |value, out| { write::unsigned(value.into(), out); Ok(()) }, visit_u32;
    U64 = 3: u64, usize => |value, out| { write::unsigned(value, out); Ok(()) }, visit_u64;
    U128 = 4: u128 => write::wide_unsigned, visit_u128;
    I8 = 5: i8 => |value, out| { write::signed(value.into(), out); Ok(()) }, visit_i8;
    I16 = 6: i16 => |value, out| { write::signed(value.into(), out); Ok(()) }, visit_i16;
    I32 = 7: i32 => |value, out| { write::signed(value.into(), out); Ok(()) }, visit_i32;
    I64 = 8: i64, isize => |value, out| { write::signed(value, out); Ok(()) }, visit_i64;
    I128 = 9: i128 => write::wide_signed, visit_i128;
    F32 = 10: f32 => |value, out| { write::float(value, out); Ok(()) }, visit_f32;
    F64 = 11: f64 => |value, out| { write::double(value, out); Ok(()) }, visit_f64;
}

/// The id of an array of `E` that is so large. Serde knows arrays of up to 32 elements.
fn array_id<E: 'static>(size: usize) -> TypeId {
    macro_rules! of {
        ($($len:literal)+) => {
            match size / size_of::<E>() {
                $($len => TypeId::of::<[E; $len]>(),)+
                _ => TypeId::of::<()>(),
            }
        };
    }
    if size == 0 || !size.is_multiple_of(size_of::<E>()) {
        return TypeId::of::<NoArray>();
    }
    of!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32)
}

/// Bytes that are not as many as a number or an array of numbers has.
#[cold]
fn of_another_length<T>(number: Number, bytes: usize) -> Fault {
    Fault::new(format!(
        "{} numbers, where a `{}` is expected",
        bytes / number.size(),
        std::any::type_name::<T>(),
    ))
}

/// The id of this is that of no value.
enum NoArray {}

/// # Safety
/// All bytes of the values are part of them.
unsafe fn bytes_at<'a, T>(first: *const T, count: usize) -> &'a [u8] {
    // SAFETY: as the caller says.
    unsafe { std::slice::from_raw_parts(first.cast(), count * size_of::<T>()) }
}

/// # Safety
/// `A` and `B` are one type.
unsafe fn same<A, B>(value: A) -> B {
    debug_assert_eq!(typeid::of::<A>(), typeid::of::<B>());
    let value = ManuallyDrop::new(value);
    // SAFETY: one type, as the caller says; the old value is not dropped.
    unsafe { std::mem::transmute_copy(&*value) }
}

fn read_one<E: bytemuck::Pod>(bytes: &[u8]) -> Result<E, Fault> {
    bytemuck::try_pod_read_unaligned(bytes).map_err(|_| {
        Fault::new(format!("{} bytes for one number of {}", bytes.len(), size_of::<E>()))
    })
}

fn read_all<E: bytemuck::Pod>(bytes: &[u8]) -> Result<Vec<E>, Fault> {
    let count = bytes.len() / size_of::<E>();
    if count * size_of::<E>() != bytes.len() {
        return Err(Fault::new(format!("{} bytes for numbers of {}", bytes.len(), size_of::<E>())));
    }
    let mut all = Vec::<E>::with_capacity(count);
    // SAFETY: there is room for them, and any bytes are such elements.
    unsafe {
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), all.as_mut_ptr().cast(), bytes.len());
        all.set_len(count);
    }
    Ok(all)
}

/// Elements where they are, if they lie right for that.
pub(super) fn elements<E>(tag: u8, bytes: &[u8]) -> Option<&[E]> {
    let right = list_tag::<E>() == Some(tag)
        && bytes.len().is_multiple_of(size_of::<E>())
        && bytes.as_ptr().addr().is_multiple_of(align_of::<E>());
    // SAFETY: `E` is a number, so any bytes are one; place and length have been looked at.
    right.then(|| unsafe {
        std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size_of::<E>())
    })
}

/// The bytes of a slice, if its elements are numbers.
pub(super) fn slice_bytes<E>(all: &[E]) -> Option<(u8, &[u8])> {
    // SAFETY: elements that are numbers, as the tag says.
    list_tag::<E>().map(|tag| (tag, unsafe { bytes_at(all.as_ptr(), all.len()) }))
}

pub(super) fn text(bytes: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(bytes)
        .map_err(|error| Fault::new(format!("a text that is not UTF-8: {error}")))
}

/// What is said of a value of another type.
#[cold]
pub(super) fn another<T: ?Sized>(tag: u8) -> Fault {
    Fault::new(format!(
        "it is {}, and a `{}` is expected",
        describe(tag),
        std::any::type_name::<T>()
    ))
}

fn describe(tag: u8) -> String {
    match (tag, number_of(tag)) {
        (tag::MESSAGE, _) => "a MessagePack item".to_owned(),
        (tag::TEXT, _) => "a text".to_owned(),
        (tag::PATH, _) => "a path".to_owned(),
        (_, Some(number)) if tag & tag::MANY != 0 => format!("a list of `{}`", number.name()),
        (_, Some(number)) => format!("one `{}`", number.name()),
        _ => "none (its last byte says nothing known)".to_owned(),
    }
}

/// The type of number that a tag names.
fn number_of(tag: u8) -> Option<Number> {
    (tag & (tag::ONE | tag::MANY) != 0).then(|| Number::from_code(tag & tag::CODE)).flatten()
}

/// Whether the bytes under this tag are to lie at a multiple of 64.
pub(super) fn is_aligned(tag: u8) -> bool {
    tag == tag::TEXT || tag == tag::PATH || tag & tag::MANY != 0
}

/// A plain value as an item of MessagePack: what to write, and which bytes then follow.
pub(super) fn as_item<'a>(tag: u8, bytes: &'a [u8], out: &mut Buffer) -> Result<&'a [u8], Fault> {
    match (tag, number_of(tag)) {
        (tag::MESSAGE, _) => {}
        (tag::TEXT, _) => write::text_head(bytes.len(), out)?,
        (tag::PATH, _) => {
            let path = std::str::from_utf8(bytes).map_err(|_| {
                Fault::new("a path that is not UTF-8 stands alone, not in another value")
            })?;
            write::text_head(path.len(), out)?;
        }
        (_, Some(Number::U8)) if tag & tag::MANY != 0 => write::bytes_head(bytes.len(), out)?,
        (_, Some(number)) if tag & tag::MANY != 0 => {
            write::ext_head(ext::NUMBERS + number as u8, bytes.len(), out)?;
        }
        (_, Some(number)) => {
            number.write(bytes, out)?;
            return Ok(&[]);
        }
        _ => return Err(Fault::new(format!("it is {}", describe(tag)))),
    }
    Ok(bytes)
}

/// Numbers behind each other.
#[derive(Clone, Copy)]
pub(super) struct Numbers<'de> {
    number: Number,
    bytes: &'de [u8],
}

impl<'de> Numbers<'de> {
    pub(super) fn new(number: Number, bytes: &'de [u8]) -> Option<Self> {
        bytes.len().is_multiple_of(number.size()).then_some(Self { number, bytes })
    }

    pub(super) fn of_bytes(bytes: &'de [u8]) -> Self {
        Self { number: Number::U8, bytes }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() / self.number.size()
    }
}

/// The same, one after the other.
pub(super) struct NumberParts<'de>(Numbers<'de>);

impl<'de> NumberParts<'de> {
    pub(super) fn visit<V: Visitor<'de>>(
        numbers: Numbers<'de>,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let mut parts = Self(numbers);
        let value = visitor.visit_seq(&mut parts)?;
        match parts.0.len() {
            0 => Ok(value),
            left => Err(Fault::new(format!("{left} numbers are left over"))),
        }
    }
}

impl<'de> SeqAccess<'de> for NumberParts<'de> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let Numbers { number, bytes } = self.0;
        let Some((one, rest)) =
            bytes.split_at_checked(number.size()).filter(|(one, _)| !one.is_empty())
        else {
            return Ok(None);
        };
        self.0.bytes = rest;
        seed.deserialize(Plain { tag: tag::ONE | number as u8, bytes: one }).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// A plain value for a type that is not plain: `Box<str>`, say; or one number of a list.
pub(super) struct Plain<'de> {
    pub(super) tag: u8,
    pub(super) bytes: &'de [u8],
}

impl<'de> Deserializer<'de> for Plain<'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Self { tag, bytes } = self;
        match (tag, number_of(tag)) {
            (tag::TEXT, _) => visitor.visit_borrowed_str(text(bytes)?),
            (tag::PATH, _) => match std::str::from_utf8(bytes) {
                Ok(text) => visitor.visit_borrowed_str(text),
                Err(_) => visitor.visit_borrowed_bytes(bytes),
            },
            (_, Some(number)) if tag & tag::MANY != 0 => {
                let numbers = Numbers::new(number, bytes);
                NumberParts::visit(numbers.ok_or_else(|| Fault::new("half a number"))?, visitor)
            }
            (_, Some(number)) => number.visit(bytes, visitor),
            _ => Err(Fault::new(format!("it is {}", describe(tag)))),
        }
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.tag == tag::MANY | Number::U8 as u8 {
            return visitor.visit_borrowed_bytes(self.bytes);
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match self.tag {
            tag::TEXT => visitor.visit_enum(text(self.bytes)?.into_deserializer()),
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string unit unit_struct seq
        tuple tuple_struct map struct identifier ignored_any
    }
}
