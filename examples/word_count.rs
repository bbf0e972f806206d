//! Word statistics over the sources of this crate's own dependencies: a map over chunks of files
//! and a tree of reductions, chained by refs; then the same functions once more, called here.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;
use std::{env, fs, io};

use mailring::flow::{Flow, ObjectRef, Resources, gather, node};

/// Bytes, and how often each word occurs.
type Counts = (u64, HashMap<String, u64>);

#[node]
fn count(files: &[PathBuf]) -> io::Result<Counts> {
    let mut counts = Counts::default();
    for file in files {
        let bytes = fs::read(file)?;
        counts.0 += bytes.len() as u64;
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        for word in text.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()) {
            match counts.1.get_mut(word) {
                Some(times) => *times += 1,
                None => drop(counts.1.insert(word.to_owned(), 1)),
            }
        }
    }
    Ok(counts)
}

#[node]
fn merge(parts: Vec<Counts>) -> Counts {
    let mut parts = parts.into_iter();
    let mut sum = parts.next().unwrap_or_default();
    for (bytes, words) in parts {
        sum.0 += bytes;
        words.into_iter().for_each(|(word, times)| *sum.1.entry(word).or_default() += times);
    }
    sum
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cpus = std::thread::available_parallelism()?.get();
    let flow = Flow::builder().workers("cpu", cpus, Resources::cpus(1.0)).build()?;
    let files = sources()?;
    for file in &files {
        fs::read(file)?; // so that neither of the two below waits for the disk
    }

    let start = Instant::now();
    let chunks = files.chunks(files.len().div_ceil(8 * cpus).max(1));
    let mut refs: Vec<ObjectRef<Counts>> =
        chunks.map(|chunk| count::remote(&flow, chunk)).collect::<Result<_, _>>()?;
    while refs.len() > 1 {
        let merged = refs.chunks(4).map(|some| merge::remote(&flow, gather(&flow, some)?));
        refs = merged.collect::<Result<_, _>>()?;
    }
    let there = refs.first().ok_or("the dependencies have no text files")?.get()?;
    let remote = start.elapsed();

    let start = Instant::now();
    let here = count(&files)?;
    let sequential = start.elapsed();
    assert_eq!(there, here, "the flow and the plain call count alike");

    let mut words: Vec<_> = here.1.iter().collect();
    words.sort_by_key(|&(word, times)| (std::cmp::Reverse(times), word));
    words.iter().take(10).for_each(|(word, times)| println!("{times:>9}  {word}"));
    let all: u64 = here.1.values().sum();
    println!("{} files, {} bytes, {all} words, {} different", files.len(), here.0, words.len());
    println!("on {cpus} workers {remote:.2?}, sequentially {sequential:.2?}");
    Ok(())
}

/// The text files of the crates that `Cargo.lock` names, as far as cargo has unpacked them.
fn sources() -> Result<Vec<PathBuf>, Box<dyn std::error::Error>> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(Path::new(&env::var_os("HOME")?).join(".cargo")));
    let registries = home.ok_or("neither CARGO_HOME nor HOME is set")?.join("registry/src");
    let packages = include_str!("../Cargo.lock").split("[[package]]");
    let names = packages.filter_map(|package| {
        let mut parts = package.split('"'); // name = "..", version = ".."
        Some(format!("{}-{}", parts.nth(1)?, parts.nth(1)?))
    });
    let names: Vec<String> = names.collect();
    let mut open = Vec::new();
    for registry in fs::read_dir(&registries).map_err(|e| format!("{registries:?}: {e}"))? {
        let registry = registry?.path();
        open.extend(names.iter().map(|name| registry.join(name)).filter(|path| path.is_dir()));
    }
    let mut files = Vec::new();
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory)? {
            let (path, kind) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))?;
            let end = path.extension().and_then(|end| end.to_str());
            match end {
                _ if kind.is_dir() => open.push(path),
                Some("rs" | "md" | "txt") if kind.is_file() => files.push(path),
                _ => {}
            }
        }
    }
    Ok(files)
}
