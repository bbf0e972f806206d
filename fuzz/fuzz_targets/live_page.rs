//! Any bytes as a page of live counters, shown as `mailring top` shows it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailring_process::live::page_or_not;

#[path = "../../tools/src/live/screen.rs"]
#[allow(dead_code)]
mod screen;
#[path = "../../tools/src/words.rs"]
#[allow(dead_code)]
mod words;

fuzz_target!(|data: &[u8]| {
    if let Some(reading) = page_or_not(data) {
        let lines = screen::draw("page", &reading, 80).join("");
        assert!(!console::strip_ansi_codes(&lines).contains(char::is_control), "{lines:?}");
    }
});
