//! The names of the library are those of the header, both ways.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use crate::library::{prefix, run, source};

/// The functions that the header declares: `name(` at a declaration that ends with a semicolon.
fn declared() -> BTreeSet<String> {
    let text = fs::read_to_string(source("ffi/include/mailring.h")).unwrap();
    let code: String = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .filter(|line| !line.starts_with('#') && !line.starts_with("extern \"C\""))
        .map(|line| format!("{line}\n"))
        .collect();
    let without = match code.find("*/") {
        Some(at) => &code[at + 2..],
        None => &code,
    };
    let mut found = BTreeSet::new();
    for statement in without.split(';') {
        let Some(open) = statement.find('(') else { continue };
        let before = &statement[..open];
        let name = before.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("");
        let is_inline = statement.contains("static inline") || statement.contains('{');
        if name.starts_with("mr_") && !statement.contains("typedef") && !is_inline {
            found.insert(name.to_owned());
        }
    }
    assert!(found.len() > 50, "the header was not understood: {found:?}");
    found
}

fn exported() -> BTreeSet<String> {
    let mut command = Command::new("nm");
    command.args(["-D", "--defined-only"]).arg(prefix().join("lib/libmailring.so.0"));
    let said = run(&mut command).unwrap();
    // `mr_submit@@MAILRING_0.1`: each bears the version that it came with. The version itself is one.
    let names = said.lines().filter_map(|line| line.split_whitespace().last());
    let names = names.filter(|name| *name != VERSION);
    let plain = names.map(|name| {
        name.strip_suffix(&format!("@@{VERSION}"))
            .unwrap_or_else(|| panic!("{name} has no version"))
    });
    plain.map(str::to_owned).collect()
}

const VERSION: &str = "MAILRING_0.1";

pub(crate) fn same_names() {
    let (declared, exported) = (declared(), exported());
    let missing: Vec<_> = declared.difference(&exported).collect();
    let hidden: Vec<_> = exported.difference(&declared).collect();
    assert!(missing.is_empty(), "declared, not exported: {missing:?}");
    assert!(hidden.is_empty(), "exported, not declared: {hidden:?}");
    let mut command = Command::new("readelf");
    let said = run(command.arg("-dSW").arg(prefix().join("lib/libmailring.so.0"))).unwrap();
    assert!(said.contains("soname: [libmailring.so.0]"), "{said}");
    let left = [".symtab", ".debug_"].iter().find(|&&section| said.contains(section));
    assert_eq!(left, None, "the library is not stripped: {said}");
}

/// Every function that can fail is called with what it must refuse.
pub(crate) fn all_misused() {
    let text = fs::read_to_string(source("tests/ffi/c/misuse.c")).unwrap();
    let cannot = ["mr_version", "mr_abi_version", "mr_status_name"];
    let missing: Vec<_> = declared()
        .into_iter()
        .filter(|name| !cannot.contains(&name.as_str()) && !text.contains(&format!("{name}(")))
        .collect();
    assert!(missing.is_empty(), "not in misuse.c: {missing:?}");
}
