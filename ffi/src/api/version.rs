//! Which library this is.

use std::ffi::c_char;

/// Version of this header: major.
pub const MR_VERSION_MAJOR: u32 = 0;
/// Version of this header: minor.
pub const MR_VERSION_MINOR: u32 = 1;
/// Version of this header: patch.
pub const MR_VERSION_PATCH: u32 = 0;
/// The binary interface that this header describes; mr_abi_version() is that of the library.
pub const MR_ABI_VERSION: u32 = 0;

const _: () = {
    const fn number(text: &str) -> u32 {
        match u32::from_str_radix(text, 10) {
            Ok(number) => number,
            Err(_) => u32::MAX,
        }
    }
    assert!(number(env!("CARGO_PKG_VERSION_MAJOR")) == MR_VERSION_MAJOR);
    assert!(number(env!("CARGO_PKG_VERSION_MINOR")) == MR_VERSION_MINOR);
    assert!(number(env!("CARGO_PKG_VERSION_PATCH")) == MR_VERSION_PATCH);
};

/// The version of the library, such as "0.1.0". Never NULL; valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn mr_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// The binary interface of the library. A program whose MR_ABI_VERSION differs must not go on.
#[unsafe(no_mangle)]
pub extern "C" fn mr_abi_version() -> u32 {
    MR_ABI_VERSION
}
