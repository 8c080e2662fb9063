//! What one CEL evaluation may cost.
//!
//! The interpreter has no notion of fuel, so the checker puts a call for it into the body of every
//! macro, and every value taken from the scope is charged when it is named. Both together bound time
//! and memory: an iteration is charged the size of the expression times the size of the largest
//! element it may hold, so that neither many small steps nor a few large ones come for free.

use std::sync::atomic::{AtomicU64, Ordering};

use super::limits;

/// Work done so far in one evaluation. Atomic because the interpreter asks for shared references that
/// may cross threads; there is only one thread.
#[derive(Debug, Default)]
pub(super) struct Budget {
    spent: AtomicU64,
    largest: AtomicU64,
}

impl Budget {
    /// Accounts for naming a value of `size` units whose largest element has `element` units; false
    /// when that is too much.
    pub(super) fn name(&self, size: u64, element: u64) -> bool {
        self.largest.fetch_max(element, Ordering::Relaxed);
        self.spend(size)
    }

    /// Accounts for one iteration over an expression of `size` units; false when that is too much.
    pub(super) fn iterate(&self, size: u64) -> bool {
        let element = self.largest.load(Ordering::Relaxed);
        self.spend(size.saturating_mul(1 + element / 4))
    }

    pub(super) fn is_spent(&self) -> bool {
        self.spent.load(Ordering::Relaxed) > limits::WORK
    }

    fn spend(&self, units: u64) -> bool {
        let before = self.spent.load(Ordering::Relaxed);
        self.spent.store(before.saturating_add(units), Ordering::Relaxed);
        !self.is_spent()
    }
}

/// Units of a text: one, and one more for every 64 bytes.
pub(super) fn text_units(text: &str) -> u64 {
    1 + text.len() as u64 / 64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn naming_and_iterating_spend_the_same_purse() {
        let budget = Budget::default();
        assert!(budget.name(limits::WORK - 10, 0));
        assert!(budget.iterate(10));
        assert!(!budget.is_spent());
        assert!(!budget.iterate(1));
        assert!(budget.is_spent());
    }

    #[test]
    fn large_elements_make_iterations_dear_and_nothing_wraps() {
        let budget = Budget::default();
        assert!(budget.name(1, 400));
        assert!(budget.iterate(5));
        assert_eq!(budget.spent.load(Ordering::Relaxed), 1 + 5 * 101);
        assert!(!budget.name(u64::MAX, u64::MAX));
        assert!(!budget.iterate(u64::MAX));
    }
}
