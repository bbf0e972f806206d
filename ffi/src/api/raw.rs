//! Pointers of the caller. A function wraps each of them once; from there on they are only read
//! and written through checks for null, in any alignment, and by copy.

use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;
use std::path::PathBuf;

use super::error::Fail;
use super::status::{MR_ERR_NULL, MR_ERR_SIZE};

/// A structure is never larger than this; a `size` beyond it was not initialised.
const LARGEST: usize = 4096;

/// Types of which every bit pattern is a value.
///
/// # Safety
/// That is so.
pub(super) unsafe trait Plain: Copy {}

// SAFETY: integers and pointers.
unsafe impl Plain for u8 {}
// SAFETY: as above.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for i32 {}
// SAFETY: as above.
unsafe impl Plain for u64 {}
// SAFETY: as above.
unsafe impl Plain for usize {}
// SAFETY: as above.
unsafe impl<T> Plain for *const T {}
// SAFETY: as above.
unsafe impl<T> Plain for *mut T {}

/// A constant of an enumeration of C. A caller may give any number, so it is looked at as one.
pub(super) fn number<E: Copy>(given: MaybeUninit<E>) -> u32 {
    const { assert!(size_of::<E>() == 4) };
    // SAFETY: four bytes, which the caller has set: arguments and members are values in C.
    unsafe { given.as_ptr().cast::<u32>().read_unaligned() }
}

/// Structures that begin with their own size, so that fields can be added behind.
///
/// # Safety
/// Integers and pointers in C layout, `usize` first, no padding.
pub(super) unsafe trait Versioned: Copy {
    /// Bytes of its first version.
    const FIRST: usize;
    const NAME: &'static str;
}

pub(super) fn null(what: &str) -> Fail {
    Fail::new(MR_ERR_NULL, format!("{what} is NULL"))
}

/// A value that is read: null, or readable during the call.
#[derive(Clone, Copy)]
pub(super) struct In<T>(*const T);

impl<T: Plain> In<T> {
    /// # Safety
    /// Null, or readable for as long as this is used.
    pub(super) unsafe fn new(pointer: *const T) -> Self {
        Self(pointer)
    }

    pub(super) fn read(self, what: &str) -> Result<T, Fail> {
        self.maybe().ok_or_else(|| null(what))
    }

    pub(super) fn maybe(self) -> Option<T> {
        // SAFETY: readable, by the promise at `new`; any bits are a value; unaligned is fine.
        (!self.0.is_null()).then(|| unsafe { self.0.read_unaligned() })
    }
}

/// Several values that are read.
#[derive(Clone, Copy)]
pub(super) struct Many<T> {
    first: *const T,
    count: usize,
}

impl<T: Plain> Many<T> {
    /// # Safety
    /// Null, or `count` values are readable for as long as this is used.
    pub(super) unsafe fn new(first: *const T, count: usize) -> Self {
        Self { first, count }
    }

    /// Whether they can be read.
    #[inline]
    pub(super) fn check(self, what: &str) -> Result<Self, Fail> {
        if self.first.is_null() && self.count != 0 { Err(null(what)) } else { Ok(self) }
    }

    /// A copy of each, after `check`.
    #[inline]
    pub(super) fn each(self) -> impl Iterator<Item = T> {
        // SAFETY: readable, by the promise at `new`; any bits are a value.
        (0..self.count).map(move |i| unsafe { self.first.add(i).read_unaligned() })
    }

    /// A copy of them. None is a possible number, also at null.
    pub(super) fn read(self, what: &str, most: usize) -> Result<Vec<T>, Fail> {
        if self.count > most {
            let count = self.count;
            return Err(Fail::argument(format!("{count} {what} are too many: at most {most}")));
        }
        Ok(self.check(what)?.each().collect())
    }
}

/// A place for a result. Written only on success.
#[derive(Clone, Copy)]
pub(super) struct Out<T>(*mut T);

impl<T: Copy> Out<T> {
    /// # Safety
    /// Null, or writable for as long as this is used.
    pub(super) unsafe fn new(pointer: *mut T) -> Self {
        Self(pointer)
    }

    /// Refuses null before anything is done.
    pub(super) fn check(self, what: &str) -> Result<Self, Fail> {
        if self.0.is_null() { Err(null(what)) } else { Ok(self) }
    }

    /// Writes, if there is a place.
    pub(super) fn set(self, value: T) {
        if !self.0.is_null() {
            // SAFETY: writable, by the promise at `new`; unaligned is fine.
            unsafe { self.0.write_unaligned(value) };
        }
    }

    pub(super) fn is_wanted(self) -> bool {
        !self.0.is_null()
    }
}

/// Places for several results.
#[derive(Clone, Copy)]
pub(super) struct ManyOut<T> {
    first: *mut T,
    count: usize,
}

impl<T: Copy> ManyOut<T> {
    /// # Safety
    /// Null, or `count` values are writable for as long as this is used.
    pub(super) unsafe fn new(first: *mut T, count: usize) -> Self {
        Self { first, count }
    }

    pub(super) fn room(self) -> usize {
        if self.first.is_null() { 0 } else { self.count }
    }

    /// Writes as many as there is room for.
    pub(super) fn set(self, values: &[T]) {
        for (i, &value) in values.iter().enumerate().take(self.room()) {
            // SAFETY: writable, by the promise at `new`, and `i` is below the count.
            unsafe { self.first.add(i).write_unaligned(value) };
        }
    }
}

/// Text that ends with a zero.
#[derive(Clone, Copy)]
pub(super) struct Text(*const c_char);

impl Text {
    /// # Safety
    /// Null, or text that ends with a zero and stays for as long as this is used.
    pub(super) unsafe fn new(pointer: *const c_char) -> Self {
        Self(pointer)
    }

    pub(super) fn is_null(self) -> bool {
        self.0.is_null()
    }

    fn bytes(self) -> Option<Vec<u8>> {
        // SAFETY: ends with a zero, by the promise at `new`.
        (!self.0.is_null()).then(|| unsafe { CStr::from_ptr(self.0) }.to_bytes().to_vec())
    }

    pub(super) fn maybe(self, what: &str) -> Result<Option<String>, Fail> {
        let text = self.bytes().map(String::from_utf8).transpose();
        text.map_err(|error| Fail::argument(format!("{what} is no UTF-8: {error}")))
    }

    /// A name, if there is one: not empty.
    pub(super) fn name(self, what: &str) -> Result<Option<String>, Fail> {
        match self.maybe(what)? {
            Some(name) if name.is_empty() => {
                Err(Fail::argument(format!("{what} is empty; a name has at least one character")))
            }
            name => Ok(name),
        }
    }

    pub(super) fn read(self, what: &str) -> Result<String, Fail> {
        self.maybe(what)?.ok_or_else(|| null(what))
    }

    pub(super) fn path(self, what: &str) -> Result<PathBuf, Fail> {
        use std::os::unix::ffi::OsStringExt;
        let bytes = self.bytes().ok_or_else(|| null(what))?;
        Ok(std::ffi::OsString::from_vec(bytes).into())
    }
}

/// A structure with its size in front that is read.
#[derive(Clone, Copy)]
pub(super) struct VersionedIn<T>(*const T);

impl<T: Versioned> VersionedIn<T> {
    /// # Safety
    /// Null, or as many bytes as its first member says are readable for as long as this is used.
    pub(super) unsafe fn new(pointer: *const T) -> Self {
        Self(pointer)
    }

    /// What the caller knows of it, over `default`. `None` at null.
    #[inline]
    pub(super) fn read(self, default: T) -> Result<Option<T>, Fail> {
        if self.0.is_null() {
            return Ok(None);
        }
        // SAFETY: at least the first member is readable.
        let size = unsafe { self.0.cast::<usize>().read_unaligned() };
        if size == size_of::<T>() {
            // SAFETY: that many bytes are readable, and any bits are a value (`Versioned`).
            return Ok(Some(unsafe { self.0.read_unaligned() }));
        }
        self.read_other(size, default).map(Some)
    }

    /// That of another version.
    #[cold]
    fn read_other(self, size: usize, default: T) -> Result<T, Fail> {
        check_size::<T>(size)?;
        // SAFETY: `size` bytes are readable, by the promise at `new`.
        let bytes = unsafe { std::slice::from_raw_parts(self.0.cast::<u8>(), size) };
        let known = size.min(size_of::<T>());
        if let Some(at) = bytes[known..].iter().position(|&byte| byte != 0) {
            let (name, at) = (T::NAME, known + at);
            return Err(Fail::new(
                MR_ERR_SIZE,
                format!(
                    "{name} of {size} bytes: byte {at} is set, which version {} of this library \
                     does not know; use a newer library, or leave it zero",
                    env!("CARGO_PKG_VERSION")
                ),
            ));
        }
        let mut value = default;
        // SAFETY: `known` bytes fit both, and any bits are a value (`Versioned`).
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), (&raw mut value).cast::<u8>(), known);
        }
        Ok(value)
    }
}

/// A structure with its size in front that is written.
#[derive(Clone, Copy)]
pub(super) struct VersionedOut<T>(*mut T);

impl<T: Versioned> VersionedOut<T> {
    /// # Safety
    /// Null, or as many bytes as its first member says are writable for as long as this is used.
    pub(super) unsafe fn new(pointer: *mut T) -> Self {
        Self(pointer)
    }

    /// The size that the caller knows.
    pub(super) fn check(self) -> Result<usize, Fail> {
        if self.0.is_null() {
            return Err(null(T::NAME));
        }
        // SAFETY: at least the first member is readable.
        let size = unsafe { self.0.cast::<usize>().read_unaligned() };
        check_size::<T>(size)?;
        Ok(size)
    }

    /// Writes what fits into `size` bytes, zeros behind, and leaves the size as the caller set it.
    pub(super) fn write(self, size: usize, value: T) {
        let head = size_of::<usize>();
        let known = size.min(size_of::<T>());
        // SAFETY: `size` bytes are writable, by the promise at `new` and by `check`.
        unsafe {
            let to = self.0.cast::<u8>();
            let from = (&raw const value).cast::<u8>();
            std::ptr::copy_nonoverlapping(from.add(head), to.add(head), known - head);
            to.add(known).write_bytes(0, size - known);
        }
    }
}

fn check_size<T: Versioned>(size: usize) -> Result<(), Fail> {
    if (T::FIRST..=LARGEST).contains(&size) {
        return Ok(());
    }
    let (name, first) = (T::NAME, T::FIRST);
    let why = format!(
        "{name} has size {size}; set its size to sizeof({name}) first (at least {first}, at most \
         {LARGEST})"
    );
    Err(Fail::new(MR_ERR_SIZE, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Now {
        size: usize,
        old: u64,
        new: u64,
    }

    // SAFETY: integers, size first.
    unsafe impl Versioned for Now {
        const FIRST: usize = 16;
        const NAME: &'static str = "now";
    }

    const DEFAULT: Now = Now { size: 24, old: 5, new: 7 };

    fn read(words: &[u64]) -> Result<Now, mr_status> {
        // SAFETY: the words are there for as long as the first one says, in every call below.
        let given = unsafe { VersionedIn::<Now>::new(words.as_ptr().cast()) };
        given.read(DEFAULT).map(|now| now.unwrap()).map_err(|fail| fail.status)
    }

    use super::super::status::mr_status;

    #[test]
    fn an_older_caller_gets_defaults() {
        assert_eq!(read(&[16, 9]), Ok(Now { size: 16, old: 9, new: 7 }));
        assert_eq!(read(&[24, 9, 8]), Ok(Now { size: 24, old: 9, new: 8 }));
    }

    #[test]
    fn a_newer_caller_is_understood_as_far_as_it_asks_for_what_is_known() {
        assert_eq!(read(&[40, 9, 8, 0, 0]), Ok(Now { size: 40, old: 9, new: 8 }));
        assert_eq!(read(&[40, 9, 8, 0, 1 << 56]), Err(MR_ERR_SIZE));
    }

    #[test]
    fn sizes_that_cannot_be() {
        for size in [0, 8, 15, LARGEST as u64 + 1, u64::MAX] {
            assert_eq!(read(&[size, 9, 8]), Err(MR_ERR_SIZE));
        }
    }

    #[test]
    fn results_are_cut_to_what_the_caller_knows() {
        let write = |words: &mut [u64]| {
            // SAFETY: as in `read`.
            let out = unsafe { VersionedOut::<Now>::new(words.as_mut_ptr().cast()) };
            out.check().map(|size| out.write(size, DEFAULT)).map_err(|fail| fail.status)
        };
        let mut old = [16, 1, 1];
        assert_eq!((write(&mut old), old), (Ok(()), [16, 5, 1]));
        let mut new = [32, 1, 1, 1, 1];
        assert_eq!((write(&mut new), new), (Ok(()), [32, 5, 7, 0, 1]));
        let mut bad = [8, 1, 1];
        assert_eq!((write(&mut bad), bad), (Err(MR_ERR_SIZE), [8, 1, 1]));
    }
}
