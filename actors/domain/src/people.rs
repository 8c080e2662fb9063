//! People: who they are in a tenant, how each of them is reached, and how they want to be told.
//!
//! A person is a [`UserId`](crate::ids::UserId); a tenant knows them by an e-mail address, a name and a role. They are
//! reached by contact methods that they have proven to be theirs, as their preferences say.

mod button;
mod code;
mod contact;
mod markup;
mod preferences;

pub use button::{ButtonVerb, SIGNING_SECRET};
pub use code::{CodeError, CodeRules, CodeState};
pub use contact::{address_problem, channel};
pub use markup::{word_for_word, word_for_word_of};
pub use preferences::{Delivery, Preferences, PreferencesDocument, QuietDocument, RouteDocument, When, Wish};

use crate::plan::Problem;
use crate::words::words;

words! {
    /// By what a person is reached.
    ContactKind { Email = "email", Sms = "sms", Slack = "slack", Webhook = "webhook" }
}

/// A name is no text.
const MOST_NAME_CHARS: usize = 200;

/// What is wrong with a person's or an organization's name.
pub fn name_problem(name: &str) -> Option<Problem> {
    let chars = name.trim().chars().count();
    let is_plain = !name.chars().any(char::is_control);
    let is_good = (1..=MOST_NAME_CHARS).contains(&chars) && is_plain;
    (!is_good).then(|| Problem::new("/name", format!("must have 1 to {MOST_NAME_CHARS} characters on one line")))
}
