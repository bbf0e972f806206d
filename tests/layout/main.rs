//! The rooms of each package, which of them may use which, and that no files use each other in a
//! circle. Read from the source, since a compiler allows every direction inside one crate.

mod circles;
mod planted;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use circles::circles;
use source::{Source, room};

testkit::tests! {
    "layout" in crate {
        rooms_use_only_what_they_may, every_room_has_a_rule, rules_have_no_circle,
        no_files_use_each_other_in_a_circle, types_have_their_functions_with_them,
        the_lock_free_rooms_use_the_facade,
    }
    "layout" in planted {
        a_circle_is_found, an_arrow_up_is_found, an_arrow_in_a_macro_is_found,
        a_re_export_is_no_circle, tests_are_left_out, an_exception_has_to_be_needed,
    }
}

/// A package, and what holds in it.
struct Package {
    /// Its directory, below that of the workspace.
    directory: &'static str,
    /// Which rooms a room may use; itself always, and `lib.rs` may use all. Empty: it is one room.
    rules: &'static [(&'static str, &'static [&'static str])],
    /// Files that still use each other in a circle. No file may be added.
    known_circles: &'static [&'static [&'static str]],
    /// Types with functions that a file above theirs adds, for callers above it, and those files: an
    /// options type does not know each thing that it can build.
    extensions: &'static [(&'static str, &'static [&'static str])],
    /// Other types with `impl` blocks outside of their file, and the files. None may be added.
    known_foreign_impls: &'static [(&'static str, &'static [&'static str])],
}

const PACKAGES: &[Package] = &[
    Package {
        directory: "",
        rules: &[
            ("limits", &[]),
            ("ids", &[]),
            ("abi", &["limits"]),
            ("ring", &["limits"]),
            ("mailbox", &["abi", "ids", "limits"]),
            ("graph", &["ring", "abi", "limits"]),
            ("segment", &["ring", "mailbox", "ids", "limits"]),
            ("error", &["abi", "ids", "limits", "ring"]),
            ("worker", &["abi", "error", "ids", "limits", "mailbox", "ring", "segment"]),
            ("chip", &["abi", "ids", "limits", "worker"]),
            (
                "executor",
                &[
                    "abi", "chip", "error", "graph", "ids", "limits", "mailbox", "ring", "segment",
                    "worker",
                ],
            ),
            // On top of the executor: what it submits is what anybody submits, checked more closely.
            ("typed", &["abi", "error", "executor", "ids", "limits", "ring", "worker"]),
        ],
        known_circles: &[],
        extensions: &[
            ("Executor", &["executor/builder.rs"]),
            ("Builder", &["executor/chips.rs", "executor/level.rs", "typed/spawn.rs"]),
            ("Orchestrator", &["executor/replay.rs", "typed/spawn.rs"]),
            ("Recording", &["executor/bindings.rs"]),
            ("Bindings", &["typed/spawn.rs"]),
            ("Buffer", &["typed/view.rs"]),
        ],
        known_foreign_impls: &[],
    },
    Package {
        directory: "crates/process",
        rules: &[],
        known_circles: &[],
        extensions: &[],
        known_foreign_impls: &[],
    },
    Package {
        directory: "simchip",
        rules: &[],
        known_circles: &[],
        extensions: &[],
        known_foreign_impls: &[],
    },
    Package {
        directory: "testkit",
        rules: &[],
        known_circles: &[],
        extensions: &[],
        known_foreign_impls: &[],
    },
    Package {
        directory: "flow",
        rules: &[
            ("limits", &[]),
            ("protocol", &[]),
            ("profile", &["protocol"]),
            ("cache", &["protocol"]),
            ("config", &["cache", "protocol"]),
            // Conditions are asked in the process that calls.
            ("worker", &["cache", "config", "profile", "protocol"]),
            // It starts workers, as processes or as threads.
            ("driver", &["cache", "config", "limits", "profile", "protocol", "worker"]),
            ("api", &["cache", "config", "driver", "limits", "profile", "protocol", "worker"]),
        ],
        known_circles: &[],
        extensions: &[("Config", &["api/provide.rs"])],
        known_foreign_impls: &[],
    },
];

impl Package {
    fn root(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(self.directory)
    }

    /// What is wrong between rooms.
    fn arrows_up(&self, source: &Source) -> Vec<String> {
        let rules: BTreeMap<_, _> = self.rules.iter().copied().collect();
        let mut wrong = Vec::new();
        for found in &source.uses {
            let (from, to) = (room(&found.from), room(&found.to));
            let Some(allowed) = rules.get(from) else { continue };
            if from != to && !allowed.contains(&to) {
                wrong.push(format!(
                    "{}:{} names `{}`: {to} is not for {from}",
                    found.from, found.line, found.path
                ));
            }
        }
        wrong
    }

    /// What is wrong between files.
    fn circles(&self, source: &Source) -> Vec<String> {
        let found = circles(&source.uses);
        let is_known = |files: &BTreeSet<String>, known: &[&str]| {
            files.iter().all(|file| known.contains(&file.as_str()))
        };
        let mut wrong: Vec<_> = found
            .iter()
            .filter(|circle| !self.known_circles.iter().any(|known| is_known(&circle.files, known)))
            .map(ToString::to_string)
            .collect();
        for file in self.known_circles.iter().copied().flatten() {
            if !found.iter().any(|circle| circle.files.contains(*file)) {
                wrong.push(format!("{file} is in no circle any more: strike it from the list"));
            }
        }
        wrong
    }

    /// `impl` blocks that do not stand with their type.
    fn foreign_impls(&self, source: &Source) -> Vec<String> {
        let listed = || self.extensions.iter().chain(self.known_foreign_impls);
        let known = |name: &str, file: &str| {
            listed().any(|(known, files)| *known == name && files.contains(&file))
        };
        let mut wrong = Vec::new();
        for found in &source.foreign_impls {
            if !known(&found.name, &found.file) {
                wrong.push(format!(
                    "{}:{}: `impl {}`, which {} defines",
                    found.file, found.line, found.name, found.home
                ));
            }
        }
        for (name, files) in listed() {
            for file in *files {
                if !source.foreign_impls.iter().any(|it| it.name == *name && it.file == *file) {
                    wrong.push(format!("no `impl {name}` in {file} any more: strike it"));
                }
            }
        }
        wrong
    }
}

fn assert_none(package: &Package, wrong: &[String]) {
    let package = if package.directory.is_empty() { "mailring" } else { package.directory };
    assert!(wrong.is_empty(), "in {package}:\n{}", wrong.join("\n"));
}

fn rooms_use_only_what_they_may() {
    for package in PACKAGES {
        assert_none(package, &package.arrows_up(&Source::of_package(&package.root())));
    }
}

fn every_room_has_a_rule() {
    for package in PACKAGES.iter().filter(|package| !package.rules.is_empty()) {
        let rules: BTreeSet<_> = package.rules.iter().map(|rule| rule.0).collect();
        let source = Source::of_package(&package.root());
        let rooms: BTreeSet<_> = source.files.keys().map(|file| room(file)).collect();
        let unknown: Vec<_> = rooms.difference(&rules).filter(|room| **room != "lib").collect();
        assert!(unknown.is_empty(), "say in the rules what {unknown:?} may use");
        let gone: Vec<_> = rules.difference(&rooms).collect();
        assert!(gone.is_empty(), "rules for {gone:?}, which do not exist");
    }
}

/// A room is listed after all that it may use.
fn rules_have_no_circle() {
    for package in PACKAGES {
        let mut above = BTreeSet::new();
        for (room, allowed) in package.rules {
            let later: Vec<_> = allowed.iter().filter(|room| !above.contains(*room)).collect();
            assert!(later.is_empty(), "{room} may use {later:?}, which are listed after it");
            above.insert(room);
        }
    }
}

fn no_files_use_each_other_in_a_circle() {
    for package in PACKAGES {
        assert_none(package, &package.circles(&Source::of_package(&package.root())));
    }
}

/// Functions of a type in another file would be a circle that no path shows.
fn types_have_their_functions_with_them() {
    for package in PACKAGES {
        assert_none(package, &package.foreign_impls(&Source::of_package(&package.root())));
    }
}

/// What is model-checked gets its atomics from the facade alone.
fn the_lock_free_rooms_use_the_facade() {
    for (file, text) in Source::of_package(&PACKAGES[0].root()).files {
        if matches!(room(&file), "ring" | "mailbox") {
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            for line in code {
                // A fence for the compiler alone is nothing that a checker could see.
                let outside =
                    line.contains("std::sync::atomic") && !line.contains("compiler_fence");
                assert!(!outside, "{file}: {line}");
            }
        }
    }
}
