//! What a step has given: at hand, or in the store alone.
//!
//! A run keeps small results in memory and lets large ones go ([`crate::run::Run::let_go`]). An expression that names one
//! of those cannot go on, and it must not wait either: it fails, and the [`Shelf`] of its run notes what it looked for.
//! Whoever drives the run then reads that, and has the decision made anew. A decision that has noted anything is none.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::ids::StepNo;

/// A result as expressions look at it.
#[derive(Clone, Debug)]
pub enum Output {
    Here(Arc<Value>),
    Away(Away),
}

/// A result that only the store has.
#[derive(Clone, Debug)]
pub struct Away {
    /// The execution whose result it is.
    pub step: StepNo,
    /// About the bytes of its JSON.
    pub bytes: usize,
    pub shelf: Arc<Shelf>,
}

/// What of a run was looked for and is not at hand.
#[derive(Debug, Default)]
pub struct Shelf {
    wanted: Mutex<BTreeSet<StepNo>>,
    /// No more fits into memory: what is away stays away, and whatever names it fails.
    is_full: AtomicBool,
}

impl Shelf {
    /// What was looked for since this was asked last.
    pub fn take_wanted(&self) -> BTreeSet<StepNo> {
        std::mem::take(&mut self.wanted.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Says whether more may be fetched.
    pub fn set_full(&self, is_full: bool) {
        self.is_full.store(is_full, Ordering::Relaxed);
    }

    fn want(&self, step: StepNo) -> String {
        if self.is_full.load(Ordering::Relaxed) {
            return "the results that are named here are too large to be looked at together; let the steps before give \
                    less, or name fewer of them in one place"
                .to_owned();
        }
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).insert(step);
        format!("the result of execution {step} is being fetched")
    }
}

impl Output {
    /// The value, or why it cannot be looked at now.
    pub fn get(&self) -> Result<&Arc<Value>, String> {
        match self {
            Self::Here(value) => Ok(value),
            Self::Away(away) => Err(away.shelf.want(away.step)),
        }
    }

    /// About the bytes of its JSON text.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Here(value) => super::view::size(value),
            Self::Away(away) => away.bytes,
        }
    }
}

impl Default for Output {
    fn default() -> Self {
        Self::Here(Arc::default())
    }
}

impl From<Arc<Value>> for Output {
    fn from(value: Arc<Value>) -> Self {
        Self::Here(value)
    }
}

impl From<Value> for Output {
    fn from(value: Value) -> Self {
        Self::Here(Arc::new(value))
    }
}

impl PartialEq for Output {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Here(one), Self::Here(two)) => one == two,
            (Self::Away(one), Self::Away(two)) => one.step == two.step,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_away_is_noted_until_no_more_fits() {
        let shelf = Arc::new(Shelf::default());
        let away = Output::Away(Away { step: 7, bytes: 10, shelf: shelf.clone() });
        assert!(away.get().unwrap_err().contains("being fetched"));
        assert_eq!(shelf.take_wanted(), BTreeSet::from([7]));
        assert_eq!(shelf.take_wanted(), BTreeSet::new());
        shelf.set_full(true);
        assert!(away.get().unwrap_err().contains("too large"));
        assert_eq!(shelf.take_wanted(), BTreeSet::new());
        assert_eq!(Output::from(serde_json::json!({"a": 1})).get().unwrap()["a"], 1);
    }
}
