//! What is noted for the profile, until the thread that writes it takes it away.

use std::thread::Thread;

use smallvec::SmallVec;

use super::quantities::{ClassId, Demand};
use crate::profile::records::{Batch, Extra, Record, What};

/// Records at which the writer is called before its time, and those that are kept at most.
const MANY: usize = 1 << 15;
const MOST: usize = 1 << 20;

/// What for a task waits that has all its inputs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum For {
    Resources,
    Memory,
    Worker,
    Order,
}

/// Why a task does not start, with the resources that are missing; `None` stands for cpus.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Reason {
    pub(crate) waits_for: For,
    pub(crate) what: SmallVec<[Option<u16>; 4]>,
}

/// The attempt whose end is being dealt with.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    pub(crate) call: u64,
    pub(crate) at: u64,
    pub(crate) body_ns: u64,
    pub(crate) extra: Extra,
}

pub(crate) struct Recorder {
    batch: Batch,
    writer: Thread,
    /// The writer sleeps until it is called.
    asleep: bool,
    /// By class, what its tasks hold, and the number of its text.
    resources: Vec<Option<(Demand, u32)>>,
    resource_texts: Vec<String>,
    reasons: Vec<Reason>,
    reason_texts: Vec<String>,
    /// By class, why its tasks do not start, as far as is known.
    reason_of: Vec<Option<u32>>,
    /// By place, which process and task was noted to have begun.
    began: Vec<(u64, u64)>,
    pub(crate) ending: Ending,
    /// Workers of which those who hear of it know.
    pub(crate) workers: usize,
    /// What went on before the last of those came is said to have begun then.
    pub(crate) since: u64,
}

impl Recorder {
    pub(crate) fn new(writer: Thread) -> Self {
        Self {
            batch: Batch::default(),
            writer,
            asleep: false,
            resources: Vec::new(),
            resource_texts: Vec::new(),
            reasons: Vec::new(),
            reason_texts: Vec::new(),
            reason_of: Vec::new(),
            began: Vec::new(),
            ending: Ending::default(),
            workers: 0,
            since: 0,
        }
    }

    /// Notes something of a call.
    #[inline]
    pub(crate) fn note(&mut self, at: u64, call: u64, what: What) {
        let count = self.batch.records.len();
        if self.asleep || count >= MANY {
            self.call_writer(count);
            if count >= MOST {
                self.batch.lost += 1;
                return;
            }
        }
        self.batch.records.push(Record { at, call, what });
    }

    #[cold]
    fn call_writer(&mut self, count: usize) {
        if self.asleep || count == MANY {
            self.asleep = false;
            self.writer.unpark();
        }
    }

    /// Takes what there is, in exchange for an empty batch.
    pub(crate) fn take(&mut self, batch: &mut Batch) {
        std::mem::swap(&mut self.batch, batch);
    }

    /// The writer will look again only when it is called.
    pub(crate) fn set_asleep(&mut self) {
        self.asleep = true;
    }

    /// The number of the text that says what tasks of a class hold.
    #[inline]
    pub(crate) fn resources(
        &mut self,
        class: ClassId,
        demand: &Demand,
        text: impl FnOnce() -> String,
    ) -> u32 {
        match self.resources.get(class as usize) {
            Some(Some((known, number))) if known == demand => *number,
            _ => self.add_resources(class, demand, text()),
        }
    }

    #[cold]
    fn add_resources(&mut self, class: ClassId, demand: &Demand, text: String) -> u32 {
        let class = class as usize;
        if self.resources.len() <= class {
            self.resources.resize(class + 1, None);
        }
        let number = self.resource_texts.iter().position(|known| *known == text);
        let number = number.unwrap_or_else(|| {
            self.batch.resources.push(text.clone());
            self.resource_texts.push(text);
            self.resource_texts.len() - 1
        }) as u32;
        self.resources[class] = Some((demand.clone(), number));
        number
    }

    /// The number of a reason, which is that of its class from now on.
    pub(crate) fn reason(
        &mut self,
        class: ClassId,
        reason: Reason,
        text: impl FnOnce(&Reason) -> String,
    ) -> u32 {
        let number = match self.reasons.iter().position(|known| *known == reason) {
            Some(number) => number as u32,
            None => {
                let text = text(&reason);
                self.batch.reasons.push(text.clone());
                self.reason_texts.push(text);
                self.reasons.push(reason);
                (self.reasons.len() - 1) as u32
            }
        };
        let class = class as usize;
        if self.reason_of.len() <= class {
            self.reason_of.resize(class + 1, None);
        }
        self.reason_of[class] = Some(number);
        number
    }

    /// Why tasks of a class do not start, as was found last.
    #[inline]
    pub(crate) fn reason_of(&self, class: ClassId) -> Option<u32> {
        self.reason_of.get(class as usize).copied().flatten()
    }

    /// All texts so far that records name by their numbers.
    pub(crate) fn texts(&self, batch: &mut Batch) {
        batch.resources.clone_from(&self.resource_texts);
        batch.reasons.clone_from(&self.reason_texts);
    }

    /// The task at a place has begun. False: that was noted before.
    #[inline]
    pub(crate) fn set_begun(&mut self, place: u16, birth: u64, seq: u64) -> bool {
        let place = usize::from(place);
        if self.began.len() <= place {
            self.began.resize(place + 1, (0, 0));
        }
        let known = std::mem::replace(&mut self.began[place], (birth, seq));
        if known.0 == birth && known.1 >= seq {
            self.began[place] = known;
            return false;
        }
        true
    }

    /// Whether that was noted.
    pub(crate) fn has_begun(&self, place: u16, birth: u64, seq: u64) -> bool {
        let known = self.began.get(usize::from(place));
        known.is_some_and(|known| known.0 == birth && known.1 >= seq)
    }
}
