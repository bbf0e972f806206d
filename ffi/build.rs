//! The name by which programs find the shared library at run time. Its number changes when a
//! program that was compiled before no longer works.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libmailring.so.0");
}
