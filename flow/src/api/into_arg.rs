//! What can be given as an argument.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::path::{Path, PathBuf};

use super::reference::ObjectRef;
use crate::protocol::arg_writer::ArgWriter;
use crate::protocol::codec::Value;

/// What can be given for a parameter of type `T`: a `T`, a reference to one, or an [`ObjectRef`]
/// of one. For a `String` also `&str`, for a `Vec` a slice or an array, for a `PathBuf` a path or
/// text, for an `OsString` an `&OsStr` or text, for a `CString` a `&CStr`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be given for a parameter of type `{T}`",
    label = "expected a `{T}`, a `&{T}`, or an `ObjectRef<{T}>`"
)]
pub trait IntoArg<T> {
    #[doc(hidden)]
    fn put(self, writer: &mut ArgWriter<'_>);
}

impl<T: Value> IntoArg<T> for T {
    #[inline]
    fn put(self, writer: &mut ArgWriter<'_>) {
        writer.value(&self);
    }
}

impl<T: Value> IntoArg<T> for &T {
    #[inline]
    fn put(self, writer: &mut ArgWriter<'_>) {
        writer.value(self);
    }
}

impl<T> IntoArg<T> for ObjectRef<T> {
    #[inline]
    fn put(self, writer: &mut ArgWriter<'_>) {
        writer.given(self.erase());
    }
}

impl<T> IntoArg<T> for &ObjectRef<T> {
    fn put(self, writer: &mut ArgWriter<'_>) {
        writer.object(self.handle());
    }
}

impl IntoArg<String> for &str {
    fn put(self, writer: &mut ArgWriter<'_>) {
        writer.text(self);
    }
}

impl<T: Value, const N: usize> IntoArg<Vec<T>> for [T; N] {
    fn put(self, writer: &mut ArgWriter<'_>) {
        writer.slice(&self);
    }
}

impl<T: Value, const N: usize> IntoArg<Vec<T>> for &[T; N] {
    fn put(self, writer: &mut ArgWriter<'_>) {
        writer.slice(self);
    }
}

impl<T: Value> IntoArg<Vec<T>> for &[T] {
    fn put(self, writer: &mut ArgWriter<'_>) {
        writer.slice(self);
    }
}

impl IntoArg<PathBuf> for &str {
    fn put(self, writer: &mut ArgWriter<'_>) {
        writer.path(self.as_ref());
    }
}

impl IntoArg<PathBuf> for &Path {
    fn put(self, writer: &mut ArgWriter<'_>) {
        writer.path(self.as_os_str());
    }
}

impl IntoArg<OsString> for &str {
    fn put(self, writer: &mut ArgWriter<'_>) {
        writer.path(self.as_ref());
    }
}

impl IntoArg<OsString> for &OsStr {
    fn put(self, writer: &mut ArgWriter<'_>) {
        writer.path(self);
    }
}

impl IntoArg<CString> for &CStr {
    fn put(self, writer: &mut ArgWriter<'_>) {
        writer.value(&self.to_owned());
    }
}
