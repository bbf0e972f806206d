//! The layers of the crate, and which of them may use which. Read from the source, since a compiler
//! allows every direction inside one crate.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

testkit::tests! {
    "layout" in crate {
        layers_use_only_what_they_may, every_layer_has_a_rule, only_the_front_knows_the_executor,
        the_lock_free_layers_use_the_facade,
    }
}

/// Which modules of the crate a layer may name. A layer may always name itself.
const RULES: &[(&str, &[&str])] = &[
    ("limits", &[]),
    ("sync", &[]),
    ("sys", &[]),
    ("ids", &[]),
    ("abi", &["limits", "sys"]),
    ("ring", &["sync", "limits"]),
    ("mailbox", &["sync", "abi", "ids", "limits"]),
    ("graph", &["ring", "abi", "limits"]),
    ("segment", &["ring", "mailbox", "sys", "ids", "limits"]),
    ("error", &["abi", "ids", "limits", "ring", "sys"]),
    // `chip` for one thing: the number that a host runtime returned, in `functions.rs`. It is a
    // circle, to be undone with the next change of layers.
    (
        "worker",
        &["abi", "chip", "error", "ids", "limits", "mailbox", "ring", "segment", "sync", "sys"],
    ),
    ("chip", &["abi", "ids", "limits", "sys", "worker"]),
    // Flows use the engine's processes, parkers and system calls, and no ring.
    ("flow", &["limits", "mailbox", "sys", "worker"]),
    (
        "executor",
        &[
            "abi", "chip", "error", "graph", "ids", "limits", "mailbox", "ring", "segment", "sync",
            "sys", "worker",
        ],
    ),
    // On top of the executor: what it submits is what anybody submits, checked more closely.
    ("typed", &["abi", "error", "executor", "ids", "limits", "ring", "worker"]),
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut open = vec![source()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(source()).unwrap().to_owned(), text));
            }
        }
    }
    assert!(found.len() > 20, "the source was not found");
    found
}

fn layer_of(path: &Path) -> String {
    let first = path.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// Modules named as `crate::x` anywhere outside comments. Names of the front page (types, by their
/// first character) count as `front`.
fn named(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in text.lines().map(str::trim_start).filter(|line| !line.starts_with("//")) {
        for (at, _) in line.match_indices("crate::") {
            let rest = &line[at + "crate::".len()..];
            let name: String =
                rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let is_type = name.chars().next().is_none_or(char::is_uppercase);
            found.insert(if is_type { "front".to_owned() } else { name });
        }
    }
    found
}

fn layers_use_only_what_they_may() {
    let rules: BTreeMap<_, _> = RULES.iter().copied().collect();
    for (path, text) in files() {
        let layer = layer_of(&path);
        let Some(allowed) = rules.get(layer.as_str()) else { continue };
        for name in named(&text) {
            // The executor is the front; others go to the layers themselves.
            let may = name == layer
                || allowed.contains(&name.as_str())
                || (name == "front" && matches!(layer.as_str(), "executor" | "error"));
            assert!(may, "{}: `crate::{name}` is not for {layer}", path.display());
        }
    }
}

fn every_layer_has_a_rule() {
    let rules: BTreeSet<_> = RULES.iter().map(|rule| rule.0.to_owned()).collect();
    let layers: BTreeSet<_> = files().iter().map(|(path, _)| layer_of(path)).collect();
    let unknown: Vec<_> = layers.difference(&rules).filter(|layer| *layer != "lib").collect();
    assert!(unknown.is_empty(), "say in RULES what {unknown:?} may use");
}

fn only_the_front_knows_the_executor() {
    for (path, text) in files() {
        if !matches!(layer_of(&path).as_str(), "executor" | "typed" | "lib") {
            assert!(!named(&text).contains("executor"), "{}", path.display());
        }
    }
}

/// What is model-checked gets its atomics from the facade alone.
fn the_lock_free_layers_use_the_facade() {
    for (path, text) in files() {
        if matches!(layer_of(&path).as_str(), "ring" | "mailbox") {
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            for line in code {
                // A fence for the compiler alone is nothing that a checker could see.
                let outside =
                    line.contains("std::sync::atomic") && !line.contains("compiler_fence");
                assert!(!outside, "{}: {line}", path.display());
            }
        }
    }
}
