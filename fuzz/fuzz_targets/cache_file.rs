//! Any bytes as a file of the cache of flows.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailring::flow::__private::entry_or_not;

fuzz_target!(|data: &[u8]| entry_or_not(data));
