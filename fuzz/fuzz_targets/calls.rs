//! Sequences of calls of the C ABI, with handles that live, that do not, and that never did.
#![no_main]

#[path = "../../ffi/src/api/mod.rs"]
#[allow(unreachable_pub, dead_code, reason = "all of it is used by C")]
mod api;
#[path = "../../ffi/fuzz/calls.rs"]
#[allow(unreachable_pub, reason = "public, since tests include it as well")]
mod calls;

libfuzzer_sys::fuzz_target!(|data: &[u8]| calls::calls(data));
