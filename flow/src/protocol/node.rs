//! The description of a node: a function that any worker can find, since it was there before the
//! fork.

use std::collections::HashMap;
use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use super::arg_writer::RawArgs;
use super::call_context::CallContext;
use super::error::{BadArgument, Error, Raised};
use super::options::Overrides;
use super::resources::Resources;

/// What a node is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A function.
    Node,
    /// Makes an actor.
    Constructor,
    /// A method of an actor.
    Method,
}

/// Everything that is known of a node. `#[node]` makes one; it has the same address in every
/// process that was forked from this one.
pub struct NodeDesc {
    /// Its full name.
    pub name: &'static str,
    /// Where its function is.
    pub file: &'static str,
    /// The line of it.
    pub line: u32,
    /// The names of its parameters.
    pub params: &'static [&'static str],
    /// In 1/10000; -1: not said.
    pub cpus: i64,
    /// Labels with quantities in 1/10000.
    pub resources: &'static [(&'static str, i64)],
    /// Further attempts after the death of a worker; -1: without limit.
    pub max_retries: i32,
    /// How long its body may run, in nanoseconds; 0: without end.
    pub deadline_ns: u64,
    /// See [`Call::priority`](crate::Call::priority).
    pub priority: i32,
    /// What it is for.
    pub kind: Kind,
    /// Decodes the arguments, calls the function, encodes what it returned.
    pub run: fn(&mut CallContext<'_>) -> Result<(), Raised>,
    /// Decodes the arguments.
    pub check: fn(&RawArgs<'_>) -> Result<(), BadArgument>,
    /// Encodes the value that a file says, in place of a run.
    pub read_data: fn(&mut CallContext<'_>, &[u8]) -> Result<(), Raised>,
}

impl fmt::Debug for NodeDesc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl NodeDesc {
    /// What calls of it are told apart by in messages: its name and those of its parameters.
    pub(crate) fn signature(&self) -> (&'static str, &'static [&'static str]) {
        (self.name, self.params)
    }

    /// The last part of its name; a method keeps its type.
    pub(crate) fn short_name(&self) -> &'static str {
        short_name(self.name)
    }

    /// What is asked for by a call of this node with these options.
    pub(crate) fn merged(&self, over: &Overrides) -> Result<Merged, Error> {
        if let Some(why) = &over.bad {
            return Err(why.clone());
        }
        let labels = match &over.labels {
            Some(labels) => labels.clone(),
            None => self.resources.iter().map(|&(l, q)| (l.to_owned(), q)).collect(),
        };
        let resources =
            Resources { cpus: over.cpus.unwrap_or(self.cpus.max(0)), labels, bad: None };
        resources.check_range()?; // a body's own process may have been written over
        Ok(Merged {
            resources,
            max_retries: over.max_retries.unwrap_or(self.max_retries),
            priority: over.priority.unwrap_or(self.priority),
        })
    }
}

/// A node's options with a call's in front.
pub(crate) struct Merged {
    pub(crate) resources: Resources,
    /// -1: without limit.
    pub(crate) max_retries: i32,
    pub(crate) priority: i32,
}

/// Every node of the program.
#[linkme::distributed_slice]
pub static NODES: [NodeDesc];

/// A place in [`NODES`] that is known to exist.
#[inline]
pub(crate) fn number_of(desc: &'static NodeDesc) -> u32 {
    // Asked for several times a call, and the linker's symbols are checked each time.
    static FIRST: AtomicUsize = AtomicUsize::new(0);
    #[cold]
    fn find_first() -> usize {
        let first = NODES.as_ptr() as usize;
        FIRST.store(first, Relaxed);
        first
    }
    let first = match FIRST.load(Relaxed) {
        0 => find_first(),
        first => first,
    };
    ((std::ptr::from_ref(desc) as usize - first) / size_of::<NodeDesc>()) as u32
}

/// The node of this number.
#[inline]
pub(crate) fn by_number(number: u32) -> Option<&'static NodeDesc> {
    NODES.static_slice().get(number as usize)
}

/// Makes the table of names, so that no thread is about to do so when a worker is forked.
pub(crate) fn prepare_names() {
    let _ = by_name("");
}

/// The node with this full name, or the only one whose name ends with `::name`.
pub(crate) fn by_name(name: &str) -> Result<&'static NodeDesc, Error> {
    static NAMES: OnceLock<HashMap<&'static str, Vec<&'static NodeDesc>>> = OnceLock::new();
    let names = NAMES.get_or_init(|| {
        let mut names: HashMap<_, Vec<_>> = HashMap::new();
        // Ours have no names by which they are called.
        let own =
            |node: &&NodeDesc| node.kind == Kind::Node && !node.name.starts_with("mailring::");
        for node in NODES.iter().filter(own) {
            names.entry(node.name).or_default().push(node);
        }
        names
    });
    let found: Vec<_> = match names.get(name) {
        Some(nodes) => nodes.clone(),
        None => {
            let ends = |node: &&&NodeDesc| {
                node.name.strip_suffix(name).is_some_and(|front| front.ends_with("::"))
            };
            names.values().flatten().filter(ends).copied().collect()
        }
    };
    match found[..] {
        [node] => Ok(node),
        [] => Err(Error::NotANode(name.to_owned())),
        [one, other, ..] => Err(Error::Invalid(format!(
            "several nodes are called `{name}`: `{}` ({}:{}) and `{}` ({}:{}) among them; give more of the name",
            one.name, one.file, one.line, other.name, other.file, other.line
        ))),
    }
}

/// The last part of a full name.
pub(crate) fn short_name(name: &str) -> &str {
    let (front, last) = split_last(name).unwrap_or(("", name));
    // A method keeps its type.
    match split_last(front).map_or(front, |(_, kind)| kind) {
        kind if kind.starts_with(char::is_uppercase) => {
            &name[name.len() - last.len() - kind.len() - 2..]
        }
        _ => last,
    }
}

/// What stands before and behind the last `::`. (One character is found much faster than two.)
fn split_last(name: &str) -> Option<(&str, &str)> {
    let (front, last) = name.rsplit_once(':')?;
    Some((front.strip_suffix(':')?, last))
}

// ---- nodes of our own

impl NodeDesc {
    /// What nodes of our own have in common: they take no resources and check nothing.
    pub(crate) const PLAIN: Self = Self {
        name: "",
        file: file!(),
        line: line!(),
        params: &[],
        cpus: 0,
        resources: &[],
        max_retries: 3,
        deadline_ns: 0,
        priority: 0,
        kind: Kind::Node,
        run: |_| Ok(()),
        check: |_| Ok(()),
        read_data: |_, _| Ok(()),
    };
}

/// Puts encoded values behind each other, which makes them an encoded vector.
#[linkme::distributed_slice(NODES)]
pub(crate) static GATHER: NodeDesc = NodeDesc {
    name: "mailring::gather",
    file: file!(),
    line: line!(),
    params: &[],
    run: |call_context| call_context.complete_gathered(),
    ..NodeDesc::PLAIN
};

/// A value as it was given.
#[linkme::distributed_slice(NODES)]
pub(crate) static SAME: NodeDesc = NodeDesc {
    name: "mailring::put",
    file: file!(),
    line: line!(),
    params: &["value"],
    run: |call_context| call_context.complete_same(),
    ..NodeDesc::PLAIN
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_keeps_its_type() {
        assert_eq!(short_name("program::rooms::clean"), "clean");
        assert_eq!(short_name("program::rooms::Room::clean"), "Room::clean");
        assert_eq!(short_name("Room::clean"), "Room::clean");
        assert_eq!(short_name("clean"), "clean");
    }
}
