//! The checks themselves, on small trees in which something is wrong.

use crate::Package;
use crate::source::Source;

const LIB: (&str, &str) = ("lib.rs", "mod high; mod low;");

const PACKAGE: Package = Package {
    directory: "",
    rules: &[("low", &[]), ("high", &["low"])],
    known_circles: &[],
    extensions: &[],
    known_foreign_impls: &[],
};

fn tree(files: &[(&str, &str)]) -> Source {
    Source::of_text(&[&[LIB], files].concat())
}

/// The only fault, which has to name all of `parts`.
fn assert_one(wrong: &[String], parts: &[&str]) {
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    for part in parts {
        assert!(wrong[0].contains(part), "{} does not name `{part}`", wrong[0]);
    }
}

pub(crate) fn a_circle_is_found() {
    let source = tree(&[
        ("high.rs", ""),
        ("low/mod.rs", "mod a; mod b; mod c; pub use a::A; use c::C;"),
        // Nested braces over several lines, and by the re-export of another.
        (
            "low/a.rs",
            "use std::fmt;\nuse super::{\n    b::{\n        inner::B,\n    },\n};\npub struct A(B);",
        ),
        ("low/b.rs", "pub mod inner { pub struct B(Vec<crate::low::A>); }"),
        ("low/c.rs", "pub struct C;"),
    ]);
    assert!(PACKAGE.arrows_up(&source).is_empty());
    assert_one(
        &PACKAGE.circles(&source),
        &["2 files", "low/a.rs:4 names `super::b::inner::B`", "low/b.rs:1 names `crate::low::A`"],
    );
    // A child uses what its `mod.rs` defines, which uses the child.
    let source = tree(&[
        ("high.rs", ""),
        ("low/mod.rs", "mod a;\npub struct Base;\nfn of(a: a::A) {}"),
        ("low/a.rs", "use super::*;\npub struct A(Base);"),
    ]);
    assert_one(&PACKAGE.circles(&source), &["low/mod.rs:3", "low/a.rs:2 names `Base`"]);
    // The functions of a type in two files are one that no path shows.
    let source = tree(&[
        ("high.rs", ""),
        ("low/mod.rs", "mod a; mod b;"),
        ("low/a.rs", "pub struct A; impl A { fn f(&self) { self.g() } }"),
        ("low/b.rs", "use super::a::A; impl A { pub fn g(&self) { self.f() } }"),
    ]);
    assert!(PACKAGE.circles(&source).is_empty());
    assert_one(&PACKAGE.foreign_impls(&source), &["low/b.rs:1: `impl A`", "low/a.rs"]);
}

pub(crate) fn an_arrow_up_is_found() {
    for use_line in [
        "use crate::high::High;",
        "fn f() { let _ = super::high::High; }",
        "fn f() { use crate::{high::{High as Other}}; }",
        "use crate::high; struct S(high::High);",
        "use super::*; struct S(high::High);",
    ] {
        let source = tree(&[("high.rs", "pub struct High;"), ("low.rs", use_line)]);
        assert_one(&PACKAGE.arrows_up(&source), &["low.rs:1", "high is not for low"]);
    }
    let down = tree(&[("high.rs", "use crate::low::Low;"), ("low.rs", "pub struct Low;")]);
    assert!(PACKAGE.arrows_up(&down).is_empty());
}

pub(crate) fn an_arrow_in_a_macro_is_found() {
    for call in [
        "fn f() { assert!(matches!(x, crate::high::High::One)); }",
        "thread_local! { static S: crate::high::High = const { 1 }; }",
    ] {
        let source = tree(&[("high.rs", "pub enum High { One }"), ("low.rs", call)]);
        assert_one(&PACKAGE.arrows_up(&source), &["low.rs:1", "`crate::high::High"]);
    }
    // After a dot stands a field or a function of a value.
    let source = tree(&[
        ("high.rs", "pub fn first() {}"),
        ("low.rs", "use super::high::*; fn f() { assert!(x.first()); }"),
    ]);
    assert!(PACKAGE.arrows_up(&source).is_empty());
}

pub(crate) fn a_re_export_is_no_circle() {
    let source = tree(&[
        ("high.rs", ""),
        ("low/mod.rs", "mod a; mod b;\npub use a::A;\npub use b::*;\npub const BASE: u32 = 1;"),
        ("low/a.rs", "use super::{B, BASE};\npub struct A([B; BASE]);"),
        ("low/b.rs", "pub struct B;"),
    ]);
    assert!(PACKAGE.circles(&source).is_empty());
}

pub(crate) fn tests_are_left_out() {
    let source = tree(&[
        ("high.rs", "use crate::low::Low;"),
        ("low.rs", "pub struct Low;\n#[cfg(test)]\nmod tests { use crate::high::High; }"),
    ]);
    assert!(PACKAGE.arrows_up(&source).is_empty());
    assert!(PACKAGE.circles(&source).is_empty());
}

pub(crate) fn an_exception_has_to_be_needed() {
    const KNOWN: Package = Package {
        known_circles: &[&["low/a.rs", "low/b.rs"]],
        known_foreign_impls: &[("A", &["low/b.rs"])],
        ..PACKAGE
    };
    let low = ("low/mod.rs", "mod a; mod b; mod c;");
    let with =
        |a, b, c| tree(&[("high.rs", ""), low, ("low/a.rs", a), ("low/b.rs", b), ("low/c.rs", c)]);
    let b = "use super::a::A; pub struct B; impl A {}";
    let source = with("use super::b::B; pub struct A;", b, "");
    assert!(KNOWN.circles(&source).is_empty());
    assert!(KNOWN.foreign_impls(&source).is_empty());
    // A file more in the same circle is no exception.
    let source = with("use super::c::C; pub struct A;", b, "use super::b::B; pub struct C;");
    assert_one(&KNOWN.circles(&source), &["3 files", "low/c.rs:1"]);
    // None of them is left.
    let source = with("pub struct A;", "pub struct B;", "");
    assert_eq!(KNOWN.circles(&source).len(), 2);
    assert_one(&KNOWN.foreign_impls(&source), &["no `impl A` in low/b.rs"]);
}
