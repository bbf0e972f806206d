//! `mailring trace` as people and scripts use it: the files that it writes, what it says of bad logs,
//! and its page in a browser.

mod browser;
mod logs;
mod trace_files;
mod trace_page;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().expect("below the folder")).expect("a folder");
        std::fs::write(&path, text).expect("written");
        path
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).expect(name)
    }

    fn trace(&self, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_mailring"))
            .arg("trace")
            .args(words)
            .current_dir(self.path())
            .output()
            .expect("the command starts")
    }

    /// What it wrote to stdout, and that it went well.
    fn well(&self, words: &[&str]) -> String {
        let output = self.trace(words);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", said(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
