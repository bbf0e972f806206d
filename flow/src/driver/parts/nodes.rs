//! What is known of each node from the calls that have run.

use super::quantities::ClassId;
use crate::protocol::node::{NODES, NodeDesc, number_of};

/// Bodies up to this long are worth standing behind each other.
const SHORT_NS: f32 = 50_000.0;

#[derive(Clone, Copy, Default)]
struct NodeStat {
    /// The class of calls without options.
    class: Option<ClassId>,
    /// How long its body takes, as a moving mean.
    mean_ns: Option<f32>,
    /// Bytes of memory that its body asks for, roughly.
    result: Option<u64>,
    /// Its bodies have waited for others.
    waits: bool,
}

impl NodeStat {
    #[inline]
    fn note_duration(&mut self, duration_ns: u32) {
        let now = duration_ns as f32;
        self.mean_ns = Some(self.mean_ns.map_or(now, |mean| mean + (now - mean) / 8.0));
    }

    #[inline]
    fn note_result(&mut self, bytes: u64) {
        self.result = Some(match self.result {
            Some(known) if known > bytes => known - (known - bytes) / 8,
            _ => bytes,
        });
    }
}

pub(crate) struct Nodes {
    stats: Vec<NodeStat>,
}

impl Nodes {
    pub(crate) fn new() -> Self {
        Self { stats: vec![NodeStat::default(); NODES.len()] }
    }

    #[inline]
    fn at(&self, node: &'static NodeDesc) -> &NodeStat {
        &self.stats[number_of(node) as usize]
    }

    #[inline]
    fn at_mut(&mut self, node: &'static NodeDesc) -> &mut NodeStat {
        &mut self.stats[number_of(node) as usize]
    }

    /// The class of calls without options, once it is known.
    #[inline]
    pub(crate) fn class(&self, node: &'static NodeDesc) -> Option<ClassId> {
        self.at(node).class
    }

    pub(crate) fn set_class(&mut self, node: &'static NodeDesc, class: ClassId) {
        self.at_mut(node).class = Some(class);
    }

    /// The classes that are known here.
    pub(crate) fn classes(&self) -> impl Iterator<Item = ClassId> + '_ {
        self.stats.iter().filter_map(|stat| stat.class)
    }

    /// Whether its bodies are known to be short.
    #[inline]
    pub(crate) fn is_short(&self, node: &'static NodeDesc) -> bool {
        self.at(node).mean_ns.is_some_and(|mean| mean <= SHORT_NS)
    }

    /// A body has taken so long, and, if it has made a value, has asked for so many bytes in all.
    #[inline]
    pub(crate) fn note_run(
        &mut self,
        node: &'static NodeDesc,
        duration_ns: u32,
        bytes: Option<u64>,
    ) {
        let stat = self.at_mut(node);
        stat.note_duration(duration_ns);
        if let Some(bytes) = bytes {
            stat.note_result(bytes);
        }
    }

    /// Bytes of memory that its body asks for, once one has run.
    #[inline]
    pub(crate) fn result(&self, node: &'static NodeDesc) -> Option<u64> {
        self.at(node).result
    }

    /// A body has asked for so many bytes in all.
    #[inline]
    pub(crate) fn note_result(&mut self, node: &'static NodeDesc, bytes: u64) {
        self.at_mut(node).note_result(bytes);
    }

    /// Whether its bodies have waited for others.
    pub(crate) fn waits(&self, node: &'static NodeDesc) -> bool {
        self.at(node).waits
    }

    pub(crate) fn note_wait(&mut self, node: &'static NodeDesc) {
        self.at_mut(node).waits = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_follow_what_was_seen_last() {
        let mut nodes = Nodes::new();
        let node: &'static NodeDesc = &NODES[0];
        assert!(!nodes.is_short(node), "nothing is known");
        nodes.note_run(node, 1_000, None);
        assert!(nodes.is_short(node));
        for _ in 0..64 {
            nodes.note_run(node, 1_000_000, None);
        }
        assert!(!nodes.is_short(node));
        nodes.note_result(node, 800);
        nodes.note_result(node, 1_600); // more: at once
        assert_eq!(nodes.result(node), Some(1_600));
        nodes.note_result(node, 800); // less: slowly
        assert_eq!(nodes.result(node), Some(1_500));
    }
}
