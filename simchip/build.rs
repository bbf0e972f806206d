//! Gives every state of the sources a name, so that a library of another state is not mistaken
//! for this one (`library_path`).

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::{fs, io};

fn main() -> io::Result<()> {
    let mut hasher = DefaultHasher::new();
    // The sources, and those of the byte layouts that they read.
    for directory in ["src", "../src/abi"] {
        println!("cargo::rerun-if-changed={directory}");
        hash(Path::new(directory), &mut hasher)?;
    }
    println!("cargo::rustc-env=SIMCHIP_BUILD={:016x}", hasher.finish());
    Ok(())
}

fn hash(path: &Path, hasher: &mut DefaultHasher) -> io::Result<()> {
    if path.is_dir() {
        let mut entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        return entries.iter().try_for_each(|entry| hash(&entry.path(), hasher));
    }
    path.hash(hasher);
    fs::read(path)?.hash(hasher);
    Ok(())
}
