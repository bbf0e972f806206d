//! What a replay is given: memory in the place of what was recorded, and other scalars.

use std::cell::Cell;
use std::ops::Range;

use super::buffer::Buffer;
use super::recording::{Binding, Recorded, Recording};
use crate::abi::{ContinuousTensor, DataType, Element};
use crate::error::{Error, InvalidReplay};

/// Memory that a recording names: by its number, or by what it was when it was recorded.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// Counted from 0 in the order of first use.
    Number(usize),
    /// The recorded buffer, or any part of it.
    Memory(ContinuousTensor),
}

impl From<usize> for Bound {
    fn from(number: usize) -> Self {
        Self::Number(number)
    }
}

impl From<ContinuousTensor> for Bound {
    fn from(tensor: ContinuousTensor) -> Self {
        Self::Memory(tensor)
    }
}

impl<T: Element> From<&Buffer<T>> for Bound {
    fn from(buffer: &Buffer<T>) -> Self {
        Self::Memory(buffer.tensor())
    }
}

/// The memory and the scalars of a replay: at first those that were recorded.
///
/// A recording names whole buffers (and whatever else came from outside as a whole), so what takes
/// their place is named as a whole, too: tasks that used a part of the old one use the same part of the
/// new one.
#[derive(Clone, Debug)]
pub struct Bindings {
    recording: Recording,
    memory: Vec<Memory>,
    /// The words of all tasks, once a scalar is not the recorded one.
    words: Option<Box<[u64]>>,
    /// Nothing was bound since it was last found that no two share what one of them writes.
    apart: Cell<bool>,
}

/// What a binding is in a replay.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    pub(super) address: u64,
    /// Whether it is the buffer that was recorded.
    pub(super) recorded: bool,
}

impl Recording {
    /// The memory and the scalars that were recorded, to be replaced.
    pub fn bindings(&self) -> Bindings {
        let memory = self.0.bindings.iter();
        let memory = memory.map(|b| Memory { address: b.bytes.start, recorded: true }).collect();
        let recording = self.clone();
        Bindings { recording, memory, words: None, apart: Cell::new(true) }
    }
}

impl Bindings {
    /// How many pieces of memory the recording names.
    pub fn len(&self) -> usize {
        self.memory.len()
    }

    /// Whether it names none.
    pub fn is_empty(&self) -> bool {
        self.memory.is_empty()
    }

    /// The bytes of each that tasks name, in order of first use.
    pub fn memory(&self) -> impl Iterator<Item = Range<u64>> {
        (0..self.memory.len()).map(|number| self.used(number))
    }

    /// Puts a tensor in the place of memory that the recording names. It may lie anywhere in a buffer
    /// or a live slab; its first byte takes the place of the first byte of the old one.
    ///
    /// # Errors
    /// [`Error::Replay`]: the recording names no such memory, or more of it than the tensor has; typed
    /// tasks name it, which take a [`buffer`](Self::buffer). Nothing is changed then.
    pub fn tensor(
        &mut self,
        bound: impl Into<Bound>,
        tensor: impl Into<ContinuousTensor>,
    ) -> Result<&mut Self, Error> {
        let (number, tensor) = (self.find(bound.into())?, tensor.into());
        if self.recorded().bindings[number].typed.is_some() {
            return Err(InvalidReplay::Typed(number).into());
        }
        self.bind(number, &tensor)?;
        Ok(self)
    }

    /// Puts a buffer in the place of memory that the recording names.
    ///
    /// # Errors
    /// [`Error::Replay`]: the recording names no such memory, or more of it than the buffer has; the
    /// buffer is of another executor; typed tasks take the memory for elements of another type, or the
    /// buffer is imported. Nothing is changed then.
    pub fn buffer<T: Element>(
        &mut self,
        bound: impl Into<Bound>,
        buffer: &Buffer<T>,
    ) -> Result<&mut Self, Error> {
        let number = self.find(bound.into())?;
        if buffer.executor() != self.recorded().executor {
            return Err(InvalidReplay::OtherExecutor.into());
        }
        let imported = buffer.is_foreign();
        self.bind_typed(number, &buffer.tensor(), imported)?;
        Ok(self)
    }

    /// The same for what a typed task can be given; `imported`: others may write to it.
    pub(crate) fn bind_typed(
        &mut self,
        number: usize,
        tensor: &ContinuousTensor,
        imported: bool,
    ) -> Result<(), Error> {
        if let Some((recorded, agree)) = self.recorded().bindings[number].typed {
            let given = tensor.dtype()?;
            if imported {
                return Err(InvalidReplay::Imported(number).into());
            }
            if agree && recorded != given as u8 {
                let recorded = DataType::try_from(recorded)?;
                return Err(InvalidReplay::Elements { binding: number, recorded, given }.into());
            }
        }
        self.bind(number, tensor)
    }

    /// Another value of a scalar of a task; those of the members of a group are counted one after the
    /// other. The first one copies what the recording has of all its arguments; a replay costs the same
    /// with and without.
    ///
    /// # Errors
    /// [`Error::Replay`]: there is no such task, or it has no such scalar.
    pub fn scalar(&mut self, task: usize, scalar: usize, value: u64) -> Result<&mut Self, Error> {
        let recorded = self.recorded();
        let tasks = recorded.tasks.len();
        if task >= tasks {
            return Err(InvalidReplay::NoTask { task, tasks }.into());
        }
        let word = recorded.scalar(task, scalar);
        let word = word.map_err(|scalars| InvalidReplay::NoScalar { task, scalar, scalars })?;
        let words = match &mut self.words {
            Some(words) => words,
            None => self.words.insert(self.recording.0.words.clone().into()),
        };
        words[word] = value;
        Ok(self)
    }

    /// Whose memory it takes.
    pub(crate) fn executor(&self) -> u64 {
        self.recorded().executor
    }

    /// The number of memory that the recording names.
    pub(crate) fn find(&self, bound: Bound) -> Result<usize, Error> {
        let all = &self.recorded().bindings;
        match bound {
            Bound::Number(number) if number < all.len() => Ok(number),
            Bound::Number(number) => {
                Err(InvalidReplay::NoBinding { number, bindings: all.len() }.into())
            }
            Bound::Memory(tensor) => {
                let holds = |binding: &Binding| binding.bytes.contains(&tensor.data());
                let found = all.iter().position(holds);
                found.ok_or_else(|| InvalidReplay::NotNamed(tensor.data()).into())
            }
        }
    }

    fn bind(&mut self, number: usize, tensor: &ContinuousTensor) -> Result<(), Error> {
        let bytes = tensor.nbytes()?;
        let needed = self.recorded().bindings[number].used.end;
        if bytes < needed {
            return Err(InvalidReplay::TooShort { binding: number, bytes, needed }.into());
        }
        self.memory[number] = Memory { address: tensor.data(), recorded: false };
        self.apart.set(false);
        Ok(())
    }

    fn recorded(&self) -> &Recorded {
        &self.recording.0
    }

    /// Whether they are of that recording.
    pub(super) fn are_of(&self, recording: &Recording) -> bool {
        std::sync::Arc::ptr_eq(&self.recording.0, &recording.0)
    }

    pub(super) fn at(&self, number: usize) -> &Memory {
        &self.memory[number]
    }

    /// The words of all tasks, with their scalars.
    pub(super) fn words(&self) -> &[u64] {
        self.words.as_deref().unwrap_or(&self.recorded().words)
    }

    /// The bytes of one that tasks name.
    pub(super) fn used(&self, number: usize) -> Range<u64> {
        let (used, at) = (&self.recorded().bindings[number].used, self.memory[number].address);
        at.saturating_add(used.start)..at.saturating_add(used.end)
    }

    /// What was two must not become one: dependencies were inferred from it. Where nobody writes, it
    /// may.
    pub(super) fn check_overlaps(&self) -> Result<(), InvalidReplay> {
        if self.apart.get() {
            return Ok(());
        }
        let writes = |number: usize| self.recorded().bindings[number].writes;
        let mut order: Vec<usize> = (0..self.memory.len()).collect();
        order.sort_unstable_by_key(|&number| self.used(number).start);
        // Of those before, the ones that end last: of all, and of those that are written.
        let [mut any, mut written]: [Option<usize>; 2] = [None, None];
        for number in order {
            let own = self.used(number);
            for other in [written, any].into_iter().flatten() {
                let end = self.used(other).end.min(own.end);
                if own.start < end && (writes(number) || writes(other)) {
                    return Err(InvalidReplay::Overlap {
                        first: other.min(number),
                        second: other.max(number),
                        address: own.start,
                        bytes: end - own.start,
                    });
                }
            }
            let later = |last: Option<usize>| last.is_none_or(|last| self.used(last).end < own.end);
            if later(any) {
                any = Some(number);
            }
            if writes(number) && later(written) {
                written = Some(number);
            }
        }
        self.apart.set(true);
        Ok(())
    }
}
