//! Who asks for something: clients that trigger flows until they are answered, and people who decide what runs wait for.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use core314_actors::clock::rfc3339;
use core314_actors::flow_run::Remark;
use core314_actors::ingress::{IdempotencyRequest, Target, Trigger, Triggered};
use core314_actors::ports::Scope;
use core314_domain::ids::{RunId, StepNo, UserId};
use core314_domain::run::{Command, Voter};
use core314_domain::words::{Role, TriggerType};
use serde_json::{Value, json};
use uuid::Uuid;

use super::rng::Rng;
use super::world::{START_MS, World, owner};

/// How long a client waits for its answer.
const PATIENCE_MS: i64 = 5_000;

/// A client with one trigger, which it sends again under the same key until it is answered.
pub struct Client {
    no: usize,
    sends_at_ms: i64,
    /// Sent when it sends the first time.
    context: Option<Value>,
    answer: Rc<RefCell<Option<RunId>>>,
}

impl Client {
    pub fn new(no: usize, rng: &mut Rng) -> Self {
        Self { no, sends_at_ms: START_MS + rng.below(25_000) as i64, context: None, answer: Rc::default() }
    }

    /// It has its answer.
    pub fn is_served(&self) -> bool {
        self.answer.borrow().is_some()
    }
}

impl World {
    /// Whoever wants something asks for it.
    pub fn ask(&mut self) {
        let now_ms = self.now_ms;
        for no in 0..self.clients.len() {
            let client = &self.clients[no];
            if !client.is_served() && client.sends_at_ms <= now_ms {
                self.send(no);
            }
        }
        let patience = if self.is_calm() { 300 } else { 30 };
        if self.rng.chance(patience) {
            self.decide();
        }
    }

    fn send(&mut self, no: usize) {
        let flow = self.flows[no % self.flows.len()];
        let now_ms = self.now_ms;
        let client = &mut self.clients[no];
        client.sends_at_ms = now_ms + PATIENCE_MS;
        let context = || json!({"items": [1, 2, 3], "soon": rfc3339(now_ms + 8_000)});
        let context = client.context.get_or_insert_with(context).clone();
        let (no, heard) = (client.no, client.answer.clone());
        let trigger = Trigger {
            owner: owner(),
            target: Target::Flow(flow),
            trigger_type: TriggerType::Manual,
            source: "manual".into(),
            context: Arc::new(context),
            webhook: Arc::default(),
            triggered_by: "user:7".into(),
            decision_event_id: None,
            recommendation_id: None,
            parent_run_id: None,
            run_key: None,
            idempotency: Some(IdempotencyRequest { key: format!("client-{no}"), body_hash: [no as u8; 32] }),
        };
        let Some(node) = self.somebody() else { return };
        let (Some(engine), wire) = (node.engine(), node.wire.clone()) else { return };
        node.spawn(async move {
            match engine.trigger(trigger).await {
                Ok(Triggered::Accepted(accepted) | Triggered::Repeated(accepted)) => {
                    wire.promises(no, accepted.run);
                    *heard.borrow_mut() = Some(accepted.run);
                }
                // Whoever is told to come back does so.
                other => wire.note(&format!("client {no} hears {other:?}")),
            }
        });
    }

    /// A person says yes or no to something that a run waits for.
    fn decide(&mut self) {
        let wishes = self.db.witness().wishes();
        if wishes.is_empty() {
            return;
        }
        let (run, step) = self.rng.pick(&wishes);
        let user = UserId(Uuid::from_u128(9 + self.rng.below(5) as u128));
        let by = Voter { user, role: Role::Operator, notes: None, form: Arc::default(), on_duty: Arc::default() };
        let rejects = self.rng.chance(150);
        let Some(node) = self.somebody() else { return };
        let Some(engine) = node.engine() else { return };
        node.spawn(async move {
            let command = if rejects { Command::Reject { step, by } } else { Command::Approve { step, by } };
            // It may have been decided meanwhile; and whoever was not heard says it once more.
            drop(engine.tell(Scope::Platform, run, command, Remark::default()).await);
        });
    }
}

/// What a run asks people: on itself, or on a step.
pub type Wish = (RunId, Option<StepNo>);
