//! `include/mailring.h` is made from `src/api`, and says what those sources say.

use std::fs;
use std::path::{Path, PathBuf};

/// The order of the header.
const FILES: [&str; 16] = [
    "version",
    "status",
    "error",
    "values",
    "options",
    "builder",
    "executor",
    "buffers",
    "args",
    "runs",
    "submit",
    "pending",
    "recordings",
    "blob",
    "chips",
    "log",
];
/// Files without anything of C.
const INSIDE: [&str; 3] = ["mod", "handles", "raw"];

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn generated() -> String {
    let config = cbindgen::Config::from_file(here("cbindgen.toml")).expect("cbindgen.toml");
    let mut builder = cbindgen::Builder::new().with_config(config);
    for file in FILES {
        builder = builder.with_src(here(&format!("src/api/{file}.rs")));
    }
    let mut text = Vec::new();
    builder.generate().expect("the sources can be read").write(&mut text);
    String::from_utf8(text).expect("the header is text")
}

#[test]
fn ffi_header_is_that_of_the_sources() {
    let path = here("include/mailring.h");
    let now = generated();
    if std::env::var_os("MAILRING_RENEW").is_some() {
        fs::write(&path, &now).expect("the header can be written");
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    let differs = committed.lines().zip(now.lines()).position(|(old, new)| old != new);
    assert!(
        committed == now,
        "include/mailring.h is stale (line {}); renew it with\n    \
         MAILRING_RENEW=1 cargo test -p mailring-ffi --test header",
        differs.unwrap_or(committed.lines().count().min(now.lines().count())) + 1
    );
}

#[test]
fn ffi_header_is_made_from_every_file() {
    let entries = fs::read_dir(here("src/api")).unwrap().flatten();
    let mut found: Vec<String> = entries
        .map(|entry| entry.path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    found.sort();
    let mut known: Vec<&str> = FILES.iter().chain(&INSIDE).copied().collect();
    known.sort_unstable();
    assert_eq!(found, known);
}
