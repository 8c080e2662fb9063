//! What serde says of a key or word that it does not know, with the one that was meant.
//!
//! Its messages list what is known (``unknown field `x`, expected one of `a`, `b` ``); the lists are long, and the answer
//! nearly always stands in them.

use crate::suggest::did_you_mean;

/// The message, with a question where it is about an unknown key or word.
pub(super) fn explained(message: &str) -> String {
    if !message.contains("unknown field `") && !message.contains("unknown variant `") {
        return message.to_owned();
    }
    // Between the backticks stand the words: the unknown one, then those that are known.
    let mut words = message.split('`').skip(1).step_by(2);
    let Some(unknown) = words.next() else { return message.to_owned() };
    format!("{message}{}", did_you_mean(unknown, words))
}

#[cfg(test)]
mod tests {
    use super::super::FlowDocument;
    use super::*;

    #[test]
    fn the_key_that_was_meant_is_proposed() {
        let refused = |text: &str| FlowDocument::from_text(text).expect_err(text).to_string();
        let text = "flow_name: a\ntriger_type: manual\nflow_steps: []\n";
        let message = refused(text);
        assert!(message.contains("line 2") && message.ends_with("did you mean `trigger_type`?"), "{message}");
        let message = refused("{\"flow_name\": \"a\", \"trigger_type\": \"webhok\"}");
        assert!(message.ends_with("did you mean `webhook`?"), "{message}");
        let message =
            refused("flow_name: a\ntrigger_type: manual\nflow_steps:\n  - {id: x, confg: {action_type: transform}}\n");
        assert!(message.ends_with("did you mean `config`?"), "{message}");
    }

    #[test]
    fn other_messages_stay() {
        for message in ["missing field `id`", "unknown field ", "unknown field `x", "invalid type: string \"`a`\""] {
            assert_eq!(explained(message), message);
        }
        assert_eq!(explained("unknown field `zzzzzz`, expected `a`"), "unknown field `zzzzzz`, expected `a`");
    }
}
