//! The name by which programs find the shared library at run time, whose number changes when a
//! program that was compiled before no longer works; and what the library shows: its functions, not
//! the ends of lists that the linker makes (flows have such a list).

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libmailring.so.0");
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,start-stop-visibility=hidden");
}
