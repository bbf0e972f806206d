//! Compiles what is in C: the kernels of `mailring attention`, a shared object for each source file,
//! to be embedded in the command, and the loops of `mailring bench`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    // Asked for now: this program may be older than the place where the sources lie.
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    loops(&here);
    let simchip = here.join("../simchip");
    let (kernels, include) = (simchip.join("kernels"), simchip.join("include"));
    println!("cargo::rerun-if-changed={}", kernels.display());
    println!("cargo::rerun-if-changed={}", include.display());
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    // Kernels are what is demonstrated, so they are fast in every profile.
    let mut build = cc::Build::new();
    build.include(&include).opt_level(3).debug(false).pic(true).std("c11").warnings(true);
    let compiler = build.get_compiler();
    let mut sources: Vec<PathBuf> = fs::read_dir(&kernels)
        .unwrap_or_else(|error| panic!("{}: {error}", kernels.display()))
        .map(|entry| entry.expect("a directory entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "c"))
        .collect();
    sources.sort();
    for source in sources {
        let name = source.file_stem().expect("it has an extension, so also a stem");
        let object = out.join(name).with_extension("so");
        let mut command: Command = compiler.to_command();
        command.args(["-shared", "-s", "-o"]).arg(&object).arg(&source).arg("-lm");
        match command.status() {
            Ok(status) if status.success() => {}
            Ok(status) => panic!("{command:?}: {status}"),
            Err(error) => panic!(
                "{command:?}: {error}; the kernels need a C compiler (`CC` names another one)"
            ),
        }
    }
}

/// The loops of the bench, optimised in every profile like the kernels.
fn loops(here: &Path) {
    let (source, include) =
        (here.join("src/bench/sections/c/loops.c"), here.join("../ffi/include"));
    println!("cargo::rerun-if-changed={}", source.display());
    println!("cargo::rerun-if-changed={}", include.display());
    let mut build = cc::Build::new();
    build.file(&source).include(&include).opt_level(2).std("gnu11").warnings(true);
    build.compile("mailring_bench_loops");
}
