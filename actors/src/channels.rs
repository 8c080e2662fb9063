//! The channels of flows against what their tenant has: how each is told, and why some tell nobody.

use core314_domain::document::channels::{self, Telling, Way};
use core314_domain::ids::Owner;
use core314_domain::people::ContactKind;
use core314_domain::words::Severity;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::engine::people::{CONTACT, KIND, SEND};
use crate::escalations::Desk;
use crate::integrations::Known;
use crate::ports::StoreError;
use crate::recipients::{self, Told};
use crate::runtime::Runtime;

/// Actions that one message is made of; more people are not told.
const MOST_ACTIONS: usize = 200;

/// How a channel is told of something this severe, as far as the executor that does it can see; or why it tells nobody.
pub(crate) fn way(runtime: &Runtime, known: &Known, word: &str, severity: Severity) -> Result<Way, String> {
    let way = channels::way(word, severity, |name| known.integration(name).map(|found| found.kind.clone()))?;
    let sample;
    let action = match &way {
        Way::Action(action) => action,
        Way::Contacts { kind, target } => {
            sample = to_somebody(*kind, target);
            &sample
        }
    };
    let executor = runtime.executors.get(action.action_type);
    let executor = executor.ok_or_else(|| format!("'{word}' tells nobody: there is no {}", action.action_type))?;
    match known.check(executor.as_ref(), &action.target, &action.payload).first() {
        Some(problem) => Err(format!("'{word}' tells nobody: {} {}", problem.pointer, problem.message)),
        None => Ok(way),
    }
}

/// A message to somebody who may exist.
fn to_somebody(kind: ContactKind, target: &str) -> Telling {
    let payload = json!({CONTACT: Uuid::nil(), KIND: kind, "title": "title", "message": "message"});
    Telling { action_type: SEND, target: target.to_owned(), payload }
}

/// What is told, and of whose run.
pub(crate) struct Message<'m> {
    pub owner: Owner,
    /// With `title`, `message` and `severity`.
    pub context: &'m Value,
}

impl Message<'_> {
    fn said(&self, name: &str) -> &str {
        self.context[name].as_str().unwrap_or_default()
    }

    fn severity(&self) -> Severity {
        self.said("severity").parse().unwrap_or(Severity::High)
    }
}

/// What tells a list of channels.
#[derive(Default)]
pub(crate) struct Tellings {
    pub actions: Vec<Telling>,
    /// Why others tell nobody.
    pub untold: Vec<String>,
}

impl Tellings {
    /// The actions that tell these channels of a message. An error is one that passes.
    pub async fn of(
        runtime: &Runtime,
        desk: &Desk,
        words: &[String],
        message: &Message<'_>,
    ) -> Result<Self, StoreError> {
        let known = runtime.integrations.of(runtime.catalog.as_ref(), message.owner.tenant).await?;
        let mut found = Self::default();
        for word in words.iter().take(channels::MAX_CHANNELS) {
            match way(runtime, &known, word, message.severity()) {
                Ok(Way::Action(action)) => found.actions.push(action),
                Ok(Way::Contacts { kind, target }) => found.add_contacts(desk, words, message, (kind, &target)).await?,
                Err(why) => found.untold.push(why),
            }
        }
        found.actions.truncate(MOST_ACTIONS);
        Ok(found)
    }

    /// Messages by one kind of contact method, to whom the list names, or else to whoever the run belongs to.
    async fn add_contacts(
        &mut self,
        desk: &Desk,
        words: &[String],
        message: &Message<'_>,
        (kind, target): (ContactKind, &str),
    ) -> Result<(), StoreError> {
        let (directory, people) = (desk.directory()?, desk.people_book()?);
        let mut names = channels::recipients(words);
        if names.is_empty() {
            names.push(format!("user:{}", message.owner.user));
        }
        for told in directory.who(message.owner, &names, desk.now_ms()).await? {
            let (user, of) = match told {
                Told::User { user, of, .. } => (user, of),
                Told::Nobody { of, why } => {
                    self.untold.push(format!("'{target}' does not tell {of}: {why}"));
                    continue;
                }
            };
            let contacts = recipients::verified(people.as_ref(), (message.owner.tenant, user), kind).await?;
            if contacts.is_empty() {
                self.untold.push(format!("'{target}' does not tell {of}: they have no verified {kind}"));
            }
            self.actions.extend(contacts.iter().map(|contact| Telling {
                action_type: SEND,
                target: target.to_owned(),
                payload: recipients::message(
                    contact,
                    message.said("title"),
                    message.said("message"),
                    message.severity(),
                ),
            }));
        }
        Ok(())
    }
}
