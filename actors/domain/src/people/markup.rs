//! Texts from outside in chats whose messages are markup. Shown word for word they mention nobody and hide no address behind
//! other words: what has failed may say whatever somebody has sent.

/// Slack reads `<…>` as mentions and links, and these as what they stand for
/// (<https://docs.slack.dev/messaging/formatting-message-text>).
const SLACK: &[(&str, &str)] = &[("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")];
/// Teams and Discord read `[words](address)` as a link. Mentions need more than a text there.
const LINKS: &[(&str, &str)] = &[("](", "] (")];

/// What stands for what in the chats of a kind, in this order.
fn replaced(kind: &str) -> &'static [(&'static str, &'static str)] {
    match kind {
        "slack" => SLACK,
        "teams" | "discord" => LINKS,
        _ => &[],
    }
}

/// A text as what is of this kind shows it word for word.
pub fn word_for_word(kind: &str, text: &str) -> String {
    replaced(kind).iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// The same for a template: the value of this name.
pub fn word_for_word_of(kind: &str, name: &str) -> String {
    let filters: Vec<String> = replaced(kind).iter().map(|(from, to)| format!("|replace('{from}', '{to}')")).collect();
    format!("{{{{ {name}{} }}}}", filters.concat())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::expr::{Names, Template};
    use crate::ids::{Owner, UserId};
    use crate::run::matching_scope;

    const PLANTED: &str = "<!channel> a & b: <https://evil.example|sign in> [sign in](https://evil.example)";

    #[test]
    fn nothing_in_a_text_from_outside_is_markup() {
        let slack = "&lt;!channel&gt; a &amp; b: &lt;https://evil.example|sign in&gt; [sign in](https://evil.example)";
        let links = "<!channel> a & b: <https://evil.example|sign in> [sign in] (https://evil.example)";
        for (kind, expected) in
            [("slack", slack), ("teams", links), ("discord", links), ("smtp", PLANTED), ("in_app", PLANTED)]
        {
            assert_eq!(word_for_word(kind, PLANTED), expected, "{kind}");
        }
    }

    #[test]
    fn a_template_says_the_same_as_the_text_would() {
        let owner = Owner::new(UserId(Uuid::from_u128(1)), None);
        let trigger = Arc::new(json!({"message": PLANTED}));
        let scope = matching_scope(trigger, Arc::default(), &owner, 0);
        for kind in ["slack", "teams", "discord", "pagerduty"] {
            let source = json!({"text": word_for_word_of(kind, "trigger.message")});
            let template = Template::parse(&source, &Names::new(&["trigger"], &[])).expect("a template");
            assert_eq!(template.render(&scope), Ok(json!({"text": word_for_word(kind, PLANTED)})), "{kind}");
        }
        assert_eq!(word_for_word_of("pagerduty", "trigger.title"), "{{ trigger.title }}");
    }
}
