//! Names of the callables of one kind of workers, where all of them are known.

use crate::ids::Callable;

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
    pub(super) fn has(&self, callable: Callable) -> bool {
        self.find(callable).is_some()
    }

    pub(super) fn name(&self, callable: Callable) -> Option<&str> {
        self.find(callable).map(|(_, name)| name.as_str())
    }
}
