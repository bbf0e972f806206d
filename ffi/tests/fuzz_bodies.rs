//! The bodies of the fuzz targets, on some thousand random inputs: they still fit the interface,
//! and find nothing at once (`MAILRING_INPUTS` says how many). The fuzzer gives them far more.

#[path = "../src/api/mod.rs"]
#[allow(unreachable_pub, dead_code, reason = "all of it is used by C")]
mod api;
#[path = "../fuzz/calls.rs"]
#[allow(unreachable_pub, reason = "public in the fuzz targets")]
mod calls;
#[path = "../fuzz/options.rs"]
#[allow(unreachable_pub, reason = "public in the fuzz targets")]
mod options;

/// Random bytes (SplitMix64) of many lengths.
fn inputs(count: u64) -> impl Iterator<Item = Vec<u8>> {
    let mut state = 1u64;
    let mut next = move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    (0..count).map(move |i| {
        let len = next() % (i / 4 + 2).min(1500);
        // Small numbers mean more than large ones.
        let small = next() % 3 == 0;
        (0..len).map(|_| (next() >> if small { 59 } else { 56 }) as u8).collect()
    })
}

// One test, since handles of another thread's would be found by forging.
#[test]
fn ffi_fuzz_bodies() {
    let asked = std::env::var("MAILRING_INPUTS").ok().and_then(|text| text.parse().ok());
    let count = asked.unwrap_or(20_000);
    inputs(count).for_each(|data| options::options(&data));
    inputs(count).for_each(|data| calls::calls(&data));
}
