//! Cancels: what was asked for, which bodies were told, and what belongs to a task.

use std::collections::{BinaryHeap, HashMap, HashSet};

use mailring_process::process_tree::Member;

use super::objects::Objects;
use super::processes::Processes;
use super::tasks::{Index, Phase, Task};
use crate::protocol::cancel::{Cancel, Target};

/// A cancel that a body has asked for.
pub(crate) struct CancelRequest {
    pub(crate) place: u16,
    /// Which process of that place.
    pub(crate) birth: u64,
    /// The number of the request.
    pub(crate) number: u64,
    pub(crate) target: Target,
    pub(crate) cancel: Cancel,
}

/// A body that has been told to stop, and where it runs.
pub(crate) struct Told {
    pub(crate) index: Index,
    /// The number of its task.
    pub(crate) task: u64,
    pub(crate) place: u16,
    pub(crate) birth: u64,
    pub(crate) seq: u64,
    /// A call of an actor: the actor, and what it has started, live on.
    pub(crate) actor: bool,
    pub(crate) spared: Vec<Member>,
}

impl Told {
    /// Whether it still runs.
    pub(crate) fn still_runs(&self, objects: &Objects) -> bool {
        let phase = objects.task(self.index).map(|task| task.phase);
        phase == Some(Phase::Posted { place: self.place, seq: self.seq })
    }

    /// Whether its process is gone (or the thread abandoned), with everything below it.
    pub(crate) fn is_ended(&self, processes: &Processes) -> bool {
        let process = processes.at(self.place);
        process.birth != self.birth || process.abandoned
    }
}

/// What threads of their own are to see to.
#[derive(Default)]
pub(crate) struct Cancels {
    requests: Vec<CancelRequest>,
    outlived: Vec<Told>,
}

impl Cancels {
    /// A body asks for a cancel.
    pub(crate) fn ask(&mut self, request: CancelRequest) {
        self.requests.push(request);
    }

    /// Bodies that nobody wants any more, and that have been told.
    pub(crate) fn add_outlived(&mut self, told: Vec<Told>) {
        self.outlived.extend(told);
    }

    /// All of these, to be seen to.
    pub(crate) fn take(&mut self) -> (Vec<CancelRequest>, Vec<Told>) {
        (std::mem::take(&mut self.requests), std::mem::take(&mut self.outlived))
    }
}

/// These, and of the calls of their bodies those that nobody else holds, and so on.
pub(crate) fn with_kids(targets: &[Index], objects: &Objects, processes: &Processes) -> Vec<Index> {
    let alone = |task: &Task| task.kids.is_empty();
    if let &[one] = targets
        && objects.task(one).is_none_or(alone)
    {
        return vec![one]; // as most are
    }
    let mut all: Vec<Index> = Vec::new();
    let mut known: HashSet<Index> = HashSet::new();
    // How often the tasks in it, and their bodies, hold each object.
    let mut held: HashMap<Index, u32> = HashMap::new();
    // The newest first: it may hold an older one, and not the other way round.
    let mut kids: BinaryHeap<(u64, Index)> = BinaryHeap::new();
    let mut next: Vec<Index> = targets.to_vec();
    loop {
        while let Some(index) = next.pop() {
            let Some(task) = objects.task(index) else { continue };
            if !known.insert(index) {
                continue;
            }
            all.push(index);
            let open = task.kids.iter().filter_map(|&kid| objects.find(kid));
            kids.extend(open.map(|kid| (objects.at(kid).number, kid)));
            task.held.iter().for_each(|&dep| *held.entry(dep).or_default() += 1);
            if let Phase::Posted { place, .. } = task.phase
                && processes.body_of(place) == Some(index)
            {
                let kept = &processes.at(place).kept;
                kept.iter().for_each(|(&dep, &count)| *held.entry(dep).or_default() += count);
            }
        }
        let Some((_, kid)) = kids.pop() else { return all };
        let by_others = objects.at(kid).holds.saturating_sub(1);
        if by_others <= held.get(&kid).copied().unwrap_or(0) {
            next.push(kid);
        }
    }
}
