//! Values that are read where they are: parameters of the form `&T`, and views.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::marker::PhantomData;
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::format::{Fault, tag};
use super::{Value, decode, plain};

/// What is given for a parameter `&Self`: for `&str` a `String`, for `&[T]` a `Vec<T>`, for
/// `&Path` a `PathBuf`.
pub trait Owned {
    /// The type that travels.
    type Owned;
}

impl<T> Owned for T {
    type Owned = T;
}

impl<T> Owned for [T] {
    type Owned = Vec<T>;
}

impl Owned for str {
    type Owned = String;
}

impl Owned for Path {
    type Owned = PathBuf;
}

impl Owned for OsStr {
    type Owned = OsString;
}

impl Owned for CStr {
    type Owned = CString;
}

/// What a body can take by reference.
#[diagnostic::on_unimplemented(
    message = "a node cannot take a `&{Self}`",
    label = "no type is known that travels for it",
    note = "`&str`, `&[T]`, `&Path`, `&OsStr`, `&CStr` and references to types that serde can derive travel"
)]
pub trait Lend {
    /// What keeps it.
    type Lent<'a>: Deref<Target = Self>
    where
        Self: 'a;

    #[doc(hidden)]
    fn lend(value: &[u8]) -> Result<Self::Lent<'_>, Fault>;
}

/// A value where it is, or one that had to be made.
#[derive(Debug)]
pub struct Lent<'a, T: ?Sized, O>(Kept<'a, T, O>);

#[derive(Debug)]
enum Kept<'a, T: ?Sized, O> {
    InPlace(&'a T),
    Made(O),
}

impl<'a, T: ?Sized, O> Lent<'a, T, O> {
    fn in_place(value: &'a T) -> Self {
        Self(Kept::InPlace(value))
    }

    fn made(value: O) -> Self {
        Self(Kept::Made(value))
    }
}

impl<T: ?Sized, O: Deref<Target = T>> Deref for Lent<'_, T, O> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.0 {
            Kept::InPlace(value) => value,
            Kept::Made(value) => value,
        }
    }
}

/// A value that was made.
#[derive(Debug)]
pub struct Made<'a, T>(T, PhantomData<&'a ()>);

impl<T> Deref for Made<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

#[diagnostic::do_not_recommend]
impl<T: Value> Lend for T {
    type Lent<'a>
        = Made<'a, T>
    where
        T: 'a;

    fn lend(value: &[u8]) -> Result<Made<'_, T>, Fault> {
        decode(value).map(|value| Made(value, PhantomData))
    }
}

impl<T: Value> Lend for [T] {
    type Lent<'a>
        = Lent<'a, [T], Vec<T>>
    where
        T: 'a;

    fn lend(value: &[u8]) -> Result<Self::Lent<'_>, Fault> {
        let in_place = value.split_last().and_then(|(&tag, bytes)| plain::elements(tag, bytes));
        match in_place {
            Some(all) => Ok(Lent::in_place(all)),
            None => decode(value).map(Lent::made),
        }
    }
}

impl Lend for str {
    type Lent<'a> = Lent<'a, str, String>;

    fn lend(value: &[u8]) -> Result<Self::Lent<'_>, Fault> {
        match value {
            [bytes @ .., tag::TEXT] => plain::text(bytes).map(Lent::in_place),
            other => decode(other).map(Lent::made),
        }
    }
}

impl Lend for Path {
    type Lent<'a> = Lent<'a, Path, PathBuf>;

    fn lend(value: &[u8]) -> Result<Self::Lent<'_>, Fault> {
        match value {
            [bytes @ .., tag::PATH] => Ok(Lent::in_place(Path::new(OsStr::from_bytes(bytes)))),
            other => decode(other).map(Lent::made),
        }
    }
}

impl Lend for OsStr {
    type Lent<'a> = Lent<'a, OsStr, OsString>;

    fn lend(value: &[u8]) -> Result<Self::Lent<'_>, Fault> {
        match value {
            [bytes @ .., tag::PATH] => Ok(Lent::in_place(OsStr::from_bytes(bytes))),
            other => decode(other).map(Lent::made),
        }
    }
}

impl Lend for CStr {
    type Lent<'a> = Lent<'a, CStr, CString>;

    fn lend(value: &[u8]) -> Result<Self::Lent<'_>, Fault> {
        decode(value).map(Lent::made)
    }
}

/// Types whose values can be read where they are, through a [`View`](crate::View): texts,
/// paths, and vectors of numbers.
pub trait Viewable: DeserializeOwned {
    /// What it is read as.
    type Target: ?Sized;

    #[doc(hidden)]
    fn view(value: &[u8]) -> Option<&Self::Target>;
}

macro_rules! viewable {
    ($($number:ty)+) => {$(
        impl Viewable for Vec<$number> {
            type Target = [$number];

            fn view(value: &[u8]) -> Option<&[$number]> {
                let (&tag, bytes) = value.split_last()?;
                plain::elements(tag, bytes)
            }
        }
    )+};
}

viewable!(u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64);

impl Viewable for String {
    type Target = str;

    fn view(value: &[u8]) -> Option<&str> {
        match value {
            [bytes @ .., tag::TEXT] => plain::text(bytes).ok(),
            _ => None,
        }
    }
}

impl Viewable for PathBuf {
    type Target = Path;

    fn view(value: &[u8]) -> Option<&Path> {
        match value {
            [bytes @ .., tag::PATH] => Some(Path::new(OsStr::from_bytes(bytes))),
            _ => None,
        }
    }
}
