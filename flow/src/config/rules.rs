//! What the file says of functions, checked: every function exists, every pattern is one, and every
//! entry can do something.

use std::path::{Path, PathBuf};

use regex::Regex;

use super::tree::{At, Is, Key, Node, Wrong};
use crate::protocol::node::{Kind, NODES, NodeDesc};

/// What the file says, by section.
#[derive(Debug, Default)]
pub(super) struct Rules {
    pub(super) cache: Vec<(Name, CacheRule)>,
    pub(super) bypass: Vec<(Name, BypassRule)>,
}

/// The name of a function, full or the last parts of it, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Name {
    pub(super) text: String,
    pub(super) at: At,
}

/// What is said of one function. `None`: nothing.
#[derive(Debug, Default)]
pub(super) struct CacheRule {
    pub(super) cache: Option<bool>,
    pub(super) tags: Option<Patterns>,
    pub(super) serve: Option<bool>,
    pub(super) version: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct BypassRule {
    pub(super) bypass: Option<bool>,
    pub(super) tags: Option<Patterns>,
    pub(super) data: Option<PathBuf>,
}

/// Which tags are meant: those that one of the patterns matches as a whole. No pattern, no tag.
#[derive(Clone, Debug)]
pub(super) struct Patterns(Vec<Regex>);

impl Patterns {
    pub(super) fn match_tag(&self, tag: Option<&str>) -> bool {
        tag.is_some_and(|tag| self.0.iter().any(|pattern| pattern.is_match(tag)))
    }
}

/// Whether a name of the file means this node: its full name, or the last parts of it.
pub(super) fn names(name: &str, node: &NodeDesc) -> bool {
    node.name == name || node.name.strip_suffix(name).is_some_and(|front| front.ends_with("::"))
}

/// Every node that may be configured.
pub(super) fn nodes() -> impl Iterator<Item = &'static NodeDesc> {
    let own = |node: &&NodeDesc| node.kind == Kind::Node && !node.name.starts_with("mailring::");
    NODES.static_slice().iter().filter(own)
}

/// Reads the file; paths in it are relative to `base`.
pub(super) fn read(text: &str, base: &Path) -> Result<Rules, Wrong> {
    let mut rules = Rules::default();
    let Some(root) = Node::parse(text)? else { return Ok(rules) };
    let expected = "the sections `cache` and `bypass`";
    for (section, content) in root.map("the file", expected)? {
        let named = "a map of functions, such as `build: true`";
        let entries = content.map(&format!("`{}`", section.text), named);
        match section.text.as_str() {
            "cache" => {
                for (key, entry) in entries? {
                    let name = function(key)?;
                    rules.cache.push((name, cache_rule(&key.text, entry)?));
                }
            }
            "bypass" => {
                for (key, entry) in entries? {
                    let name = function(key)?;
                    rules.bypass.push((name, bypass_rule(&key.text, entry, base)?));
                }
            }
            other => {
                return section
                    .at
                    .wrong(format!("there is no section `{other}`; expected {expected}"));
            }
        }
    }
    Ok(rules)
}

/// The functions that the key names exist.
fn function(key: &Key) -> Result<Name, Wrong> {
    let name = &key.text;
    if nodes().any(|node| names(name, node)) {
        return Ok(Name { text: name.clone(), at: key.at });
    }
    let last = name.rsplit([':', '.']).next().unwrap_or(name);
    let mut like: Vec<&str> = nodes()
        .map(|node| node.name)
        .filter(|node| node.rsplit(':').next() == Some(last))
        .collect();
    like.sort_unstable();
    like.dedup();
    let hint = match like.first() {
        Some(one) => format!("; did you mean `{one}`?"),
        None => "; expected the name of a function with #[node], full or its last parts".to_owned(),
    };
    key.at.wrong(format!("no node is called `{name}`{hint}"))
}

fn cache_rule(of: &str, entry: &Node) -> Result<CacheRule, Wrong> {
    let mut rule = CacheRule::default();
    for (key, value) in settings(of, entry, "cache, tags, serve, version")? {
        match key.text.as_str() {
            "cache" => rule.cache = Some(value.bool("cache")?),
            "tags" => rule.tags = Some(patterns(value)?),
            "serve" => rule.serve = Some(value.bool("serve")?),
            "version" => {
                rule.version = Some(value.text("version", "a text or a number")?.to_owned());
            }
            other => return unknown(key, other, "cache, tags, serve, version"),
        }
    }
    if let Some(short) = entry.as_bool() {
        rule.cache = Some(short);
    } else if rule.serve == Some(true) && rule.cache.is_none() {
        rule.cache = Some(true); // what is served is stored
    }
    Ok(rule)
}

fn bypass_rule(of: &str, entry: &Node, base: &Path) -> Result<BypassRule, Wrong> {
    let mut rule = BypassRule::default();
    for (key, value) in settings(of, entry, "bypass, tags, data")? {
        match key.text.as_str() {
            "bypass" => rule.bypass = Some(value.bool("bypass")?),
            "tags" => rule.tags = Some(patterns(value)?),
            "data" => {
                let path = base.join(value.text("data", "the path of a file")?);
                if let Err(error) = std::fs::metadata(&path) {
                    return value.at.wrong(format!("the data file {}: {error}", path.display()));
                }
                rule.data = Some(path);
            }
            other => return unknown(key, other, "bypass, tags, data"),
        }
    }
    if let Some(short) = entry.as_bool() {
        rule.bypass = Some(short);
    }
    Ok(rule)
}

/// The settings of an entry; none for `true` or `false`.
fn settings<'n>(of: &str, entry: &'n Node, known: &str) -> Result<&'n [(Key, Node)], Wrong> {
    match &entry.is {
        Is::Map(settings) if !settings.is_empty() => Ok(settings),
        _ if entry.as_bool().is_some() => Ok(&[]),
        _ => entry.at.wrong(format!(
            "`{of}` is {entry}; expected true, false, or a map of settings ({known})"
        )),
    }
}

fn unknown<T>(key: &Key, name: &str, known: &str) -> Result<T, Wrong> {
    key.at.wrong(format!("there is no setting `{name}`; expected one of {known}"))
}

/// One pattern, or a list of them.
fn patterns(node: &Node) -> Result<Patterns, Wrong> {
    let expected = "a regular expression, or a list of them";
    let list = match &node.is {
        Is::List(list) => list.as_slice(),
        _ => std::slice::from_ref(node),
    };
    let compile = |one: &Node| {
        let pattern = one.text("tags", expected)?;
        let whole = format!(r"\A(?:{pattern})\z");
        // Compiled alone first: an error shows what stands in the file.
        Regex::new(pattern).and_then(|_| Regex::new(&whole)).or_else(|error| {
            let why = error.to_string();
            let last = why.trim().lines().last().unwrap_or_default().trim_start_matches("error: ");
            one.at.wrong(format!("invalid regular expression `{pattern}`: {last}"))
        })
    };
    list.iter().map(compile).collect::<Result<_, _>>().map(Patterns)
}
