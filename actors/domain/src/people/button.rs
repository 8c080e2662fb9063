//! Buttons under a message in Slack. Who makes them and who takes what is pressed know them by the same words.

use crate::words::{UnknownWord, words};

/// The credential of an integration of the kind slack with which Slack signs what it sends.
pub const SIGNING_SECRET: &str = "signing_secret";
/// What the buttons of this server are called begins so, and ends with what they do.
const OURS: &str = "core314_";

words! {
    /// What a button does.
    ButtonVerb { Acknowledge = "acknowledge", Resolve = "resolve", Approve = "approve", Reject = "reject" }
}

impl ButtonVerb {
    /// What a button is called with Slack.
    pub fn action_id(self) -> String {
        format!("{OURS}{self}")
    }

    /// What a button of this name does; `None` where it is none of ours. A word that is not known may be another version's.
    pub fn of_action_id(text: &str) -> Option<Result<Self, UnknownWord>> {
        text.strip_prefix(OURS).map(str::parse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_button_is_known_again_by_its_name() {
        for verb in ButtonVerb::ALL {
            assert_eq!(ButtonVerb::of_action_id(&verb.action_id()), Some(Ok(*verb)));
        }
        assert_eq!(ButtonVerb::Approve.action_id(), "core314_approve", "messages that were sent have this name");
        assert_eq!(ButtonVerb::of_action_id("approve"), None);
        assert!(matches!(ButtonVerb::of_action_id("core314_snooze"), Some(Err(_))));
    }
}
