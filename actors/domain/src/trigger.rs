//! What starts a flow: its `trigger_config`, checked and compiled.
//!
//! Each type of trigger has a config of its own, with its unknown keys refused. The config of `schedule` is checked by
//! whoever keeps the schedules, and not here.
//!
//! Two stages: [`problems`] is strict, for a flow that is saved; [`TriggerPlan::compile`] is total, for one that was
//! saved by an earlier release, which looked at no config. Such a flow goes on as it did, unless it cannot say what it
//! waits for: then it never starts, and says why.
//!
//! Of the flows that one trigger finds, `match` says which start: every one that says `all`, and of the others (`first`,
//! the default) the newest alone.

mod config;
mod threshold;

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value};

use crate::document::warnings::is_always;
use crate::document::{FlowDocument, read};
use crate::expr::{Condition, ExprError, Names, Scope};
use crate::plan::Problem;
use crate::schedule::ScheduleConfig;
use crate::words::{RunStatus, TriggerType, words};

use config::{Any, Event, Finished, Hook};
pub use threshold::{Operator, Standing, Threshold, series};

/// What a filter of events may name.
const FILTER_ROOTS: &[&str] = &["trigger", "tenant", "now"];
/// Names of flows, types of events and names of metrics are no longer.
const MAX_NAME_CHARS: usize = 200;

words! {
    /// Which of the flows that one trigger finds start.
    Matching { First = "first", All = "all" }
}

/// A flow's trigger, compiled.
#[derive(Debug)]
pub struct TriggerPlan {
    pub matching: Matching,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// The flow's conditions say all there is to say.
    Any,
    /// It is for a webhook of its own, by this name, which is one webhook's in the tenant. That one names the flow by its id,
    /// or looks for flows as others do; any other passes it over, so that nobody reaches it by an endpoint that asks for less
    /// proof.
    Endpoint(String),
    Event {
        event_type: String,
        source: Option<String>,
        filter: Condition,
    },
    Finished(Finished),
    Threshold(Threshold),
    /// What was saved cannot be read: it never starts.
    Unreadable(String),
}

/// What is wrong with a document's `trigger_config`.
pub fn problems(doc: &FlowDocument) -> Vec<Problem> {
    compiled(doc).err().into_iter().collect()
}

/// The flow whose ends start a document's, by its id or its name.
pub(crate) fn followed(doc: &FlowDocument) -> Option<String> {
    compiled(doc).ok()?.follows().map(str::to_owned)
}

/// The keys that the config of a type of trigger has; `None` where whatever stands there is kept.
pub fn known_keys(trigger: TriggerType) -> Option<std::collections::BTreeSet<String>> {
    use schemars::schema_for;
    let schema = match trigger {
        TriggerType::Schedule => return None,
        TriggerType::Webhook => schema_for!(Hook),
        TriggerType::Event => schema_for!(Event),
        TriggerType::FlowFinished => schema_for!(Finished),
        TriggerType::ThresholdExceeded => schema_for!(Threshold),
        TriggerType::Manual
        | TriggerType::DecisionApproved
        | TriggerType::RecommendationCreated
        | TriggerType::AnomalyDetected
        | TriggerType::Escalation => schema_for!(Any),
    };
    let properties = schema.get("properties").and_then(Value::as_object);
    Some(properties.into_iter().flat_map(|properties| properties.keys().cloned()).collect())
}

/// The shape of the config of a type of trigger, for those who write documents.
pub fn config_schema(trigger: TriggerType, generator: &mut SchemaGenerator) -> Schema {
    match trigger {
        TriggerType::Schedule => generator.subschema_for::<ScheduleConfig>(),
        TriggerType::Webhook => generator.subschema_for::<Hook>(),
        TriggerType::Event => generator.subschema_for::<Event>(),
        TriggerType::FlowFinished => generator.subschema_for::<Finished>(),
        // Without any it watches nothing.
        TriggerType::ThresholdExceeded => {
            json_schema!({"anyOf": [{"const": {}}, generator.subschema_for::<Threshold>()]})
        }
        TriggerType::Manual
        | TriggerType::DecisionApproved
        | TriggerType::RecommendationCreated
        | TriggerType::AnomalyDetected
        | TriggerType::Escalation => generator.subschema_for::<Any>(),
    }
}

impl TriggerPlan {
    /// Compiles what was saved.
    pub fn compile(doc: &FlowDocument) -> Self {
        compiled(doc).unwrap_or_else(|problem| {
            let kind = match doc.trigger_type {
                TriggerType::FlowFinished | TriggerType::ThresholdExceeded => {
                    Kind::Unreadable(format!("{}: {}", problem.pointer, problem.message))
                }
                TriggerType::Webhook => endpoint(doc.trigger_config.get("webhook").and_then(Value::as_str)),
                _ => Kind::Any,
            };
            Self { matching: Matching::First, kind }
        })
    }

    /// What of the config does not hold for a trigger, in words; `None` where all of it holds. `webhook` is the name of the
    /// one that brought it, where one did.
    pub fn failing(&self, scope: &Scope, webhook: Option<&str>) -> Result<Option<String>, ExprError> {
        let trigger = &*scope.trigger;
        match &self.kind {
            Kind::Any | Kind::Threshold(_) => Ok(None),
            Kind::Unreadable(message) => Ok(Some(message.clone())),
            Kind::Endpoint(name) if webhook == Some(name.as_str()) => Ok(None),
            Kind::Endpoint(name) => Ok(Some(format!("trigger_config.webhook: {name}"))),
            Kind::Event { event_type, source, filter } => {
                for (name, wanted) in [("type", Some(event_type)), ("source", source.as_ref())] {
                    let Some(wanted) = wanted else { continue };
                    if !trigger.get(name).and_then(Value::as_str).is_some_and(|found| covers(wanted, found)) {
                        return Ok(Some(format!("trigger_config.{name}: {wanted}")));
                    }
                }
                Ok(filter.failing_clause(scope)?.map(|clause| format!("trigger_config.filter: {clause}")))
            }
            Kind::Finished(finished) => Ok(finished.failing(trigger)),
        }
    }

    /// What it watches, where it watches a metric.
    pub fn threshold(&self) -> Option<&Threshold> {
        match &self.kind {
            Kind::Threshold(threshold) => Some(threshold),
            _ => None,
        }
    }

    /// The flow whose ends start this one, by its id or its name.
    pub fn follows(&self) -> Option<&str> {
        match &self.kind {
            Kind::Finished(finished) => Some(&finished.flow),
            _ => None,
        }
    }
}

/// Whether a pattern covers a text: they are equal, or the pattern ends with `*` and the text begins with the rest.
fn covers(pattern: &str, text: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == text, |start| text.starts_with(start))
}

/// Whether whatever the second's `trigger_config` takes, the first's takes too.
pub(crate) fn takes_all_of(first: &FlowDocument, second: &FlowDocument) -> bool {
    let config = |doc: &FlowDocument| {
        let mut config = doc.trigger_config.clone();
        // How many start of those that match says nothing of which do.
        config.remove("match");
        config
    };
    let (one, other) = (config(first), config(second));
    if first.trigger_type != second.trigger_type {
        return false;
    }
    if one == other || first.trigger_type != TriggerType::Event {
        return one == other;
    }
    let (Ok(one), Ok(other)) = (typed::<Event>(&one), typed::<Event>(&other)) else { return false };
    let takes_source = |wanted: &String| other.source.as_ref().is_some_and(|source| covers(wanted, source));
    covers(&one.kind, &other.kind)
        && one.source.as_ref().is_none_or(takes_source)
        && (is_always(&one.filter) || one.filter == other.filter)
}

fn compiled(doc: &FlowDocument) -> Result<TriggerPlan, Problem> {
    let config = &doc.trigger_config;
    let (matching, kind) = match doc.trigger_type {
        TriggerType::Schedule => (None, Kind::Any),
        TriggerType::Webhook => hook(&typed(config)?)?,
        TriggerType::Event => event(typed(config)?)?,
        TriggerType::FlowFinished => finished(typed(config)?)?,
        // Nothing is watched: it is for those who say themselves that a threshold was exceeded.
        TriggerType::ThresholdExceeded if config.is_empty() => (None, Kind::Any),
        TriggerType::ThresholdExceeded => (None, threshold(typed(config)?)?),
        TriggerType::Manual
        | TriggerType::DecisionApproved
        | TriggerType::RecommendationCreated
        | TriggerType::AnomalyDetected
        | TriggerType::Escalation => (typed::<Any>(config)?.matching, Kind::Any),
    };
    Ok(TriggerPlan { matching: matching.unwrap_or(Matching::First), kind })
}

fn typed<T: serde::de::DeserializeOwned>(config: &Map<String, Value>) -> Result<T, Problem> {
    read(Value::Object(config.clone())).map_err(|error| problem(&error.pointer, error.message))
}

fn problem(pointer: &str, message: impl Into<String>) -> Problem {
    Problem::new(format!("/trigger_config{pointer}"), message)
}

fn hook(config: &Hook) -> Result<(Option<Matching>, Kind), Problem> {
    if let Some(name) = &config.webhook {
        named("/webhook", name)?;
    }
    config.check().map_err(|(pointer, message)| problem(&pointer, message))?;
    Ok((config.matching, endpoint(config.webhook.as_deref())))
}

fn endpoint(name: Option<&str>) -> Kind {
    name.map_or(Kind::Any, |name| Kind::Endpoint(name.to_owned()))
}

fn event(config: Event) -> Result<(Option<Matching>, Kind), Problem> {
    named("/type", &config.kind)?;
    if let Some(source) = &config.source {
        named("/source", source)?;
    }
    let filter = Condition::parse(&config.filter, &Names::new(FILTER_ROOTS, &[]))
        .map_err(|error| problem(&format!("/filter{}", error.pointer), error.to_string()))?;
    Ok((config.matching, Kind::Event { event_type: config.kind, source: config.source, filter }))
}

fn finished(config: Finished) -> Result<(Option<Matching>, Kind), Problem> {
    named("/flow", &config.flow)?;
    if config.statuses.is_empty() {
        return Err(problem("/statuses", "must name at least one status"));
    }
    if let Some(no) = config.statuses.iter().position(|status| !status.is_terminal()) {
        let ends: Vec<&str> =
            RunStatus::ALL.iter().filter(|status| status.is_terminal()).map(|status| status.as_str()).collect();
        let message = format!("'{}' is no end of a run; these are: {}", config.statuses[no], ends.join(", "));
        return Err(problem(&format!("/statuses/{no}"), message));
    }
    Ok((config.matching, Kind::Finished(config)))
}

fn threshold(config: Threshold) -> Result<Kind, Problem> {
    named("/metric", &config.metric)?;
    config.check().map_err(|(pointer, message)| problem(pointer, message))?;
    Ok(Kind::Threshold(config))
}

fn named(pointer: &str, text: &str) -> Result<(), Problem> {
    if text.trim().is_empty() || text.chars().count() > MAX_NAME_CHARS || text.chars().any(char::is_control) {
        return Err(problem(
            pointer,
            format!("must have 1 to {MAX_NAME_CHARS} characters, none of them a control one"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::ids::{Owner, UserId};
    use crate::run::matching_scope;

    fn document(trigger: &str, config: &Value) -> FlowDocument {
        let step = json!({"id": "a", "config": {"action_type": "transform"}});
        let document =
            json!({"flow_name": "f", "trigger_type": trigger, "trigger_config": config, "flow_steps": [step]});
        FlowDocument::from_value(document).expect("a document")
    }

    fn failing(trigger: &str, config: &Value, context: Value) -> Option<String> {
        failing_by(None, trigger, config, context)
    }

    fn failing_by(webhook: Option<&str>, trigger: &str, config: &Value, context: Value) -> Option<String> {
        let document = document(trigger, config);
        assert_eq!(problems(&document), [], "{config}");
        let owner = Owner::new(UserId(Uuid::from_u128(1)), None);
        let scope = matching_scope(Arc::new(context), Arc::default(), &owner, 0);
        TriggerPlan::compile(&document).failing(&scope, webhook).expect("it can be evaluated")
    }

    #[test]
    fn an_event_is_found_by_type_source_and_filter() {
        let config = json!({"type": "com.acme.order.*", "source": "/shop", "filter": "trigger.data.total > 10"});
        let event =
            |kind: &str, source: &str, total: i64| json!({"type": kind, "source": source, "data": {"total": total}});
        assert_eq!(failing("event", &config, event("com.acme.order.paid", "/shop", 11)), None);
        for (context, clause) in [
            (event("com.acme.orders", "/shop", 11), "trigger_config.type: com.acme.order.*"),
            (event("com.acme.order.paid", "/shop/2", 11), "trigger_config.source: /shop"),
            (event("com.acme.order.paid", "/shop", 10), "trigger_config.filter: trigger.data.total > 10"),
            (json!({"data": 1}), "trigger_config.type: com.acme.order.*"),
        ] {
            assert_eq!(failing("event", &config, context).as_deref(), Some(clause));
        }
    }

    #[test]
    fn a_flow_with_a_webhook_of_its_own_is_found_by_no_other() {
        let own = json!({"webhook": "alerts", "verification": "github", "match": "all"});
        assert_eq!(failing("webhook", &own, json!({})).as_deref(), Some("trigger_config.webhook: alerts"));
        let by = |webhook: &str| failing_by(Some(webhook), "webhook", &own, json!({}));
        assert_eq!(by("alerts"), None, "its own, which looks for flows");
        assert_eq!(by("Alerts").as_deref(), Some("trigger_config.webhook: alerts"));
        assert_eq!(failing("webhook", &json!({"match": "all"}), json!({})), None);
    }

    #[test]
    fn the_end_of_a_flow_is_found_by_its_name_or_id_and_status() {
        let id = Uuid::from_u128(7).to_string();
        let end = |status: &str| json!({"flow_id": id, "flow_name": "nightly", "run_status": status});
        assert_eq!(failing("flow_finished", &json!({"flow": "nightly"}), end("completed")), None);
        assert_eq!(failing("flow_finished", &json!({"flow": id}), end("completed")), None);
        let failed = json!({"flow": "nightly", "statuses": ["failed", "timed_out"]});
        assert_eq!(failing("flow_finished", &failed, end("timed_out")), None);
        assert!(failing("flow_finished", &failed, end("completed")).expect("another status").contains("statuses"));
        assert!(
            failing("flow_finished", &json!({"flow": "other"}), end("completed")).expect("another").contains("flow")
        );
    }

    #[test]
    fn a_webhook_of_its_own_is_described_beside_its_name() {
        let config = json!({"webhook": "alerts", "verification": "hmac", "hmac": {"preset": "stripe"},
            "dedup_key": "trigger.id", "respond": {"wait_seconds": 5, "body": {"state": "{{ steps.a.status }}"}}});
        assert_eq!(problems(&document("webhook", &config)), []);
    }

    #[test]
    fn what_is_wrong_with_a_config_is_named_with_its_place() {
        let hmac = |form: &Value| json!({"webhook": "a", "verification": "hmac", "hmac": form});
        for (trigger, config, pointer, words) in [
            ("webhook", json!({"mach": "all"}), "/trigger_config/mach", "unknown field"),
            ("webhook", json!({"verification": "github"}), "/trigger_config/verification", "name it by `webhook`"),
            ("webhook", json!({"webhook": "a", "verification": "guthib"}), "/trigger_config/verification", "github"),
            ("webhook", json!({"webhook": "a", "verification": "hmac"}), "/trigger_config/hmac", "is required"),
            ("webhook", hmac(&json!({"header": "x", "signed": "v0"})), "/trigger_config/hmac/signed", "{body}"),
            ("webhook", hmac(&json!({"heder": "x"})), "/trigger_config/hmac/heder", "unknown field"),
            ("webhook", json!({"webhook": "a", "dedup_key": "steps.a"}), "/trigger_config/dedup_key", "steps"),
            (
                "webhook",
                json!({"webhook": "a", "respond": {"wait_seconds": 61}}),
                "/trigger_config/respond/wait_seconds",
                "1 to 60",
            ),
            (
                "webhook",
                json!({"webhook": "a", "respond": {"wait_seconds": 1, "body": {"s": "{{ run.statu }}"}}}),
                "/trigger_config/respond/body/s",
                "status",
            ),
            ("webhook", json!({"webhook": ""}), "/trigger_config/webhook", "1 to 200"),
            ("manual", json!({"match": "some"}), "/trigger_config/match", "unknown variant"),
            ("event", json!({}), "/trigger_config", "missing field `type`"),
            ("event", json!({"type": ""}), "/trigger_config/type", "1 to 200"),
            ("event", json!({"type": "a", "filter": "steps.a"}), "/trigger_config/filter", "steps"),
            ("flow_finished", json!({"statuses": ["failed"]}), "/trigger_config", "missing field `flow`"),
            ("flow_finished", json!({"flow": "a", "statuses": ["running"]}), "/trigger_config/statuses/0", "no end"),
            ("flow_finished", json!({"flow": "a", "statuses": []}), "/trigger_config/statuses", "at least one"),
            ("threshold_exceeded", json!({"metric": "cpu"}), "/trigger_config", "missing field `operator`"),
            ("threshold_exceeded", json!({"match": "all"}), "/trigger_config/match", "unknown field"),
        ] {
            let found = problems(&document(trigger, &config));
            assert_eq!(found.len(), 1, "{config}");
            assert_eq!(found[0].pointer, pointer, "{}", found[0].message);
            assert!(found[0].message.contains(words), "{}", found[0].message);
        }
        assert_eq!(problems(&document("schedule", &json!({"cron": "* * * * *"}))), [], "somebody else's business");
        assert_eq!(problems(&document("threshold_exceeded", &json!({}))), [], "for those who say so themselves");
    }

    #[test]
    fn what_an_earlier_release_saved_goes_on_or_says_why_not() {
        let owner = Owner::new(UserId(Uuid::from_u128(1)), None);
        let scope = matching_scope(Arc::default(), Arc::default(), &owner, 0);
        let failing =
            |trigger: &str, config: &Value| TriggerPlan::compile(&document(trigger, config)).failing(&scope, None);
        assert_eq!(failing("webhook", &json!({"path": "/x"})), Ok(None));
        let own = failing("webhook", &json!({"webhook": "alerts", "path": "/x"}));
        assert_eq!(own, Ok(Some("trigger_config.webhook: alerts".to_owned())), "it is not opened to others by that");
        assert_eq!(failing("event", &json!({})), Ok(None));
        let never = failing("flow_finished", &json!({})).expect("evaluates").expect("never");
        assert!(never.contains("missing field `flow`"), "{never}");
    }
}
