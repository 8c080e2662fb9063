//! Batches that the store does not take just now, and why: a store that can be read and not written, as on a full disk, is not
//! ready.
//!
//! A batch counts from the second refusal on: the first is what a lost connection costs.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Those of a node.
#[derive(Debug, Default)]
pub struct Unwritten(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    batches: usize,
    why: String,
}

/// A batch that is tried again and again.
#[derive(Debug)]
pub struct Waiting<'a>(&'a Unwritten);

impl Unwritten {
    /// Why batches wait to be written, in the store's words, which may be shown. `None`: none waits.
    pub fn why(&self) -> Option<String> {
        let state = self.state();
        (state.batches > 0).then(|| state.why.clone())
    }

    /// One more batch waits, as long as what is given lives.
    pub fn enter(&self) -> Waiting<'_> {
        self.state().batches += 1;
        Waiting(self)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting<'_> {
    /// It was refused once more.
    pub fn refused(&self, why: &str) {
        why.clone_into(&mut self.0.state().why);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.state().batches -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_as_long_as_a_batch_waits() {
        let unwritten = Unwritten::default();
        let (first, second) = (unwritten.enter(), unwritten.enter());
        first.refused("the database is busy");
        second.refused("the disk is full");
        drop(first);
        assert_eq!(unwritten.why().as_deref(), Some("the disk is full"));
        drop(second);
        assert_eq!(unwritten.why(), None);
    }
}
