//! A configuration that is in force: what it says of each function, worked out once. It never
//! changes; another one takes its place.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::call::{Bypassed, Condition, FILE};
use super::rules::{self, BypassRule, CacheRule, Name, Patterns, Rules, names};
use super::tree::Wrong;
use crate::cache::store::Cache;
use crate::protocol::error::Error;
use crate::protocol::node::{NODES, NodeDesc, number_of};

/// A file, read and checked.
#[derive(Debug, Default)]
pub(crate) struct File {
    /// For messages.
    name: String,
    rules: Rules,
}

impl File {
    pub(crate) fn load(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|error| Error::System {
            what: format!("reading the configuration {}", path.display()),
            why: error.to_string(),
        })?;
        let base = path.parent().unwrap_or(Path::new(""));
        let base = std::path::absolute(base).unwrap_or_else(|_| base.to_owned());
        Self::read(path.display().to_string(), &text, &base)
    }

    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let base = std::env::current_dir().unwrap_or_default();
        Self::read("configuration".to_owned(), text, &base)
    }

    fn read(name: String, text: &str, base: &Path) -> Result<Self, Error> {
        match rules::read(text, base) {
            Ok(rules) => Ok(Self { name, rules }),
            Err(wrong) => Err(Self { name, rules: Rules::default() }.wrong(wrong)),
        }
    }

    fn wrong(&self, Wrong { at, why }: Wrong) -> Error {
        Error::Config { file: self.name.clone(), line: at.line, column: at.column, why }
    }
}

/// What a program adds to the file, by the name of the function.
#[derive(Clone, Debug, Default)]
pub(crate) struct Additions {
    pub(crate) cache: Option<Cache>,
    pub(crate) providers: Vec<(String, &'static NodeDesc)>,
    pub(crate) conditions: Vec<(String, Condition)>,
}

/// What is in force, by the number of the node.
#[derive(Debug)]
pub(crate) struct Snapshot {
    epoch: u64,
    pub(crate) cache: Option<Cache>,
    plans: Vec<Option<Box<Plan>>>,
}

/// What is in force for one function.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) store: Option<StorePlan>,
    pub(crate) bypass: Option<BypassPlan>,
}

/// Its results are stored.
#[derive(Debug)]
pub(crate) struct StorePlan {
    tags: Option<Patterns>,
    pub(crate) serve: bool,
    pub(crate) version: String,
}

impl StorePlan {
    /// Whether the result of a call with this tag is stored. One without a tag has no name, unless
    /// the call itself is one.
    pub(crate) fn means(&self, tag: Option<&str>) -> bool {
        match &self.tags {
            Some(patterns) => patterns.match_tag(tag),
            None => tag.is_some() || self.serve,
        }
    }
}

/// It is bypassed.
#[derive(Debug)]
pub(crate) struct BypassPlan {
    tags: Option<Patterns>,
    pub(crate) data: Option<PathBuf>,
    pub(crate) provider: &'static NodeDesc,
    pub(crate) condition: Option<Condition>,
}

impl BypassPlan {
    /// Whether a call with this tag is bypassed, if the condition agrees.
    pub(crate) fn means(&self, tag: Option<&str>) -> bool {
        self.tags.as_ref().is_none_or(|patterns| patterns.match_tag(tag))
    }

    /// What the provider is told.
    pub(crate) fn bypassed(&self, tag: Option<&str>, cache: Option<&Cache>) -> Bypassed {
        Bypassed::new(tag, self.data.as_deref(), cache)
    }
}

impl Snapshot {
    /// Works out what is in force for each function.
    ///
    /// # Errors
    /// An entry that could never do anything; a name that no function has.
    pub(crate) fn new(file: &File, added: &Additions) -> Result<Arc<Self>, Error> {
        static EPOCH: AtomicU64 = AtomicU64::new(0);
        let given = added.providers.iter().map(|(name, _)| name);
        for name in given.chain(added.conditions.iter().map(|(name, _)| name)) {
            if !rules::nodes().any(|node| names(name, node)) {
                return Err(Error::NotANode(name.clone()));
            }
        }
        let mut plans = Vec::new();
        plans.resize_with(NODES.len(), || None);
        let mut used = Used::new(&file.rules);
        let cache_entries = named(&file.rules.cache);
        let bypass_entries = named(&file.rules.bypass);
        for node in rules::nodes() {
            let store = store_plan(node, &cache_entries, &mut used.cache);
            let bypass = bypass_plan(node, &bypass_entries, added, &mut used.bypass);
            let bypass = bypass.map_err(|entry| {
                let (at, entry, name) = (entry.at, &entry.text, node.name);
                let why = format!(
                    "`{entry}` is to be bypassed, but nothing stands in for `{name}`; give it `data: FILE`, register a provider, or write more of the name if you mean another function"
                );
                file.wrong(Wrong { at, why })
            })?;
            if let (Some(store), None) = (&store, &added.cache) {
                let why = "results are to be stored, but the configuration has no cache; give it one with `cache(&Cache::open(..)?)`";
                return Err(file.wrong(Wrong { at: store.1.at, why: why.to_owned() }));
            }
            let plan = Plan { store: store.map(|(plan, _)| plan), bypass };
            if plan.store.is_some() || plan.bypass.is_some() {
                plans[number_of(node) as usize] = Some(Box::new(plan));
            }
        }
        used.check(&file.rules).map_err(|wrong| file.wrong(wrong))?;
        let epoch = EPOCH.fetch_add(1, Relaxed) + 1;
        Ok(Arc::new(Self { epoch, cache: added.cache.clone(), plans }))
    }

    /// Counted up with each configuration of this program.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What is in force for this function, if anything.
    pub(crate) fn plan(&self, node: &'static NodeDesc) -> Option<&Plan> {
        self.plans.get(number_of(node) as usize)?.as_deref()
    }
}

/// An entry of a section with its place there.
type Entry<'r, R> = (usize, &'r Name, &'r R);

/// The entries of a section, the most qualified name first.
fn named<R>(section: &[(Name, R)]) -> Vec<Entry<'_, R>> {
    let mut entries: Vec<_> =
        section.iter().enumerate().map(|(at, (name, rule))| (at, name, rule)).collect();
    entries.sort_by_key(|(_, name, _)| std::cmp::Reverse(name.text.len()));
    entries
}

/// The first entry for this node that has a setting, and the setting. Each setting is looked for by
/// itself: a full name need not repeat what stands under the bare one.
fn setting<'r, R, T>(
    node: &NodeDesc,
    entries: &[Entry<'r, R>],
    used: &mut [bool],
    get: impl Fn(&'r R) -> Option<T>,
) -> Option<(T, &'r Name)> {
    let own = entries.iter().filter(|(_, name, _)| names(&name.text, node));
    own.copied().find_map(|(at, name, rule)| {
        let value = get(rule)?;
        used[at] = true;
        Some((value, name))
    })
}

fn store_plan<'r>(
    node: &NodeDesc,
    entries: &[Entry<'r, CacheRule>],
    used: &mut [bool],
) -> Option<(StorePlan, &'r Name)> {
    let flag = setting(node, entries, used, |rule| rule.cache);
    let tags = setting(node, entries, used, |rule| rule.tags.clone());
    let serve = setting(node, entries, used, |rule| rule.serve);
    let version = setting(node, entries, used, |rule| rule.version.clone());
    let (true, entry) = flag? else { return None };
    let plan = StorePlan {
        tags: tags.map(|(tags, _)| tags),
        serve: serve.is_some_and(|(serve, _)| serve),
        version: version.map_or_else(String::new, |(version, _)| version),
    };
    Some((plan, entry))
}

/// The error: the entry with the flag of one that nothing stands in for.
fn bypass_plan<'r>(
    node: &NodeDesc,
    entries: &[Entry<'r, BypassRule>],
    added: &Additions,
    used: &mut [bool],
) -> Result<Option<BypassPlan>, &'r Name> {
    let flag = setting(node, entries, used, |rule| rule.bypass);
    let tags = setting(node, entries, used, |rule| rule.tags.clone());
    let data = setting(node, entries, used, |rule| rule.data.clone()).map(|(data, _)| data);
    let Some((true, entry)) = flag else { return Ok(None) };
    let file = data.is_some().then_some(&FILE);
    let provider = added_for(node, &added.providers).or(file).ok_or(entry)?;
    let condition = added_for(node, &added.conditions);
    Ok(Some(BypassPlan { tags: tags.map(|(tags, _)| tags), data, provider, condition }))
}

/// What was added for the most qualified name of the node, and of that the last one.
fn added_for<T: Copy>(node: &NodeDesc, added: &[(String, T)]) -> Option<T> {
    let own = added.iter().filter(|(name, _)| names(name, node));
    own.max_by_key(|(name, _)| name.len()).map(|(_, what)| *what)
}

/// Which entries some function has taken a setting from.
struct Used {
    cache: Vec<bool>,
    bypass: Vec<bool>,
}

impl Used {
    fn new(rules: &Rules) -> Self {
        Self { cache: vec![false; rules.cache.len()], bypass: vec![false; rules.bypass.len()] }
    }

    /// Every entry says something, and is in force for some function.
    fn check(&self, rules: &Rules) -> Result<(), Wrong> {
        let cache = rules.cache.iter().map(|(name, rule)| (name, rule.cache.is_some()));
        let bypass = rules.bypass.iter().map(|(name, rule)| (name, rule.bypass.is_some()));
        for (section, flag, entries, used) in [
            ("cache", "cache: true", cache.collect::<Vec<_>>(), &self.cache),
            ("bypass", "bypass: true", bypass.collect(), &self.bypass),
        ] {
            for ((name, _), used) in entries.iter().zip(used) {
                if !used {
                    return name.at.wrong(format!(
                        "the entry `{}` of `{section}` has no effect: entries with fuller names say all that it says",
                        name.text
                    ));
                }
            }
            // Settings without a switch anywhere.
            for (name, has_flag) in &entries {
                let switched = |node: &&NodeDesc| {
                    entries.iter().any(|(other, flag)| *flag && names(&other.text, node))
                };
                let own = || rules::nodes().filter(|node| names(&name.text, node));
                if !has_flag && !own().any(|node| switched(&node)) {
                    return name.at.wrong(format!(
                        "the entry `{}` of `{section}` has no effect: nothing says `{flag}` for it",
                        name.text
                    ));
                }
            }
        }
        Ok(())
    }
}
