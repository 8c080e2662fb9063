//! Steps of events that are committed together: each gives what it would have given by itself.

use std::sync::Arc;

use core314_actors::ports::Scope;
use core314_actors::ports::dependency::Holder;
use core314_actors::ports::escalation::{
    EscalationBook, EscalationWrite, EventBefore, EventStep, HeldBackNote, OutboxKind, OutboxRow, OutboxStatus,
    OutboxStep, PutOff, StoredEscalation, StoredRule, Verdicts,
};
use core314_actors::ports::resource::Resource;
use core314_actors::ports::signal::{NewRecommendation, Occurrence, SignalWrite};
use core314_actors::ports::store::{Outcome, Store, Write};
use core314_actors::ports::views::Views;
use core314_actors::testkit::store_suite::commit;
use core314_actors::testkit::store_suite::samples::{NOW_MS, Samples};
use core314_domain::escalation::{
    Command, EscalationReason, EscalationStatus, Event, Failure, HeldBack, Purpose, Rule, RuleDocument, Surroundings,
};
use core314_domain::ids::{Owner, RowId};
use core314_domain::words::{OccurrenceKind, Urgency};
use serde_json::json;

use super::bed::Bed;

const DONE: Outcome = Outcome::Committed { log_seq: None };

/// A rule with open events, and failures that are written down.
struct Scene<'b> {
    bed: &'b Bed,
    samples: Samples,
    owner: Owner,
    rule: Rule,
}

impl<'b> Scene<'b> {
    async fn new(bed: &'b Bed) -> Self {
        let mut samples = Samples::new(31);
        let (owner, rule) = (samples.owner(), rule(&mut samples, "model"));
        let mut scene = Self { bed, samples, owner, rule };
        scene.save(scene.rule.clone()).await;
        scene
    }

    /// From now on events are of another rule.
    async fn of_rule(&mut self, name: &str) {
        self.rule = rule(&mut self.samples, name);
        self.save(self.rule.clone()).await;
    }

    async fn save(&mut self, rule: Rule) {
        let owner = self.owner;
        let stored = StoredRule {
            id: rule.id,
            owner,
            version: 0,
            document: rule.document,
            created_by: owner.user,
            updated_by: owner.user,
            heartbeat_due_ms: None,
        };
        let audit = self.samples.audit(owner, 0);
        let write = EscalationWrite::Rule { rule: Box::new(stored), expected_version: 0, audit, at_ms: NOW_MS };
        assert_eq!(self.commit(vec![Write::Escalation(Arc::new(write))]).await, [DONE]);
    }

    /// Which of these rules holds what depends on them.
    async fn holder(&self, rules: &[(&str, Option<(i64, RowId)>)]) -> Option<String> {
        self.holder_for(self.owner, rules).await
    }

    async fn holder_for(&self, owner: Owner, rules: &[(&str, Option<(i64, RowId)>)]) -> Option<String> {
        let rules = rules.iter().map(|(name, before)| Holder { name: (*name).to_owned(), before: *before });
        self.bed.open_among(owner.tenant, rules.collect()).await.expect("it is read")
    }

    async fn commit(&self, writes: Vec<Write>) -> Vec<Outcome> {
        commit(&**self.bed, writes).await
    }

    /// An event on a subject, as its first commit leaves it.
    async fn opened(&mut self, subject: &str) -> StoredEscalation {
        let step = self.beginning(subject);
        let escalation = step.escalation.clone();
        assert_eq!(self.commit(vec![write(step)]).await, [DONE]);
        StoredEscalation { version: 1, ..escalation }
    }

    /// The first step of an event on a subject.
    fn beginning(&mut self, subject: &str) -> EventStep {
        let failure = Failure::described(EscalationReason::RunFailed, Arc::new(json!({})), NOW_MS);
        let opening = (self.samples.row_id(), self.owner.user, subject.to_owned());
        let decision = Event::open(&self.rule, &failure, opening, 0, &Surroundings::default(), NOW_MS);
        let escalation = StoredEscalation {
            id: self.samples.row_id(),
            owner: self.owner,
            rule: self.rule.id,
            rule_version: 1,
            execution: None,
            log: None,
            flow: None,
            run: None,
            event: decision.event,
            context: Arc::new(json!({})),
            verdicts: Some(Arc::new(Verdicts { asked: json!({}), conditions_met: json!({}) })),
            tags: Vec::new(),
            deadlines: (None, None),
            version: 0,
            wake_ms: None,
        };
        EventStep {
            escalation,
            bundles: false,
            before: None,
            outbox: Vec::new(),
            stops: None,
            settles: None,
            audit: Vec::new(),
            at_ms: NOW_MS,
        }
    }

    /// What has become of all that an event wants done, and when it is looked at again.
    async fn sent(&self, of: &StoredEscalation, wake_ms: i64) -> Write {
        let mut rows = self.bed.outbox(of.id).await.expect("they are read");
        rows.iter_mut().for_each(|row| row.status = OutboxStatus::Sent);
        let (tenant, version, at_ms) = (self.owner.tenant, self.now(of).await.version, NOW_MS + 90_000);
        let step = OutboxStep { escalation: of.id, tenant, version, wake_ms: Some(wake_ms), rows, at_ms };
        Write::Escalation(Arc::new(EscalationWrite::Outbox(step)))
    }

    /// A command's step on an event, which takes a failure and has something done.
    fn step(&mut self, of: &StoredEscalation, command: &Command, settles: Option<RowId>) -> EventStep {
        let (around, at_ms) = (Surroundings::default(), NOW_MS + 60_000);
        let decision = of.event.decide(&self.rule, command, &around, at_ms).expect("it is taken");
        let id = self.samples.row_id();
        let task = OutboxRow {
            id,
            escalation: of.id,
            level: 1,
            round: 0,
            purpose: Purpose::Level,
            kind: OutboxKind::Notify,
            channel: "in_app".to_owned(),
            target: None,
            payload: json!({}),
            found_by: None,
            key: id.to_string(),
            status: OutboxStatus::Pending,
            is_unknown: false,
            is_stopped: false,
            run: None,
            error: None,
            tries: 0,
            not_before_ms: None,
            sent_ms: None,
        };
        EventStep {
            escalation: StoredEscalation { event: decision.event, ..of.clone() },
            bundles: false,
            before: Some(EventBefore::of(&of.event)),
            outbox: vec![task],
            stops: None,
            settles,
            audit: Vec::new(),
            at_ms,
        }
    }

    /// A failure on a subject of its own that a throttle holds back.
    fn held(&mut self, owner: Owner, tell_ms: Option<i64>) -> HeldBackNote {
        let id = self.samples.row_id();
        HeldBackNote {
            id,
            owner,
            rule: self.rule.id,
            rule_version: 1,
            execution: None,
            log: None,
            flow: None,
            run: None,
            reason: EscalationReason::RunFailed,
            subject: id.to_string(),
            urgency: Urgency::High,
            by: HeldBack::Throttle { max: 1, minutes: "60".to_owned() },
            context: json!({}),
            asked: json!({}),
            conditions_met: json!({}),
            settles: None,
            tell_ms,
            at_ms: NOW_MS,
        }
    }

    /// Puts off what the rule has held back of its owner's, in one commit.
    async fn put_off(&self, tell_ms: Option<i64>) {
        let put_off = PutOff { rule: self.rule.id, tenant: self.owner.tenant, tell_ms };
        let write = Write::Escalation(Arc::new(EscalationWrite::PutOff(put_off)));
        assert_eq!(self.commit(vec![write]).await, [DONE]);
    }

    /// What wakes before a time.
    async fn waking(&self, until_ms: i64) -> Vec<RowId> {
        let waking = self.bed.waking(until_ms, None, 1_000).await.expect("they are read");
        waking.into_iter().map(|waking| waking.escalation).collect()
    }

    fn join(&mut self, of: &StoredEscalation, settles: RowId) -> EventStep {
        let cause = self.samples.row_id();
        self.step(of, &Command::Join { cause, urgency: None }, Some(settles))
    }

    /// Something that is written down until it is settled.
    async fn noted(&mut self) -> RowId {
        let (id, audit) = (self.samples.row_id(), self.samples.audit(self.owner, 0));
        let occurrence = Occurrence {
            id: self.samples.row_id(),
            owner: self.owner,
            kind: OccurrenceKind::RecommendationCreated,
            subject: id.0,
            context: json!({}),
            by: "user:1".to_owned(),
            at_ms: NOW_MS,
        };
        let noted = occurrence.id;
        let new = NewRecommendation {
            id,
            owner: self.owner,
            decision: None,
            title: "t".to_owned(),
            action_type: "transform".to_owned(),
            action_target: String::new(),
            action_payload: json!({}),
            priority: 1,
            idempotency: None,
            occurrence,
            audit,
            at_ms: NOW_MS,
        };
        let write = Write::Signal(Box::new(SignalWrite::Recommendation(new)));
        assert_eq!(self.commit(vec![write]).await, [DONE]);
        noted
    }

    async fn now(&self, of: &StoredEscalation) -> StoredEscalation {
        let found = self.bed.escalation(Scope::Platform, of.id).await.expect("it is read");
        found.expect("it is there")
    }

    async fn tasks(&self, of: &StoredEscalation) -> usize {
        self.bed.outbox(of.id).await.expect("they are read").len()
    }

    /// By which transactions, and which statements of each, PostgreSQL wrote events and what was to be sent of one, and its
    /// figures of their rule.
    async fn written_by(&self, events: &[RowId]) -> Vec<(String, String)> {
        let ids = events.iter().map(|id| format!("'{}'", id.0)).collect::<Vec<_>>().join(", ");
        let mut raw = self.bed.raw().await;
        raw.run("SET ROLE core314_service").await.expect("the login is a member");
        let of = |rows: &str| format!("SELECT xmin::text, cmin::text FROM {rows}");
        let rows = [
            of(&format!("escalations WHERE id IN ({ids})")),
            of(&format!("outbox WHERE escalation_id IN ({ids})")),
            of(&format!("rules WHERE id = '{}'", self.rule.id.0)),
        ];
        raw.pairs(&rows.join(" UNION ")).await
    }

    /// What is still written down, of these.
    async fn left(&self, noted: &[RowId]) -> Vec<RowId> {
        let page = self.bed.occurrences(None, 100).await.expect("a page");
        let left: Vec<RowId> = page.into_iter().map(|occurrence| occurrence.id).collect();
        noted.iter().copied().filter(|id| left.contains(id)).collect()
    }
}

fn rule(samples: &mut Samples, name: &str) -> Rule {
    let document = RuleDocument::from_value(json!({
        "rule_name": name, "escalation_levels": [{"level": 1, "actions": ["notify_user"]}],
    }));
    Rule::compile(samples.row_id(), document.expect("a document")).expect("a rule")
}

fn write(step: EventStep) -> Write {
    Write::Escalation(Arc::new(EscalationWrite::Step(Box::new(step))))
}

fn settled(id: RowId, by: Owner) -> Write {
    Write::Signal(Box::new(SignalWrite::Settled { id, tenant: by.tenant, audit: Vec::new() }))
}

#[tokio::test]
async fn steps_of_one_batch_are_each_as_if_alone() {
    for bed in [Bed::sqlite().await, Bed::postgres().await] {
        let mut scene = Scene::new(&bed).await;
        let [a, b, c, d] =
            [scene.opened("a").await, scene.opened("b").await, scene.opened("c").await, scene.opened("d").await];
        let noted = [scene.noted().await, scene.noted().await, scene.noted().await];
        let resolve = Command::Resolve { by: "user:1".to_owned(), notes: None, failed: false };
        let joins = scene.join(&a, noted[0]);
        let next = StoredEscalation { version: 2, ..joins.escalation.clone() };
        let stale = scene.join(&StoredEscalation { version: 7, ..c.clone() }, noted[1]);
        let steps = [
            joins,
            scene.step(&b, &resolve, None),
            stale,
            scene.step(&d, &resolve, None),
            // Decided on what the first has left: it follows it.
            scene.join(&next, noted[2]),
        ];
        let outcomes = scene.commit(Vec::from(steps.map(write))).await;
        assert_eq!(outcomes, [DONE, DONE, Outcome::Conflict, DONE, DONE], "{}", bed.url);

        let (a_now, c_now) = (scene.now(&a).await, scene.now(&c).await);
        assert_eq!((a_now.version, a_now.event.count), (3, 3), "{}", bed.url);
        assert_eq!((c_now.version, c_now.event.count), (1, 1), "{}", bed.url);
        for ended in [&b, &d] {
            assert_eq!(scene.now(ended).await.event.status, EscalationStatus::Resolved, "{}", bed.url);
        }
        assert_eq!((scene.tasks(&a).await, scene.tasks(&c).await), (2, 0), "nothing comes with a step that conflicts");
        assert_eq!(scene.left(&noted).await, [noted[1]], "{}", bed.url);
        let (scope, id) = (Scope::Tenant(scene.owner.tenant), scene.rule.id);
        let rule = bed.one(scope, Resource::EscalationRules, id.0).await.expect("it is read").expect("it is there");
        let figures = (&rule["total_escalations"], &rule["successful_resolutions"]);
        assert_eq!(figures, (&json!(4), &json!(2)), "both of one statement count: {}", bed.url);
    }
}

/// What begins, moves on and was sent, of different events: PostgreSQL writes it by one statement, and looks where that fails.
#[tokio::test]
async fn different_events_of_one_batch_are_each_as_if_alone() {
    for bed in [Bed::sqlite().await, Bed::postgres().await] {
        let mut scene = Scene::new(&bed).await;
        let (a, b, c) = (scene.opened("a").await, scene.opened("b").await, scene.opened("c").await);
        let silent = scene.held(scene.owner, Some(NOW_MS + 1_000));
        let silent = EscalationWrite::HeldBack(Box::new(silent));
        let noted = [scene.noted().await, scene.noted().await];
        let asked = scene.step(&b, &Command::Join { cause: noted[1], urgency: None }, None);
        let first = vec![write(asked), Write::Escalation(Arc::new(silent))];
        assert_eq!(scene.commit(first).await, [DONE, DONE], "{}", bed.url);
        assert_eq!(scene.tasks(&b).await, 1, "{}", bed.url);

        let mut new = scene.beginning("new");
        new.settles = Some(noted[1]);
        let next = new.escalation.clone();
        let sent = scene.sent(&b, NOW_MS + 500).await;
        let batch = vec![write(scene.join(&a, noted[0])), write(new), sent];
        assert_eq!(scene.commit(batch).await, [DONE, DONE, DONE], "{}", bed.url);
        assert_eq!((scene.now(&a).await.event.count, scene.now(&next).await.version), (2, 1), "{}", bed.url);
        assert!(scene.left(&noted).await.is_empty(), "{}", bed.url);
        assert_eq!(scene.tasks(&b).await, 0, "what was sent is over: {}", bed.url);
        if bed.url.starts_with("postgres") {
            let by = scene.written_by(&[a.id, b.id, next.id]).await;
            assert_eq!(by.len(), 1, "all of it by one statement: {by:?}");
        }
        // What was held back is told by the new one.
        assert_eq!(scene.waking(NOW_MS + 2_000).await, [b.id], "{}", bed.url);

        // One of each that comes too late, and one that does not.
        let late = [scene.noted().await, scene.noted().await];
        let mut twice = scene.beginning("new");
        twice.settles = Some(late[0]);
        let batch = vec![write(scene.join(&a, late[1])), write(twice), write(scene.step(&c, &Command::Look, None))];
        assert_eq!(scene.commit(batch).await, [Outcome::Conflict, Outcome::Conflict, DONE], "{}", bed.url);
        assert_eq!((scene.now(&a).await.version, scene.now(&c).await.version), (2, 2), "{}", bed.url);
        assert_eq!(scene.left(&late).await, late, "nothing comes with a step that conflicts: {}", bed.url);
        let (scope, id) = (Scope::Tenant(scene.owner.tenant), scene.rule.id);
        let rule = bed.one(scope, Resource::EscalationRules, id.0).await.expect("it is read").expect("it is there");
        assert_eq!(rule["total_escalations"], json!(4), "{}", bed.url);
    }
}

#[tokio::test]
async fn occurrences_of_one_batch_are_crossed_out_by_their_own_tenants() {
    for bed in [Bed::sqlite().await, Bed::postgres().await] {
        let mut scene = Scene::new(&bed).await;
        let noted = [scene.noted().await, scene.noted().await, scene.noted().await];
        let (owner, stranger) = (scene.owner, scene.samples.owner());
        let writes = vec![settled(noted[0], owner), settled(noted[1], stranger), settled(noted[2], owner)];
        assert_eq!(scene.commit(writes).await, [DONE, DONE, DONE]);
        assert_eq!(scene.left(&noted).await, [noted[1]], "{}", bed.url);
    }
}

/// A flood that is held back costs one statement each time it is put off, and a row that woke with the others has nothing to do.
#[tokio::test]
async fn all_that_a_rule_holds_back_is_put_off_by_one_commit() {
    const FLOOD: usize = 200;
    let (due_ms, later_ms) = (NOW_MS + 1_000, NOW_MS + 60_000);
    for bed in [Bed::sqlite().await, Bed::postgres().await] {
        let mut scene = Scene::new(&bed).await;
        let (owner, stranger, rule) = (scene.owner, scene.samples.owner(), scene.rule.id);
        let mut notes: Vec<HeldBackNote> = (0..FLOOD).map(|_| scene.held(owner, Some(due_ms))).collect();
        let (last, silent) = (scene.held(owner, Some(later_ms + 1)), scene.held(owner, None));
        let foreign = scene.held(stranger, Some(due_ms));
        let (first, last_id, silent_id, foreign_id) = (notes[0].id, last.id, silent.id, foreign.id);
        notes.extend([last, silent, foreign]);
        let writes =
            notes.into_iter().map(|note| Write::Escalation(Arc::new(EscalationWrite::HeldBack(Box::new(note)))));
        assert!(scene.commit(writes.collect()).await.iter().all(|outcome| *outcome == DONE), "{}", bed.url);
        assert_eq!(scene.waking(later_ms).await.len(), FLOOD + 1, "{}", bed.url);
        let held_back = bed.held_back(owner.tenant, rule).await.expect("they are counted");
        assert_eq!(held_back, FLOOD as u64 + 2, "a tenant's own: {}", bed.url);

        scene.put_off(Some(later_ms)).await;
        assert_eq!(scene.waking(later_ms).await, [foreign_id], "another tenant's is left alone: {}", bed.url);
        assert_eq!(scene.waking(later_ms + 1).await.len(), FLOOD + 1, "{}", bed.url);
        for (tenant, row, told_ms) in [
            (owner.tenant, first, Some(later_ms)),
            (owner.tenant, last_id, Some(later_ms + 1)),
            (owner.tenant, silent_id, None),
            (stranger.tenant, first, None),
            (stranger.tenant, foreign_id, Some(due_ms)),
        ] {
            assert_eq!(bed.told_at_latest(tenant, row).await.expect("it is read"), told_ms, "{}", bed.url);
        }

        scene.put_off(None).await;
        assert_eq!(scene.waking(later_ms + 2).await, [foreign_id], "the others wait for a message: {}", bed.url);
        assert_eq!(bed.told_at_latest(owner.tenant, first).await.expect("it is read"), None, "{}", bed.url);
    }
}

#[tokio::test]
async fn an_open_event_holds_by_the_place_of_its_rule_and_where_it_is_asked_by_its_age() {
    for bed in [Bed::sqlite().await, Bed::postgres().await] {
        let mut scene = Scene::new(&bed).await;
        let model = scene.opened("a").await;
        scene.of_rule("other").await;
        let other = scene.opened("b").await;
        let began = |of: &StoredEscalation| Some((of.event.triggered_ms, of.id));
        // Of one moment, which their ids tell apart.
        let mut both = [(began(&model), "model"), (began(&other), "other")];
        both.sort_unstable();
        let [(first, first_name), (second, second_name)] = both;
        // Each names the other: the one that began first is held by none, and holds the other.
        assert_eq!(scene.holder(&[(second_name, first)]).await, None, "{}", bed.url);
        assert_eq!(scene.holder(&[(first_name, second)]).await.as_deref(), Some(first_name), "{}", bed.url);
        let sooner = Some((NOW_MS - 1, RowId(uuid::Uuid::max())));
        assert_eq!(scene.holder(&[(first_name, sooner)]).await, None, "{}", bed.url);
        // Of many the first that is open, whenever it began.
        let many: Vec<String> = (0..90).map(|no| format!("quiet{no}")).collect();
        let mut asked: Vec<(&str, _)> = many.iter().map(|name| (name.as_str(), None)).collect();
        assert_eq!(scene.holder(&asked).await, None, "{}", bed.url);
        asked.extend([("other", None), ("model", None)]);
        assert_eq!(scene.holder(&asked).await.as_deref(), Some("other"), "{}", bed.url);
        let stranger = scene.samples.owner();
        assert_eq!(scene.holder_for(stranger, &asked).await, None, "{}", bed.url);
        let resolve = Command::Resolve { by: "user:1".to_owned(), notes: None, failed: false };
        let end = scene.step(&other, &resolve, None);
        assert_eq!(scene.commit(vec![write(end)]).await, [DONE]);
        assert_eq!(scene.holder(&asked).await.as_deref(), Some("model"), "{}", bed.url);
    }
}
