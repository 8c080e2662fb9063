//! Telling whoever may decide that a decision is wanted: each once in their inbox, and by what else they prefer; of a
//! [burst](super::bursts) a few times in all.

use std::collections::BTreeSet;
use std::sync::Weak;

use core314_domain::ids::{NotificationId, Owner, UserId};
use core314_domain::run::starters;
use core314_domain::words::{NotificationType, Role, RunStatus, Severity, Urgency};
use serde_json::{Map, Value, json};

use super::bursts::{Bursts, Turn};
use super::tell::cut;
use super::{Started, Starter};
use crate::failpoint;
use crate::ingress::TriggerError;
use crate::ports::notifications::{Cause, Notification};
use crate::ports::signal::Occurrence;
use crate::random::random;
use crate::recipients::Told;

const MAX_TITLE_CHARS: usize = 200;

impl Starter {
    /// Tells everybody whom a decision is for, or leaves it to another that tells of this one too. An error is one that
    /// passes: whoever has been told then is not told again.
    pub(super) async fn ask(&self, occurrence: &Occurrence) -> Result<Started, TriggerError> {
        let (key, id) = (Bursts::key(occurrence), occurrence.id);
        let turn = || self.bursts.turn(key, id, expires_at_ms(occurrence), self.runtime.now_ms());
        let mut now = turn();
        if let Turn::Waits { held: Some(held) } = now
            && is_all_that_waits(held, self.runtime.store.subject(occurrence).await?.as_ref())
        {
            self.bursts.end(key, id);
            now = turn();
        }
        if matches!(now, Turn::Waits { .. }) {
            // It stays written down, and the relay looks again soon.
            return Err(TriggerError::Busy { retry_after_seconds: 1 });
        }
        let asked = self.ask_now(occurrence, now).await;
        if asked.is_err() {
            self.bursts.forget(key);
        }
        asked
    }

    async fn ask_now(&self, occurrence: &Occurrence, turn: Turn) -> Result<Started, TriggerError> {
        if let Turn::Tells { is_digest } = turn
            && let Some(run) = self.runtime.store.subject(occurrence).await?
            && let Some(extent) = extent(&run, is_digest)
            && let Some(inbox) = self.runtime.inbox.as_ref()
        {
            for user in self.deciders(occurrence).await? {
                let notification = self.request(occurrence, &run, user, extent);
                let stands = inbox.deliver(notification.clone()).await?;
                inbox.send_on(notification, stands).await?;
            }
        }
        failpoint::hit("occurrence.started");
        self.settle(occurrence, None).await?;
        Ok(Started::default())
    }

    /// Who may decide now, as far as the directory knows them.
    async fn deciders(&self, occurrence: &Occurrence) -> Result<Vec<UserId>, TriggerError> {
        let desk = self.runtime.escalation.get().and_then(Weak::upgrade);
        let directory = desk.ok_or(TriggerError::Busy { retry_after_seconds: 1 })?.directory()?;
        let (owner, now_ms) = (occurrence.owner, self.runtime.now_ms());
        let asked = &occurrence.context["asked"];
        let excluded = if asked["allow_self"] == false { started_by(occurrence) } else { BTreeSet::new() };
        let may = |user: &UserId| !excluded.contains(user);
        let mut users = people(directory.who(owner, &names(asked), now_ms).await?);
        users.retain(may);
        if users.is_empty() {
            // They decide for a role and for a schedule that nobody has who may.
            users = people(directory.who(owner, &[role(Role::Admin)], now_ms).await?);
            users.retain(may);
        }
        Ok(users)
    }

    fn request(&self, occurrence: &Occurrence, run: &Value, user: UserId, extent: Extent) -> Notification {
        let (asked, at_ms) = (&occurrence.context["asked"], self.runtime.now_ms());
        let (title, message) = words(asked, run, extent);
        let mut metadata = Map::new();
        metadata.insert("flow_run_id".to_owned(), json!(occurrence.subject));
        metadata.insert("flow_id".to_owned(), run["orchestration_flow_id"].clone());
        // Of several it is none.
        let execution = if extent.is_digest { Value::Null } else { asked["execution_id"].clone() };
        metadata.insert("execution_id".to_owned(), execution);
        metadata.insert("pending_approvals".to_owned(), extent.wanted.into());
        Notification {
            id: NotificationId::new(at_ms, random()),
            owner: Owner { user, ..occurrence.owner },
            cause: Cause::Occurrence(occurrence.id),
            rule: None,
            kind: NotificationType::Notify,
            severity: severity(asked),
            title,
            message,
            action_url: Some(format!("/runs/{}", occurrence.subject)),
            metadata,
            is_onward: true,
            at_ms,
        }
    }
}

/// Of how much a request tells.
#[derive(Debug, Clone, Copy)]
struct Extent {
    /// Decisions that the run waits for, this one among them unless it stands for others.
    wanted: i64,
    /// It stands for all that came since the last, or for others that came with it.
    is_digest: bool,
}

/// Of how much a request tells now. One that was decided since stands for the others: nothing else tells of what was
/// asked with it. One that is alone tells of itself, whatever was held with it. `None`: there is nothing to tell.
fn extent(run: &Value, is_digest: bool) -> Option<Extent> {
    let wanted = wanted(run)?;
    let own_waits = run["own_waits"] == true;
    Some(Extent { wanted, is_digest: !own_waits || (is_digest && wanted > 1) })
}

/// How many decisions a run waits for. `None`: it has ended, or nothing is left to decide.
fn wanted(run: &Value) -> Option<i64> {
    let status = run["run_status"].as_str().and_then(|word| word.parse::<RunStatus>().ok());
    let is_over = status.is_some_and(RunStatus::is_terminal);
    run["approvals_wanted"].as_i64().filter(|wanted| *wanted > 0 && !is_over)
}

/// Whether a run waits for no more decisions than are held: whatever was told before has been decided, and holding them
/// spares nobody a message. They were counted before the run was read, so that none of them is missed in it.
fn is_all_that_waits(held: usize, run: Option<&Value>) -> bool {
    run.and_then(wanted).unwrap_or(0) <= held as i64
}

/// Who has started the run that asks.
fn started_by(occurrence: &Occurrence) -> BTreeSet<UserId> {
    starters(occurrence.context["triggered_by"].as_str().unwrap_or_default(), occurrence.owner.user)
}

fn expires_at_ms(occurrence: &Occurrence) -> Option<i64> {
    occurrence.context["expires_at_ms"].as_i64()
}

fn role(role: Role) -> String {
    format!("role:{role}")
}

/// Whom a decision is for; where it names nobody, operators and admins.
fn names(asked: &Value) -> Vec<String> {
    let named = asked["approvers"].as_array().map_or(&[][..], Vec::as_slice);
    let named: Vec<String> = named.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    if named.is_empty() { vec![role(Role::Operator), role(Role::Admin)] } else { named }
}

fn people(told: Vec<Told>) -> Vec<UserId> {
    let user = |one| if let Told::User { user, .. } = one { Some(user) } else { None };
    told.into_iter().filter_map(user).collect()
}

/// As urgent as what waits.
fn severity(asked: &Value) -> Severity {
    match asked["urgency"].as_str().and_then(|word| word.parse().ok()).unwrap_or(Urgency::Medium) {
        Urgency::Low => Severity::Low,
        Urgency::Medium => Severity::Medium,
        Urgency::High => Severity::High,
        Urgency::Critical => Severity::Critical,
    }
}

/// The title and the text of a request.
fn words(asked: &Value, run: &Value, extent: Extent) -> (String, String) {
    let said = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let flow = said(&run["flow_name"]).or_else(|| said(&asked["action_type"])).unwrap_or_else(|| "a run".to_owned());
    let id = said(&run["id"]).unwrap_or_default();
    if extent.is_digest {
        let count = extent.wanted;
        let (noun, verb) = if count == 1 { ("decision", "waits") } else { ("decisions", "wait") };
        let title = cut(&format!("{flow}: {count} {noun} {verb}"), MAX_TITLE_CHARS);
        return (title, format!("Run {id}: {count} {noun} {verb}. All are in the list of pending approvals."));
    }
    let Some(execution) = said(&asked["execution_id"]) else {
        return (
            cut(&format!("{flow} waits for approval"), MAX_TITLE_CHARS),
            format!("Run {id} starts once it is approved."),
        );
    };
    let step = said(&asked["step_id"]).unwrap_or_default();
    let what = if asked["takes_back"] == true { "taking back step" } else { "step" };
    let title = cut(&format!("{flow}: {what} '{step}' waits for approval"), MAX_TITLE_CHARS);
    let more = match extent.wanted - 1 {
        more if more > 0 => format!(" {more} more of this run: all are in the list of pending approvals."),
        _ => String::new(),
    };
    (title, format!("Execution {execution} goes on once it is approved.{more}"))
}

#[cfg(test)]
mod tests {
    use core314_domain::ids::RowId;
    use core314_domain::run::on_behalf;
    use core314_domain::words::OccurrenceKind;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn whoever_started_the_run_is_known_by_whatever_way_they_did() {
        let [owner, other] = [1, 2].map(|n| UserId(Uuid::from_u128(n)));
        let asks = |triggered_by: &str| Occurrence {
            id: RowId(Uuid::nil()),
            owner: Owner::new(owner, None),
            kind: OccurrenceKind::ApprovalRequested,
            subject: Uuid::nil(),
            context: json!({"triggered_by": triggered_by, "asked": {"allow_self": false}}),
            by: "run:1".to_owned(),
            at_ms: 0,
        };
        for (by, expected) in [
            (format!("user:{other}"), Some(other)),
            (on_behalf("service:key", other), Some(other)),
            ("service:key".to_owned(), Some(owner)),
            ("webhook:1".to_owned(), None),
        ] {
            assert_eq!(started_by(&asks(&by)), expected.into_iter().collect::<BTreeSet<_>>(), "{by}");
        }
    }

    #[test]
    fn a_request_that_was_decided_tells_of_the_others_and_one_that_is_alone_of_itself() {
        let said = |count: i64, own_waits: bool, is_digest: bool| {
            let run = json!({"id": "r", "flow_name": "release", "run_status": "running", "approvals_wanted": count,
                "own_waits": own_waits});
            let asked = json!({"step_id": "a", "execution_id": "e"});
            extent(&run, is_digest).map(|extent| words(&asked, &run, extent).0)
        };
        let (own, other) = ("release: step 'a' waits for approval", "release: 1 decision waits");
        assert_eq!(said(1, false, false).as_deref(), Some(other), "the step that is named was decided");
        assert_eq!(said(1, true, true).as_deref(), Some(own), "all others were decided");
        assert_eq!(said(2, true, true).as_deref(), Some("release: 2 decisions wait"));
        assert_eq!(said(2, true, false).as_deref(), Some(own));
        assert_eq!((said(0, false, false), said(0, false, true)), (None, None));
        let run = json!({"id": "r", "flow_name": "release", "approvals_wanted": 1, "own_waits": false});
        let extent = extent(&run, false).expect("one waits");
        assert_eq!(words(&json!({}), &run, extent).0, other, "the run itself was approved");
    }

    #[test]
    fn a_request_says_what_waits_and_is_for_whoever_may_decide() {
        let run = json!({"id": "r", "flow_name": "release"});
        let alone = Extent { wanted: 1, is_digest: false };
        assert_eq!(words(&json!({"approvers": []}), &run, alone).0, "release waits for approval");
        let step =
            json!({"step_id": "consent", "execution_id": "e", "urgency": "critical", "approvers": ["on_call:web"]});
        let said = words(&step, &run, alone);
        assert_eq!(said.0, "release: step 'consent' waits for approval");
        assert_eq!(said.1, "Execution e goes on once it is approved.");
        let undo = json!({"step_id": "consent", "execution_id": "e", "takes_back": true});
        assert_eq!(words(&undo, &run, alone).0, "release: taking back step 'consent' waits for approval");
        assert_eq!((severity(&step), severity(&json!({}))), (Severity::Critical, Severity::Medium));
        let first = words(&step, &run, Extent { wanted: 50, ..alone });
        assert_eq!(first.0, said.0);
        assert!(first.1.ends_with(" 49 more of this run: all are in the list of pending approvals."), "{}", first.1);
        let digest = |wanted| words(&step, &run, Extent { wanted, is_digest: true });
        assert_eq!(
            (digest(1).0, digest(7).0),
            ("release: 1 decision waits".to_owned(), "release: 7 decisions wait".to_owned())
        );
        let wants = |status: &str, count: i64| wanted(&json!({"run_status": status, "approvals_wanted": count}));
        assert_eq!([wants("running", 2), wants("running", 0), wants("cancelled", 2)], [Some(2), None, None]);
        let run = |status: &str, count: i64| json!({"run_status": status, "approvals_wanted": count});
        let is_all = |held, status, count| is_all_that_waits(held, Some(&run(status, count)));
        assert_eq!((is_all(1, "running", 1), is_all(1, "running", 2)), (true, false), "what was told still waits");
        assert!(is_all(1, "cancelled", 2) && is_all_that_waits(1, None), "nothing waits");
        assert_eq!(names(&step), ["on_call:web"]);
        assert_eq!(names(&json!({"approvers": []})), ["role:operator", "role:admin"]);
    }
}
