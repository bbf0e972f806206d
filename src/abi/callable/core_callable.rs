//! A callable of one core: a signature and a binary.

use std::mem::offset_of;
use std::path::Path;

use bytemuck::{Pod, Zeroable};

use super::direction::{RawSignature, Signature};
use super::storage::Storage;
use super::{AbiError, ArgDirection, header};
use crate::limits::CALLABLE_ALIGN;

const WHAT: &str = "core callable";

/// ```text
///  0                  64          68            72              80        128
/// | signature i32x16 | sig_count | binary_size | resolved_addr | zeros.. | binary
/// ```
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct CoreHeader {
    signature: RawSignature,
    sig_count: i32,
    binary_size: u32,
    resolved_addr: u64,
}

const _: () = {
    assert!(size_of::<CoreHeader>() == 80 && align_of::<CoreHeader>() == 8);
    assert!(offset_of!(CoreHeader, signature) == 0);
    assert!(offset_of!(CoreHeader, sig_count) == 64);
    assert!(offset_of!(CoreHeader, binary_size) == 68);
    assert!(offset_of!(CoreHeader, resolved_addr) == 72);
};

/// Where the binary begins.
const PAYLOAD: usize = size_of::<CoreHeader>().next_multiple_of(CALLABLE_ALIGN);
const _: () = assert!(PAYLOAD == 128);

/// A callable of one core, owned.
///
/// ```
/// use mailring::abi::{ArgDirection, CoreCallable};
/// let core = CoreCallable::build(&[ArgDirection::In, ArgDirection::Out], b"code")?;
/// assert_eq!(core.as_bytes().len(), 128 + 4);
/// assert_eq!(core.view().binary(), b"code");
/// # Ok::<(), mailring::abi::AbiError>(())
/// ```
#[derive(Clone)]
pub struct CoreCallable {
    storage: Storage,
    signature: Signature,
}

impl CoreCallable {
    /// A callable with this signature and binary, not yet resolved.
    ///
    /// # Errors
    /// A signature of more than 16 entries; a binary of 4 GiB or more.
    pub fn build(signature: &[ArgDirection], binary: &[u8]) -> Result<Self, AbiError> {
        let signature = Signature::new(WHAT, signature)?;
        let (raw, sig_count) = signature.raw();
        let binary_size = count_bytes(WHAT, binary.len() as u64)?;
        let header = CoreHeader { signature: raw, sig_count, binary_size, resolved_addr: 0 };
        let storage = Storage::of(&[(0, bytemuck::bytes_of(&header)), (PAYLOAD, binary)]);
        Ok(Self { storage, signature })
    }

    /// The same with the binary in a file.
    ///
    /// # Errors
    /// The file cannot be read, or as [`build`](Self::build).
    pub fn from_file(signature: &[ArgDirection], path: impl AsRef<Path>) -> Result<Self, AbiError> {
        Self::build(signature, &read_binary(path.as_ref())?)
    }

    /// All bytes, at a multiple of 64.
    pub fn as_bytes(&self) -> &[u8] {
        self.storage.bytes()
    }

    /// The address of the first byte.
    pub fn as_ptr(&self) -> *const u8 {
        self.as_bytes().as_ptr()
    }

    /// What is in it.
    pub fn view(&self) -> CoreCallableView<'_> {
        let bytes = self.as_bytes();
        CoreCallableView { bytes, signature: self.signature, resolved_addr: 0 }
    }
}

impl std::fmt::Debug for CoreCallable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.view().write(f, "CoreCallable")
    }
}

/// A callable of one core, read in place.
#[derive(Clone, Copy)]
pub struct CoreCallableView<'a> {
    /// Header, gap and binary, and nothing behind it.
    bytes: &'a [u8],
    signature: Signature,
    resolved_addr: u64,
}

impl<'a> CoreCallableView<'a> {
    /// Reads a callable that begins at the first of these bytes, aligned or not. What lies behind
    /// its end is not looked at.
    ///
    /// # Errors
    /// An invalid count or direction, or fewer bytes than the header says.
    pub fn read(bytes: &'a [u8]) -> Result<Self, AbiError> {
        let header: CoreHeader = header(WHAT, bytes)?;
        let signature = Signature::read(WHAT, &header.signature, header.sig_count)?;
        let (need, have) = (len_of(&header) as usize, bytes.len());
        let truncated = AbiError::Truncated { what: WHAT, field: "the binary", need, have };
        let bytes = bytes.get(..need).ok_or(truncated)?;
        Ok(Self { bytes, signature, resolved_addr: header.resolved_addr })
    }

    /// Reads a callable of which only the address is known.
    ///
    /// # Errors
    /// As [`read`](Self::read), or the pointer is null.
    ///
    /// # Safety
    /// If it is not null, a header lies at `ptr`, as many bytes behind it as the header says, and
    /// nobody writes to them for as long as the view or anything taken from it is used.
    pub unsafe fn from_ptr(ptr: *const u8) -> Result<Self, AbiError> {
        if ptr.is_null() {
            return Err(AbiError::Null(WHAT));
        }
        // SAFETY: the header is there, as the caller says.
        let len = unsafe { len_at(ptr) } as usize;
        // SAFETY: so is what it counts; fewer than 2^33 bytes.
        Self::read(unsafe { std::slice::from_raw_parts(ptr, len) })
    }

    /// What it does with its arguments.
    pub fn signature(&self) -> &[ArgDirection] {
        self.signature.entries()
    }

    /// What it does with argument `index`.
    ///
    /// # Errors
    /// The signature has no such entry.
    pub fn direction(&self, index: usize) -> Result<ArgDirection, AbiError> {
        self.signature.entry(index)
    }

    /// The binary.
    pub fn binary(&self) -> &'a [u8] {
        &self.bytes[PAYLOAD..]
    }

    /// Where a runtime has put the binary; 0: nowhere yet.
    pub fn resolved_addr(&self) -> u64 {
        self.resolved_addr
    }

    /// All bytes of it: header, gap and binary.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    fn write(&self, f: &mut std::fmt::Formatter<'_>, name: &str) -> std::fmt::Result {
        f.debug_struct(name)
            .field("signature", &self.signature())
            .field("binary_bytes", &self.binary().len())
            .field("resolved_addr", &self.resolved_addr)
            .finish()
    }
}

impl std::fmt::Debug for CoreCallableView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.write(f, "CoreCallableView")
    }
}

fn len_of(header: &CoreHeader) -> u64 {
    PAYLOAD as u64 + u64::from(header.binary_size)
}

/// Bytes of the callable at `ptr`.
///
/// # Safety
/// A header lies at `ptr`, aligned or not.
pub(super) unsafe fn len_at(ptr: *const u8) -> u64 {
    // SAFETY: the caller's, and any bytes are a header.
    len_of(&unsafe { ptr.cast::<CoreHeader>().read_unaligned() })
}

/// A number of bytes as headers hold it.
pub(super) fn count_bytes(what: &'static str, bytes: u64) -> Result<u32, AbiError> {
    let limit = u64::from(u32::MAX);
    u32::try_from(bytes).map_err(|_| AbiError::TooLarge { what, bytes, limit })
}

/// The bytes of a file that is to become a binary.
pub(super) fn read_binary(path: &Path) -> Result<Vec<u8>, AbiError> {
    let failed = |why: &dyn ToString| AbiError::File {
        path: path.display().to_string().into(),
        why: why.to_string().into(),
    };
    if let Ok(known) = std::fs::metadata(path)
        && known.is_file()
    {
        count_bytes("binary", known.len())?; // says its length and the limit as numbers
    }
    let read = mailring_process::file::read_regular(path, u64::from(u32::MAX));
    let (_, bytes) = read.map_err(|error| failed(&error))?;
    count_bytes("binary", bytes.len() as u64)?;
    Ok(bytes)
}
