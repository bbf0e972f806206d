//! Circles in a graph of files.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;

use crate::source::Use;

/// Files that use each other, directly or by others, and the shortest way around.
pub(crate) struct Circle {
    pub(crate) files: BTreeSet<String>,
    shortest: Vec<Use>,
}

impl std::fmt::Display for Circle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::new();
        for Use { from, to, line, path } in &self.shortest {
            let _ = write!(text, "\n    {from}:{line} names `{path}`, which {to} defines");
        }
        write!(
            f,
            "a circle among {} files: {:?}\n  its shortest way around:{text}",
            self.files.len(),
            self.files
        )
    }
}

/// Every strongly connected part of more than one file.
pub(crate) fn circles(uses: &[Use]) -> Vec<Circle> {
    let mut next: BTreeMap<&str, Vec<&Use>> = BTreeMap::new();
    for found in uses {
        next.entry(&found.from).or_default().push(found);
    }
    let mut placed: BTreeSet<&str> = BTreeSet::new();
    let mut found = Vec::new();
    for &start in next.keys() {
        if placed.contains(start) {
            continue;
        }
        let reached = reach(&next, start);
        let files: BTreeSet<&str> =
            reached.iter().copied().filter(|file| reach(&next, file).contains(start)).collect();
        if files.is_empty() {
            continue; // in no circle
        }
        let shortest = files
            .iter()
            .filter_map(|file| way_around(&next, file))
            .min_by_key(Vec::len)
            .unwrap_or_default();
        placed.extend(&files);
        found.push(Circle { files: files.into_iter().map(str::to_owned).collect(), shortest });
    }
    found
}

type Next<'a> = BTreeMap<&'a str, Vec<&'a Use>>;

/// What is reached from a file by at least one step.
fn reach<'a>(next: &Next<'a>, start: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open = vec![start];
    while let Some(file) = open.pop() {
        for step in next.get(file).into_iter().flatten() {
            if reached.insert(step.to.as_str()) {
                open.push(&step.to);
            }
        }
    }
    reached
}

/// The shortest way from a file back to it.
fn way_around(next: &Next<'_>, start: &str) -> Option<Vec<Use>> {
    let mut ways: VecDeque<Vec<&Use>> = VecDeque::from([Vec::new()]);
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop_front() {
        let here = way.last().map_or(start, |step| step.to.as_str());
        for step in next.get(here).into_iter().flatten() {
            let mut longer = way.clone();
            longer.push(step);
            if step.to == start {
                return Some(longer.into_iter().cloned().collect());
            }
            if seen.insert(step.to.as_str()) {
                ways.push_back(longer);
            }
        }
    }
    None
}
