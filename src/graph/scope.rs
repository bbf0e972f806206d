//! Open scopes, one inside the other.

use crate::limits::{HEAP_RINGS, MAX_SCOPE_DEPTH};
use crate::ring::heap::ScopeRef;

/// A scope cannot be opened or closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// Too many are open.
    #[error("scopes are {MAX_SCOPE_DEPTH} deep already")]
    TooDeep,
    /// None is open.
    #[error("scope_end without scope_begin")]
    NoneOpen,
}

/// An open scope: the tasks submitted in it, scopes inside included, are those from `first` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Never used twice.
    pub id: u64,
    /// Number of the first task that can be in it.
    pub first: u64,
}

/// The stack of open scopes. The innermost is the last.
#[derive(Debug, Default)]
pub struct ScopeStack {
    open: Vec<Scope>,
    opened: u64,
}

impl ScopeStack {
    /// No scope is open.
    pub fn new() -> Self {
        Self::default()
    }

    /// Scopes that are open.
    pub fn depth(&self) -> usize {
        self.open.len()
    }

    /// Opens a scope; `next` is the number of the next task.
    ///
    /// # Errors
    /// 64 are open already.
    pub fn begin(&mut self, next: u64) -> Result<(), ScopeError> {
        if self.open.len() >= MAX_SCOPE_DEPTH {
            return Err(ScopeError::TooDeep);
        }
        self.opened += 1;
        self.open.push(Scope { id: self.opened, first: next });
        Ok(())
    }

    /// Closes the innermost scope.
    ///
    /// # Errors
    /// None is open.
    pub fn end(&mut self) -> Result<Scope, ScopeError> {
        self.open.pop().ok_or(ScopeError::NoneOpen)
    }

    /// The innermost scope.
    pub fn innermost(&self) -> Option<&Scope> {
        self.open.last()
    }

    /// What a slab made now is held by; an impossible depth when no scope is open.
    #[inline]
    pub fn current(&self) -> ScopeRef {
        match self.open.last() {
            Some(scope) => ScopeRef { depth: self.open.len() as u16 - 1, id: scope.id },
            None => ScopeRef { depth: u16::MAX, id: 0 },
        }
    }

    /// Whether the scope is still open.
    #[inline]
    pub fn is_open(&self, scope: ScopeRef) -> bool {
        self.open.get(usize::from(scope.depth)).is_some_and(|s| s.id == scope.id)
    }

    /// The heap ring for slabs made now: one for each depth up to the last.
    #[inline]
    pub fn heap_ring(&self) -> usize {
        self.open.len().saturating_sub(1).min(HEAP_RINGS - 1)
    }
}
