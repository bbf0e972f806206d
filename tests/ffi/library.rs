//! The library as a user has it: built by `ffi/install.sh` and installed in a place of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where cargo puts what it builds.
fn target() -> PathBuf {
    // Cargo's directory for the files of tests lies directly in it.
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a parent").to_owned()
}

pub(crate) fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// What `install.sh` was given.
pub(crate) fn prefix() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("ffi-prefix")
}

/// A script of `ffi/`, with the target directory of the library. It is not optimised like that of
/// users, which CI builds with `ffi/examples/run.sh`: tests would wait longer for the build than for
/// the programs.
pub(crate) fn script(name: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg(source(name)).env("CARGO_TARGET_DIR", target().join("ffi"));
    command.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0").env("CARGO_PROFILE_RELEASE_DEBUG", "0");
    command
}

/// Builds the library (a nested cargo, in a target directory that the outer one does not hold) and
/// installs it.
pub(crate) fn build() -> Result<(), String> {
    let mut install = script("ffi/install.sh");
    run(install.arg(prefix()).current_dir("/")).map(drop)
}

/// Runs a command to its end; its output, or what it complained of.
pub(crate) fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stdout);
    if output.status.success() {
        return Ok(said);
    }
    Err(format!("{command:?}: {}\n{said}{}", output.status, text(&output.stderr)))
}
