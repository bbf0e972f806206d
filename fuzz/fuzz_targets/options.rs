//! Any bytes as the options structure of the C ABI.
#![no_main]

#[path = "../../ffi/src/api/mod.rs"]
#[allow(unreachable_pub, dead_code, reason = "all of it is used by C")]
mod api;
#[path = "../../ffi/fuzz/options.rs"]
#[allow(unreachable_pub, reason = "public, since tests include it as well")]
mod options;

libfuzzer_sys::fuzz_target!(|data: &[u8]| options::options(data));
