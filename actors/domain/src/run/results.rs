//! Large results: what a run holds of them in memory.
//!
//! Small results stay with their run. Of large ones it keeps a bounded number of bytes at hand and lets the others go,
//! those first that were looked at least lately; the log has them all. A decision that looks at one that is away is given
//! up, and says which it wants; once they are brought, it is made anew. So a run of a thousand steps that each give a
//! megabyte costs as much memory as one of three.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::decide::Decider;
use super::{Frame, Place, Run};
use crate::Json;
use crate::expr::{Away, Output};
use crate::ids::StepNo;
use crate::plan::StepKind;

/// How much a run holds and makes at once, in bytes of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// A result up to this size stays in memory for as long as its run does.
    pub small_bytes: usize,
    /// What a run keeps of its large results.
    pub at_hand_bytes: usize,
    /// The largest result of a step that is put together in the run itself, such as a loop's.
    pub result_bytes: usize,
    /// What one decision renders. Further steps wait for the next.
    pub decision_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { small_bytes: 32 << 10, at_hand_bytes: 1 << 20, result_bytes: 16 << 20, decision_bytes: 8 << 20 }
    }
}

/// Large results that are at hand, the least lately used first.
#[derive(Debug, Clone, Default)]
pub(super) struct AtHand {
    order: VecDeque<(StepNo, usize)>,
    bytes: usize,
}

impl AtHand {
    fn put(&mut self, step: StepNo, bytes: usize) {
        self.order.push_back((step, bytes));
        self.bytes += bytes;
    }

    fn take(&mut self) -> Option<(StepNo, usize)> {
        let (step, bytes) = self.order.pop_front()?;
        self.bytes -= bytes;
        Some((step, bytes))
    }
}

/// A result as the log gives it back.
#[derive(Debug, Clone, PartialEq)]
pub enum Kept {
    Here(Json),
    /// It is kept beside the log: it is read when it is wanted.
    Away {
        bytes: usize,
    },
}

impl Kept {
    /// The value, for whoever had all of them brought.
    pub fn here(&self) -> Option<&Json> {
        match self {
            Self::Here(value) => Some(value),
            Self::Away { .. } => None,
        }
    }
}

impl Run {
    /// What the run may hold and make at once.
    pub fn bound(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    /// Which results were looked for and are not at hand, since this was asked last.
    pub(super) fn take_wanted(&self) -> BTreeSet<StepNo> {
        self.shelf.take_wanted()
    }

    /// Says whether more may be fetched for the decision that is being made.
    pub fn set_full(&self, is_full: bool) {
        self.shelf.set_full(is_full);
    }

    pub(super) fn output_of(&self, step: StepNo, kept: &Kept) -> Output {
        match kept {
            Kept::Here(value) => Output::Here(value.clone()),
            Kept::Away { bytes } => self.away(step, *bytes),
        }
    }

    fn away(&self, step: StepNo, bytes: usize) -> Output {
        Output::Away(Away { step, bytes, shelf: self.shelf.clone() })
    }

    /// Notes a result that has come into memory.
    pub(super) fn note_size(&mut self, step: StepNo, output: &Output) {
        // Nothing, such as a failed step gives, is not worth letting go.
        if matches!(output, Output::Here(value) if !value.is_null()) {
            let bytes = output.bytes();
            if bytes > self.bounds.small_bytes {
                self.at_hand.put(step, bytes);
            }
        }
    }

    /// Lets large results go until the rest is within its bound. Only what is stored, or about to be, can be had again:
    /// whoever fetches it waits for the commit.
    pub fn let_go(&mut self) {
        while self.at_hand.bytes > self.bounds.at_hand_bytes {
            let Some((step, bytes)) = self.at_hand.take() else { return };
            let away = self.away(step, bytes);
            self.replace(step, |known| matches!(known, Output::Here(_)), &away);
        }
    }

    /// Takes results that were wanted.
    pub fn bring(&mut self, found: Vec<(StepNo, Json)>) {
        for (step, value) in found {
            let output = Output::Here(value);
            self.note_size(step, &output);
            self.replace(step, |known| matches!(known, Output::Away(_)), &output);
            if let Some(Place::Round { base, round, .. }) = self.state.place(&self.plan, step)
                && let Some(given) = self.given.get_mut(&base)
                && matches!(given.get(round), Output::Away(away) if away.step == step)
            {
                given.put(round, output);
            }
        }
        self.restore_items();
    }

    fn replace(&mut self, step: StepNo, is_so: impl Fn(&Output) -> bool, output: &Output) {
        if self.state.place(&self.plan, step).is_none() {
            return;
        }
        if let Some(place @ Place::Round { .. }) = self.state.place(&self.plan, step)
            && let Place::Round { base, round, .. } = place
            && !self.rounds.contains_key(&(base, round))
        {
            return;
        }
        if let Some((results, id)) = self.results_of(step)
            && let Some(view) = results.get_mut(&id).filter(|view| is_so(&view.output))
        {
            view.output = output.clone();
        }
    }

    /// What loops go over whose collection could not be computed when the run was loaded.
    fn restore_items(&mut self) {
        let plan = self.plan.clone();
        // Outer loops have smaller numbers than the loops that stand in their rounds.
        let frames: Vec<StepNo> = self.state.frames.keys().copied().collect();
        for base in frames {
            if self.items.contains_key(&base) {
                continue;
            }
            let Frame { released_at_ms, vars, .. } = self.state.frames[&base].clone();
            if let Some((owner, owner_plan)) = self.loop_in_use(base)
                && let StepKind::ForEach(each) = &plan.steps[owner_plan as usize].kind
                && let Ok(items) = self.items_of(owner, each, released_at_ms, vars.as_ref())
            {
                self.items.insert(base, Arc::new(items));
            }
        }
    }
}

impl Decider<'_> {
    /// Whether this decision has rendered as much as one may.
    pub(super) fn is_full(&self) -> bool {
        self.rendered_bytes >= self.draft.bounds.decision_bytes
    }
}
