//! Triggers that become one run: what each of them brought, and what the run makes of it.
//!
//! The first trigger of a key makes the run, which waits (`gathering`); those after it are kept beside it. When the run is
//! to begin, what they brought becomes its trigger, and from then on it is a run like any other (ADR 015).

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Json;
use crate::document::LimitsDocument;
use crate::ids::{RowId, RunId, UserId};
use crate::run::{RunHeader, on_behalf, starters};
use crate::words::TriggerType;

/// When a run that gathers begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Terms {
    /// When it has been quiet for so long, or at the latest so long after the first trigger. The last trigger counts.
    Debounce { period_ms: i64, most_ms: Option<i64> },
    /// When there are so many, or so long after the first. All count.
    Batch { max: u32, timeout_ms: i64 },
}

/// What of a claim gathers: the triggers of one key, for one version of the flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gathers {
    /// Empty for all triggers of the flow.
    pub key: Arc<str>,
    pub version: i64,
    pub terms: Terms,
}

/// What one trigger brought to a run that gathers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Brought {
    pub trigger_type: TriggerType,
    pub source: Arc<str>,
    pub context: Json,
    #[serde(default, skip_serializing_if = "is_null")]
    pub webhook: Json,
    /// Where it is not the context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Json>,
    pub by: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<RowId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recommendation: Option<RowId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<RunId>,
}

fn is_null(value: &Json) -> bool {
    value.is_null()
}

impl Terms {
    /// What the document asks for; none where it gathers nothing.
    pub(super) fn of(document: &LimitsDocument) -> Option<Self> {
        let ms = |seconds: u32| i64::from(seconds) * 1_000;
        let debounce = document.debounce.as_ref();
        let debounce =
            debounce.map(|d| Self::Debounce { period_ms: ms(d.period_seconds), most_ms: d.max_seconds.map(ms) });
        let batch = document.batch.as_ref();
        debounce.or(batch.map(|b| Self::Batch { max: b.max, timeout_ms: ms(b.timeout_seconds) }))
    }

    /// Whether a run gets all that was gathered.
    pub const fn is_batch(self) -> bool {
        matches!(self, Self::Batch { .. })
    }

    /// The field of the document.
    pub const fn word(self) -> &'static str {
        if self.is_batch() { "batch" } else { "debounce" }
    }

    /// When a run begins whose first and last trigger came then, whatever else comes.
    pub(super) fn due_ms(self, first_ms: i64, last_ms: i64) -> i64 {
        match self {
            Self::Debounce { period_ms, most_ms } => {
                let quiet_ms = last_ms.saturating_add(period_ms);
                most_ms.map_or(quiet_ms, |most_ms| quiet_ms.min(first_ms.saturating_add(most_ms)))
            }
            Self::Batch { timeout_ms, .. } => first_ms.saturating_add(timeout_ms),
        }
    }
}

/// What a run of a batch has for its trigger.
#[expect(clippy::needless_pass_by_value, reason = "calls read better")]
pub fn batch_of(events: Vec<Value>) -> Value {
    json!({"count": events.len(), "events": events})
}

/// The events of such a trigger. `None`: it is not one.
pub fn events_of(trigger: &Value) -> Option<&Vec<Value>> {
    trigger.get("events")?.as_array()
}

impl Brought {
    /// What a run that was made for one trigger alone brings to one that gathers.
    pub fn of(header: &RunHeader, terms: Terms) -> Self {
        let one = |value: &Json| match events_of(value).and_then(|events| events.first()) {
            Some(event) if terms.is_batch() => Arc::new(event.clone()),
            _ => value.clone(),
        };
        let context = one(&header.trigger_context);
        let input = one(&header.input);
        Self {
            trigger_type: header.trigger_type,
            source: header.trigger_source.clone(),
            input: (input != context).then_some(input),
            context,
            webhook: header.webhook.clone(),
            by: header.triggered_by.clone(),
            decision: header.decision_event_id,
            recommendation: header.recommendation_id,
            parent: header.parent_run_id,
        }
    }

    /// What has started a batch: its first trigger, and everybody who is behind one of them.
    fn all_behind(header: &RunHeader, brought: &[Self]) -> Arc<str> {
        let of = |by: &str| starters(by, header.owner.user);
        let first = of(&header.triggered_by);
        let others: BTreeSet<UserId> =
            brought.iter().flat_map(|one| of(&one.by)).filter(|u| !first.contains(u)).collect();
        if others.is_empty() {
            return header.triggered_by.clone();
        }
        // A key that names nobody would be taken for theirs, once somebody else is named behind it.
        let is_unnamed = |user: &&UserId| !header.triggered_by.contains(&format!("user:{user}"));
        let unnamed = first.iter().filter(is_unnamed);
        unnamed.chain(&others).fold(header.triggered_by.to_string(), |by, user| on_behalf(&by, *user)).into()
    }

    /// What the run is that has gathered these after its first trigger. Its deadline counts from now on.
    pub fn gathered(
        header: &RunHeader,
        terms: Terms,
        brought: &[Self],
        now_ms: i64,
        deadline_ms: Option<i64>,
    ) -> RunHeader {
        let mut header = RunHeader { deadline_at_ms: deadline_ms.map(|ms| now_ms + ms), ..header.clone() };
        if terms.is_batch() {
            let all = |first: &Json, own: fn(&Self) -> &Json| {
                let mut events = events_of(first).cloned().unwrap_or_default();
                events.extend(brought.iter().map(|one| Value::clone(own(one))));
                Arc::new(batch_of(events))
            };
            let input = all(&header.input, |one| one.input.as_ref().unwrap_or(&one.context));
            header.trigger_context = all(&header.trigger_context, |one| &one.context);
            header.triggered_by = Self::all_behind(&header, brought);
            header.input = if input == header.trigger_context { header.trigger_context.clone() } else { input };
        } else if let Some(last) = brought.last() {
            header.trigger_type = last.trigger_type;
            header.trigger_source = last.source.clone();
            header.trigger_context = last.context.clone();
            header.webhook = last.webhook.clone();
            header.input = last.input.clone().unwrap_or_else(|| last.context.clone());
            header.triggered_by = last.by.clone();
            header.decision_event_id = last.decision;
            header.recommendation_id = last.recommendation;
            header.parent_run_id = last.parent;
        }
        header
    }
}
