//! A graph as it was inferred once: what its tasks are, whom each waits for among the others, and what
//! binds them to the memory and the tasks around them.
//!
//! Addresses are kept as a *base* and an offset. A base is memory that came from outside (a binding: a
//! buffer, a slab, memory that a level above lends) or a slab that the graph allocates itself.
//!
//! ```text
//! bases    0 nothing (absolute) | 1 buffer a | 2 slab of task 3 | 3 buffer b | ...
//! task     head, blob with offsets, which words are addresses of which base, producers by index
//! entries  what a task names that no task of the graph has written before it: whoever did so outside
//!          is looked up when it is replayed
//! exits    what those who come after must know: accesses that no later one of the graph supersedes
//! ```
//!
//! While it is recorded, each base has a range of imagined addresses of its own, so that the rules of
//! dependencies are those of the map, and memory that is used twice is still two things.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use super::handle::{Named, TaskHandle};
use super::options::{After, TaskOptions};
use crate::abi::{ContinuousTensor, TaskArgs, TensorArgType};
use crate::error::{Error, InvalidReplay};
use crate::graph::{Access, Dependencies, Hazards, TensorMap};
use crate::ids::TaskId;
use crate::limits::MAX_FAN_IN;
use crate::mailbox::descriptor::{Head, PackedHead, Relocation, Route};

/// Base of what is no address of this executor's memory.
pub(super) const ABSOLUTE: u32 = 0;

/// Imagined addresses of what has no base begin here.
const NOWHERE: u64 = 1 << 63;

/// Options of tasks are compared with so many of those that came last.
const RECENT_OPTIONS: usize = 32;

/// Words of a tensor in a blob.
const TENSOR_WORDS: usize = size_of::<ContinuousTensor>() / 8;

/// A graph that was run once, to be [replayed](crate::Orchestrator::replay) with other memory and other
/// scalars. See [`Executor::record`](crate::Executor::record).
#[derive(Clone)]
pub struct Recording(pub(super) Arc<Recorded>);

impl Recording {
    /// Tasks.
    pub fn len(&self) -> usize {
        self.0.tasks.len()
    }

    /// Whether it has no tasks.
    pub fn is_empty(&self) -> bool {
        self.0.tasks.is_empty()
    }

    /// The number, counted from 0, of a task that was submitted while it was recorded.
    ///
    /// # Errors
    /// The handle is of another run.
    pub fn index(&self, task: &TaskHandle) -> Result<usize, Error> {
        match self.index_of(task.id()).filter(|_| task.executor == self.0.executor) {
            Some(index) => Ok(index),
            None => Err(InvalidReplay::OtherTask(task.id()).into()),
        }
    }

    /// The same by the number that the task had in the executor.
    pub fn index_of(&self, task: TaskId) -> Option<usize> {
        self.0.seqs.binary_search(&task.0).ok()
    }
}

impl std::fmt::Debug for Recording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recording")
            .field("tasks", &self.0.tasks.len())
            .field("bindings", &self.0.bindings.len())
            .finish_non_exhaustive()
    }
}

/// What was recorded. Lists of all tasks lie one behind the other; each task knows where its own end.
pub(super) struct Recorded {
    /// Whose it is.
    pub(super) executor: u64,
    pub(super) tasks: Vec<Task>,
    /// Without numbers, and without places in rings.
    pub(super) heads: Vec<Head>,
    /// What happened between tasks: before the task of this number.
    pub(super) steps: Vec<(u32, Step)>,
    /// Blobs, one for each member.
    pub(super) words: Vec<u64>,
    /// Which words are addresses; a word is counted from the first of its task.
    pub(super) addresses: Vec<Relocation>,
    /// A tag a tensor.
    pub(super) tags: Vec<TensorArgType>,
    pub(super) producers: Vec<Back>,
    pub(super) accesses: Vec<Touch>,
    pub(super) entries: Vec<Touch>,
    pub(super) exits: Vec<(u32, Touch)>,
    pub(super) options: Vec<TaskOptions>,
    /// Tasks that ask for what others ask for as well: checked for all of them.
    pub(super) checked: Vec<u32>,
    pub(super) bindings: Vec<Binding>,
    /// How many there are.
    pub(super) bases: usize,
    /// Scopes that it opens inside each other.
    pub(super) depth: usize,
    /// The numbers that its tasks had.
    seqs: Vec<u64>,
}

impl Recorded {
    /// Where the lists of the task of this number begin.
    #[inline]
    pub(super) fn ends_before(&self, index: usize) -> Ends {
        index.checked_sub(1).map_or(Ends::default(), |before| self.tasks[before].ends)
    }

    /// The number of the binding that is this base; slabs of the graph are none. (They are in the order
    /// of their bases.)
    #[inline]
    pub(super) fn binding_of(&self, base: u32) -> Option<usize> {
        self.bindings.binary_search_by_key(&base, |binding| binding.base).ok()
    }

    /// Where scalar `scalar` of a task is among all words; scalars of members are counted one after the
    /// other. Otherwise how many scalars it has.
    pub(super) fn scalar(&self, task: usize, scalar: usize) -> Result<usize, usize> {
        let Some(of) = self.tasks.get(task) else { return Err(0) };
        let before = self.ends_before(task);
        let words = &self.words[before.words as usize..of.ends.words as usize];
        let (mut at, mut count) = (0, 0);
        while at < words.len() {
            let (tensors, scalars) = counts(words[at]);
            let first = at + 1 + tensors * TENSOR_WORDS;
            if scalar < count + scalars {
                return Ok(before.words as usize + first + scalar - count);
            }
            count += scalars;
            at = first + scalars;
        }
        Err(count)
    }
}

/// Tensors and scalars of a blob.
fn counts(word: u64) -> (usize, usize) {
    (word as u32 as usize, (word >> 32) as usize)
}

/// One task: what a replay of it reads in any case.
pub(super) struct Task {
    /// The first words of its task descriptor, without a number.
    pub(super) packed: PackedHead,
    pub(super) route: Route,
    /// Which options.
    pub(super) options: u32,
    /// The base of what it allocates, or [`ABSOLUTE`].
    pub(super) slab: u32,
    /// Whether it needs nothing but a slot: no payload, no slab, no name.
    pub(super) plain: bool,
    /// Whether it names no slabs of the graph either, and has no more producers than a task can name.
    pub(super) quick: bool,
    pub(super) group: bool,
    /// Whether it names slabs of the graph.
    pub(super) inner: bool,
    pub(super) ends: Ends,
}

/// Where the parts of a task end in the lists of all.
#[derive(Clone, Copy, Default)]
pub(super) struct Ends {
    pub(super) words: u32,
    pub(super) addresses: u32,
    pub(super) tags: u32,
    pub(super) producers: u32,
    pub(super) accesses: u32,
    pub(super) entries: u32,
}

/// A task of the same graph to wait for.
#[derive(Clone, Copy)]
pub(super) struct Back {
    pub(super) task: u32,
    pub(super) data: bool,
}

/// Bytes that a task names.
#[derive(Clone, Copy)]
pub(super) struct Touch {
    pub(super) base: u32,
    pub(super) tag: TensorArgType,
    pub(super) offset: u64,
    pub(super) len: u64,
}

impl Touch {
    #[inline]
    pub(super) fn at(&self, bases: &[u64]) -> Access {
        let start = bases[self.base as usize].wrapping_add(self.offset);
        Access::new(start..start.wrapping_add(self.len), self.tag)
    }
}

/// Which numbers the tasks have: one after the other, but for fan-in nodes in between.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers {
    pub(super) first: u64,
    /// From this task on, so many in all.
    pub(super) nodes: Vec<(u32, u64)>,
}

impl Numbers {
    #[inline]
    pub(super) fn of(&self, task: u32) -> u64 {
        let number = self.first + u64::from(task);
        if self.nodes.is_empty() { number } else { number + self.nodes_before(task) }
    }

    #[cold]
    pub(super) fn nodes_before(&self, task: u32) -> u64 {
        let later = self.nodes.partition_point(|(from, _)| *from <= task);
        later.checked_sub(1).map_or(0, |at| self.nodes[at].1)
    }
}

/// A replay of which the map has not been told yet.
pub(super) struct Untold {
    pub(super) recorded: Arc<Recorded>,
    pub(super) numbers: Numbers,
    pub(super) bases: Vec<u64>,
}

impl Untold {
    /// No task of it has this number or a later one.
    pub(super) fn end(&self) -> u64 {
        self.numbers.of(self.recorded.tasks.len().saturating_sub(1) as u32) + 1
    }

    /// What those who come after must know: accesses of tasks, in order.
    pub(super) fn exits(&self) -> impl Iterator<Item = (u64, Access)> {
        let exits = self.recorded.exits.iter();
        exits.map(|(task, touch)| (self.numbers.of(*task), touch.at(&self.bases)))
    }
}

/// What is no task.
#[derive(Clone, Copy)]
pub(super) enum Step {
    Begin,
    End,
    /// Memory of the innermost scope.
    Alloc {
        bytes: u64,
        base: u32,
    },
}

/// Memory that came from outside.
#[derive(Clone, Debug)]
pub(super) struct Binding {
    pub(super) base: u32,
    /// The bytes that it was.
    pub(super) bytes: Range<u64>,
    /// Which buffer, as long as it is one.
    pub(super) buffer: Option<u64>,
    /// The part of it that tasks name, from its first byte.
    pub(super) used: Range<u64>,
    /// Whether a task may write to it.
    pub(super) writes: bool,
    /// What typed tasks take it for: the number of the type, and whether all of them agree.
    pub(super) typed: Option<(u8, bool)>,
}

/// Where bytes lie, as the submitter knows it.
pub(super) struct Home {
    pub(super) bytes: Range<u64>,
    /// Which buffer, if it is one.
    pub(super) buffer: Option<u64>,
}

/// One task on its way into a recording.
pub(super) struct Submitted<'s> {
    pub(super) head: Head,
    pub(super) options: &'s TaskOptions,
    pub(super) group: bool,
    /// Everything is written in the task descriptor itself.
    pub(super) inline: bool,
    /// The members, with the addresses that the submit gave them.
    pub(super) args: &'s [TaskArgs],
    /// The outputs that the submit has allocated.
    pub(super) allocated: Option<&'s Named>,
}

struct Base {
    /// Its first imagined address.
    imagined: u64,
    /// For a slab: how many scopes were open.
    scope: Option<usize>,
    /// A slab whose scope has closed.
    gone: bool,
}

/// Takes down what is submitted.
pub(super) struct Recorder {
    recorded: Recorded,
    hazards: Hazards,
    /// Tensors of tasks without types bear whether they are only read.
    marks: bool,
    map: TensorMap,
    deps: Dependencies,
    bases: Vec<Base>,
    /// By first real address: where it ends, and the base.
    places: BTreeMap<u64, (u64, u32)>,
    imagined: u64,
    /// Imagined bytes (or addresses) that a task of the graph has written.
    written: Covered,
    depth: usize,
    /// Of each open scope: how many bases there were when it began.
    scopes: Vec<usize>,
    kinds: HashSet<(u64, u32, u16)>,
    indices: HashMap<u64, u32>,
    /// What a replay could not do.
    fault: Option<InvalidReplay>,
}

impl Recorder {
    /// `typed`: there are typed tasks in the executor.
    pub(super) fn new(executor: u64, hazards: Hazards, typed: bool) -> Self {
        Self {
            recorded: Recorded {
                executor,
                tasks: Vec::new(),
                heads: Vec::new(),
                steps: Vec::new(),
                words: Vec::new(),
                addresses: Vec::new(),
                tags: Vec::new(),
                producers: Vec::new(),
                accesses: Vec::new(),
                entries: Vec::new(),
                exits: Vec::new(),
                options: Vec::new(),
                checked: Vec::new(),
                bindings: Vec::new(),
                bases: 0,
                depth: 0,
                seqs: Vec::new(),
            },
            hazards,
            marks: typed,
            map: TensorMap::new(hazards),
            deps: Dependencies::default(),
            bases: vec![Base { imagined: NOWHERE, scope: None, gone: false }],
            places: BTreeMap::new(),
            imagined: 1 << 12,
            written: Covered::default(),
            depth: 0,
            scopes: Vec::new(),
            kinds: HashSet::new(),
            indices: HashMap::new(),
            fault: None,
        }
    }

    pub(super) fn begin_scope(&mut self) {
        self.scopes.push(self.bases.len());
        self.depth += 1;
        self.recorded.depth = self.recorded.depth.max(self.depth);
        self.step(Step::Begin);
    }

    pub(super) fn end_scopes(&mut self, count: usize) {
        for _ in 0..count.min(self.depth) {
            let first = self.scopes.pop().unwrap_or(0);
            let made = self.bases[first..].iter_mut();
            made.filter(|base| base.scope == Some(self.depth)).for_each(|base| base.gone = true);
            self.depth -= 1;
            self.step(Step::End);
        }
    }

    pub(super) fn alloc(&mut self, address: u64, bytes: u64) {
        let base = self.add_slab(address..address + bytes);
        self.step(Step::Alloc { bytes, base });
    }

    fn step(&mut self, step: Step) {
        self.recorded.steps.push((self.recorded.tasks.len() as u32, step));
    }

    /// A task was submitted. `home` tells where bytes lie that are not the graph's own.
    pub(super) fn task(
        &mut self,
        seq: u64,
        task: &Submitted<'_>,
        mut home: impl FnMut(&Range<u64>) -> Option<Home>,
    ) {
        let index = self.recorded.tasks.len() as u32;
        let typed = task.head.callable().is_typed();
        let first_word = self.recorded.words.len();
        let slab = self.slab_of_outputs(task);
        let mut nth = 0;
        let (mut named, mut made) = (Vec::new(), Vec::new());
        for args in task.args {
            let counts = args.tensors().len() as u64 | (args.scalars().len() as u64) << 32;
            self.recorded.words.push(counts);
            for (tensor, &tag) in args.tensors().iter().zip(args.tags()) {
                let own = task.allocated.is_some_and(|all| all.get(nth).is_some());
                nth += 1;
                let bytes = tensor.quick_nbytes().unwrap_or(0);
                let range = tensor.data()..tensor.data().saturating_add(bytes);
                let at = self.recorded.words.len();
                let marks = self.marks && !typed;
                let written = if marks { tensor.marked(!tag.writes()) } else { *tensor };
                let words: [u64; TENSOR_WORDS] = bytemuck::cast(written);
                self.recorded.words.extend_from_slice(&words);
                self.recorded.tags.push(tag);
                let looked_at = bytes > 0 || self.hazards == Hazards::Compatible;
                if tensor.data() == 0 || !looked_at {
                    continue;
                }
                let (base, offset) = self.locate(index, &range, &mut home);
                if own {
                    self.recorded.words[at] = 0; // the submit gives it an address again
                } else if base != ABSOLUTE {
                    self.recorded.words[at] = offset;
                    let word = (at - first_word) as u32;
                    self.recorded.addresses.push(Relocation { word, base });
                    self.note_use(base, offset..offset + bytes, tag, typed, tensor);
                }
                let touch = Touch { base, tag, offset, len: bytes };
                if own { made.push(touch) } else { named.push(touch) }
            }
            self.recorded.words.extend_from_slice(args.scalars());
        }
        self.infer(index, &named, &made, &task.options.after);
        self.indices.insert(seq, index);
        self.recorded.seqs.push(seq);
        let options = self.options(task.options);
        if self.kinds.insert((task.head.callable, options, task.head.members)) {
            self.recorded.checked.push(index);
        }
        let plain = task.inline && task.options.name.is_none() && task.allocated.is_none();
        let before = self.recorded.tasks.last().map_or(Ends::default(), |task| task.ends);
        let ends = self.ends();
        let inner = named.iter().any(|touch| self.bases[touch.base as usize].scope.is_some());
        let few = (ends.producers - before.producers) as usize <= MAX_FAN_IN;
        self.recorded.heads.push(task.head);
        self.recorded.tasks.push(Task {
            packed: task.head.packed(),
            route: task.head.route,
            options,
            slab,
            plain,
            quick: plain && few && !inner,
            group: task.group,
            inner,
            ends,
        });
    }

    /// Ends the recording, and with it the scopes that are open.
    pub(super) fn finish(mut self) -> Result<Recording, InvalidReplay> {
        self.end_scopes(self.depth);
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        self.find_exits();
        self.recorded.bases = self.bases.len();
        Ok(Recording(Arc::new(self.recorded)))
    }

    // ---- memory ---------------------------------------------------------------------------------

    /// The base of what the submit has allocated, as one piece.
    fn slab_of_outputs(&mut self, task: &Submitted<'_>) -> u32 {
        let all = task.allocated.map(Named::all).unwrap_or_default().iter();
        let own = all.map(|(_, tensor)| tensor).filter(|tensor| tensor.data() != 0);
        let start = own.clone().map(ContinuousTensor::data).min();
        let end = own.map(|tensor| tensor.data() + tensor.quick_nbytes().unwrap_or(0)).max();
        match (start, end) {
            (Some(start), Some(end)) => self.add_slab(start..end),
            _ => ABSOLUTE,
        }
    }

    fn add_slab(&mut self, bytes: Range<u64>) -> u32 {
        // What lay there before has been given back.
        let before: Vec<u64> = self
            .places
            .range(..bytes.end)
            .rev()
            .take_while(|(_, (end, _))| *end > bytes.start)
            .map(|(&start, _)| start)
            .collect();
        before.iter().for_each(|start| _ = self.places.remove(start));
        self.add_base(bytes, Some(self.depth))
    }

    fn add_base(&mut self, bytes: Range<u64>, scope: Option<usize>) -> u32 {
        let base = self.bases.len() as u32;
        let len = bytes.end - bytes.start;
        self.bases.push(Base { imagined: self.imagined, scope, gone: false });
        self.imagined += len.next_multiple_of(1 << 12) + (1 << 12);
        self.places.insert(bytes.start, (bytes.end, base));
        base
    }

    /// The base of bytes, and where they begin there.
    fn locate(
        &mut self,
        task: u32,
        bytes: &Range<u64>,
        home: impl FnOnce(&Range<u64>) -> Option<Home>,
    ) -> (u32, u64) {
        let known = self.places.range(..=bytes.start).next_back();
        if let Some((&start, &(end, base))) = known
            && bytes.end <= end
        {
            if self.bases[base as usize].gone {
                self.fault.get_or_insert(InvalidReplay::ScopeClosed { task: task as usize });
            }
            return (base, bytes.start - start);
        }
        let Some(home) = home(bytes) else { return (ABSOLUTE, bytes.start) };
        let base = self.add_base(home.bytes.clone(), None);
        let offset = bytes.start - home.bytes.start;
        self.recorded.bindings.push(Binding {
            base,
            bytes: home.bytes,
            buffer: home.buffer,
            used: offset..offset,
            writes: false,
            typed: None,
        });
        (base, offset)
    }

    fn note_use(
        &mut self,
        base: u32,
        part: Range<u64>,
        tag: TensorArgType,
        typed: bool,
        tensor: &ContinuousTensor,
    ) {
        let Some(number) = self.recorded.binding_of(base) else { return };
        let binding = &mut self.recorded.bindings[number];
        binding.used.start = binding.used.start.min(part.start);
        binding.used.end = binding.used.end.max(part.end);
        binding.writes |= tag != TensorArgType::Input;
        if typed && let Ok(dtype) = tensor.dtype() {
            let (known, agree) = binding.typed.unwrap_or((dtype as u8, true));
            binding.typed = Some((known, agree && known == dtype as u8));
        }
    }

    fn imagine(&self, touch: &Touch) -> Access {
        let start = self.bases[touch.base as usize].imagined + touch.offset;
        Access::new(start..start + touch.len, touch.tag)
    }

    // ---- dependencies ---------------------------------------------------------------------------

    /// Whom the task waits for, inside the graph and around it. What the submit has allocated was not
    /// there when it was looked up.
    fn infer(&mut self, index: u32, named: &[Touch], made: &[Touch], after: &[After]) {
        let mut accesses: Vec<Access> = named.iter().map(|touch| self.imagine(touch)).collect();
        self.deps.clear();
        self.map.lookup(&mut accesses, &mut self.deps);
        for after in after {
            if let Some(&task) = self.indices.get(&after.task) {
                self.deps.add(u64::from(task), after.fails);
            }
        }
        let producers = self.deps.settle().iter();
        let producers = producers.map(|p| Back { task: p.task as u32, data: p.data });
        self.recorded.producers.extend(producers);
        self.add_entries(named);
        accesses.extend(made.iter().map(|touch| self.imagine(touch)));
        self.map.record(&accesses, u64::from(index), 0);
        for touch in named.iter().chain(made).filter(|touch| touch.tag.writes()) {
            let bytes = self.imagine(touch).bytes;
            self.written.add(&bytes, self.hazards);
        }
        self.recorded.accesses.extend(named.iter().chain(made));
    }

    /// Notes what the task names of memory from outside that nobody of the graph has written yet.
    fn add_entries(&mut self, named: &[Touch]) {
        let mut hidden: Vec<u64> = Vec::new();
        for touch in named {
            let base = &self.bases[touch.base as usize];
            if base.scope.is_some() || touch.tag == TensorArgType::NoDep {
                continue;
            }
            let bytes = self.imagine(touch).bytes;
            match self.hazards {
                Hazards::Strict => {
                    for part in self.written.gaps(&bytes) {
                        let (offset, len) = (part.start - base.imagined, part.end - part.start);
                        self.recorded.entries.push(Touch { offset, len, ..*touch });
                    }
                }
                Hazards::Compatible => {
                    let key = bytes.start;
                    let is_hidden = self.written.has(key) || hidden.contains(&key);
                    if touch.tag.reads() && !is_hidden {
                        self.recorded.entries.push(*touch);
                    }
                    if touch.tag.writes() {
                        hidden.push(key);
                    }
                }
            }
        }
    }

    /// Accesses that no later one supersedes, in the order of the tasks.
    fn find_exits(&mut self) {
        let mut covered = Covered::default();
        let mut exits = Vec::new();
        for index in (0..self.recorded.tasks.len()).rev() {
            let (task, before) = (&self.recorded.tasks[index], self.recorded.ends_before(index));
            let own = &self.recorded.accesses[before.accesses as usize..][..];
            let own = &own[..(task.ends.accesses - before.accesses) as usize];
            // What a task reads and writes ends up written.
            let (writes, reads): (Vec<&Touch>, Vec<&Touch>) =
                own.iter().partition(|touch| touch.tag.writes());
            let mut kept = Vec::new();
            for touch in writes.into_iter().chain(reads) {
                let counts = match self.hazards {
                    Hazards::Strict => touch.len > 0 && touch.tag != TensorArgType::NoDep,
                    Hazards::Compatible => touch.tag.writes(),
                };
                if !counts || self.bases[touch.base as usize].gone {
                    continue;
                }
                let bytes = self.imagine(touch).bytes;
                if covered.holds(&bytes, self.hazards) {
                    continue;
                }
                if touch.tag.writes() {
                    covered.add(&bytes, self.hazards);
                }
                kept.push((index as u32, *touch));
            }
            // All of them once more in one go, so their order is nothing.
            exits.extend(kept);
        }
        exits.reverse();
        self.recorded.exits = exits;
    }

    fn options(&mut self, options: &TaskOptions) -> u32 {
        // Where each task has a name of its own, nothing is gained by a look at all of them.
        let recent = self.recorded.options.len().saturating_sub(RECENT_OPTIONS);
        let known = self.recorded.options[recent..].iter().position(|known| known.is_like(options));
        let index = known.map(|known| recent + known).unwrap_or_else(|| {
            // Whom it comes after is among its producers.
            self.recorded.options.push(TaskOptions { after: Vec::new(), ..options.clone() });
            self.recorded.options.len() - 1
        });
        index as u32
    }

    fn ends(&self) -> Ends {
        let recorded = &self.recorded;
        Ends {
            words: recorded.words.len() as u32,
            addresses: recorded.addresses.len() as u32,
            tags: recorded.tags.len() as u32,
            producers: recorded.producers.len() as u32,
            accesses: recorded.accesses.len() as u32,
            entries: recorded.entries.len() as u32,
        }
    }
}

/// Ranges that were covered, neighbours merged; under compatible hazards their first addresses alone.
#[derive(Default)]
struct Covered {
    ranges: BTreeMap<u64, u64>,
}

impl Covered {
    fn add(&mut self, bytes: &Range<u64>, hazards: Hazards) {
        if hazards == Hazards::Compatible {
            self.ranges.insert(bytes.start, bytes.start);
            return;
        }
        let Range { mut start, mut end } = *bytes;
        if start >= end {
            return;
        }
        while let Some((&from, &to)) = self.ranges.range(..=end).next_back()
            && to >= start
        {
            self.ranges.remove(&from);
            (start, end) = (start.min(from), end.max(to));
        }
        self.ranges.insert(start, end);
    }

    fn has(&self, key: u64) -> bool {
        self.ranges.contains_key(&key)
    }

    fn holds(&self, bytes: &Range<u64>, hazards: Hazards) -> bool {
        match hazards {
            Hazards::Compatible => self.has(bytes.start),
            Hazards::Strict => self.gaps(bytes).is_empty(),
        }
    }

    /// What is not covered.
    fn gaps(&self, bytes: &Range<u64>) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut at = bytes.start;
        let before = self.ranges.range(..=bytes.start).next_back();
        let inside = self.ranges.range(bytes.clone());
        for (&from, &to) in before.into_iter().chain(inside) {
            if from > at {
                gaps.push(at..from.min(bytes.end));
            }
            at = at.max(to);
        }
        if at < bytes.end {
            gaps.push(at..bytes.end);
        }
        gaps
    }
}
