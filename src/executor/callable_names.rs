//! What callables are called, and which of them workers of a kind know.

use std::sync::Arc;

use super::dynamic::DynamicFunctions;
use crate::ids::{Callable, WorkerKind};
use crate::worker::library::DynamicId;

/// Known callables: by their place (functions, levels), or counted from 0 (programs of chips).
pub(crate) struct CallableNames(Box<[(Callable, String)]>);

impl CallableNames {
    pub(crate) fn new<'a>(known: impl Iterator<Item = (Callable, &'a str)>) -> Self {
        Self(known.map(|(callable, name)| (callable, name.to_owned())).collect())
    }

    #[inline]
    fn find(&self, callable: Callable) -> Option<&(Callable, String)> {
        let counted = callable.0 >> 32 == 0;
        let place = if counted { callable.0 as usize } else { callable.place() };
        self.0.get(place).filter(|(known, _)| *known == callable)
    }

    #[inline]
    fn has(&self, callable: Callable) -> bool {
        self.find(callable).is_some()
    }

    fn name(&self, callable: Callable) -> Option<&str> {
        self.find(callable).map(|(_, name)| name.as_str())
    }
}

/// The callables of all workers.
pub(super) struct Names {
    /// Of each kind, where all are known.
    known: [Option<Arc<CallableNames>>; 2],
    /// Kinds whose workers call registered functions, and so dynamic ones as well.
    calls_functions: [bool; 2],
    dynamic: Arc<DynamicFunctions>,
}

/// Whether a callable can be submitted to workers of a kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Known {
    /// It is one of theirs.
    Yes,
    /// It was registered after the start.
    Dynamic,
    /// The workers alone know what their callables are.
    Unlisted,
    No,
}

impl Known {
    /// Whether it is one for a submit with typed arguments, or without.
    #[inline(always)]
    pub(super) fn takes(self, callable: Callable, typed: bool) -> bool {
        match self {
            Self::Yes => callable.is_typed() == typed,
            Self::Dynamic | Self::Unlisted => !typed,
            Self::No => false,
        }
    }
}

impl Names {
    pub(super) fn new(
        known: [Option<Arc<CallableNames>>; 2],
        calls_functions: [bool; 2],
        dynamic: Arc<DynamicFunctions>,
    ) -> Self {
        Self { known, calls_functions, dynamic }
    }

    #[inline]
    pub(super) fn look_up(&self, kind: WorkerKind, callable: Callable) -> Known {
        match &self.known[kind.index()] {
            Some(known) if known.has(callable) => Known::Yes,
            Some(_) if self.is_dynamic(kind, callable) => Known::Dynamic,
            Some(_) => Known::No,
            None => Known::Unlisted,
        }
    }

    /// Whether workers of this kind call the function, which was registered after the start.
    #[cold]
    fn is_dynamic(&self, kind: WorkerKind, callable: Callable) -> bool {
        self.calls_functions[kind.index()]
            && DynamicId::of(callable.0).is_some_and(|id| self.dynamic.has(id))
    }

    /// Whether workers of any kind had it from the start.
    pub(super) fn is_known(&self, callable: Callable) -> bool {
        self.known.iter().flatten().any(|known| known.has(callable))
    }

    /// The name, or the number where there is none. `kind` as in a route.
    pub(super) fn name(&self, kind: u8, callable: u64) -> String {
        let kind = usize::from(kind & 1);
        let known = self.known[kind].as_ref().and_then(|known| known.name(Callable(callable)));
        let dynamic = || self.dynamic.name(callable).filter(|_| self.calls_functions[kind]);
        let name = known.map(str::to_owned).or_else(dynamic);
        name.unwrap_or_else(|| format!("callable {callable:#x}"))
    }
}
