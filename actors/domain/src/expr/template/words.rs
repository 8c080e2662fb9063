//! What the words of a `{{ … }}` mean, looked at one by one: names, filters, tests, operators.
//!
//! The engine notices an unknown filter or a member of an undefined value only when it renders, and then without a
//! place. Here every word that is wrong is refused when the template is saved, at its own character.

use super::super::filters::{self, FILTERS, TESTS};
use super::super::limits;
use super::super::path::{self, Path};
use super::super::scope::{Names, ROOTS};
use super::super::syntax::{Fault, Kind, Token};
use crate::suggest::{did_you_mean, meant_or_known};

/// Refuses the operators that could multiply what is in the scope.
pub(super) fn check_operators(found: &[Token<'_>]) -> Result<(), Fault> {
    let marks = || found.iter().filter(|token| token.kind == Kind::Mark);
    if let Some(token) = marks().find(|token| token.text == "*" || token.text == "**") {
        let message = "`*` can repeat a text without bound and is not supported here; compute it in a transform step";
        return Err(Fault::new(token.at, message));
    }
    if let Some(token) = marks().filter(|token| token.text == "~" || token.text == "+").nth(limits::CONCATENATIONS) {
        let message = format!("more than {} concatenations in one expression", limits::CONCATENATIONS);
        return Err(Fault::new(token.at, message));
    }
    Ok(())
}

/// Refuses filters and tests that do not exist.
pub(super) fn check_filters(found: &[Token<'_>]) -> Result<(), Fault> {
    for (at, token) in found.iter().enumerate() {
        let negated = token.text == "is" && found.get(at + 1).is_some_and(|next| next.text == "not");
        let Some(name) = found.get(at + 1 + usize::from(negated)).filter(|next| next.kind == Kind::Word) else {
            continue;
        };
        let (kind, known): (_, &[&str]) = match token.text {
            "|" if !filters::has_filter(name.text) => ("filter", FILTERS),
            "is" if token.kind == Kind::Word && !filters::has_test(name.text) => ("test", TESTS),
            _ => continue,
        };
        let rest = meant_or_known(name.text, known, "known:");
        return Err(Fault::new(name.at, format!("unknown {kind} `{}`{rest}", name.text)));
    }
    Ok(())
}

/// Refuses calls of functions, of which there are none, and names and members that do not exist.
pub(super) fn check_names(found: &[Token<'_>], names: &Names<'_>) -> Result<(), Fault> {
    for (at, token) in found.iter().enumerate() {
        let before = at.checked_sub(1).map_or("", |before| found[before].text);
        let after = found.get(at + 1).map_or("", |next| next.text);
        let is_filter_or_test =
            ["|", "is"].contains(&before) || (before == "not" && at > 1 && found[at - 2].text == "is");
        if token.kind != Kind::Word || before == "." || is_filter_or_test {
            continue;
        }
        if after == "(" && !OPERATORS.contains(&token.text) {
            let guess = did_you_mean(token.text, FILTERS.iter().copied());
            let message = format!(
                "`{}` is no function: templates have none, but filters, as in `{{{{ value|upper }}}}`{guess}",
                token.text
            );
            return Err(Fault::new(token.at, message));
        }
        // `name=` is an argument of a filter.
        if after == "=" || !(ROOTS.contains(&token.text) || token.text == "secrets") {
            continue;
        }
        let Some((root, mut keys, _)) = path::read(&found[at..]) else { continue };
        let fault = |message| Fault::new(token.at, message);
        if let Some(types) = names.types {
            Path::new(&root, keys.clone(), names).and_then(|path| path.check_types(types)).map_err(fault)?;
        }
        // What follows the members of a step is checked when it is there.
        keys.truncate(if root == "steps" { 2 } else { 0 });
        Path::new(&root, keys, names).map_err(fault)?;
    }
    Ok(())
}

/// Words that may stand before a bracket without calling anything.
const OPERATORS: [&str; 7] = ["and", "or", "not", "in", "is", "if", "else"];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::tests::NAMES;
    use super::super::super::{Template, Type, Types};

    fn refused(text: &str, mark: &str, message: &str) {
        let types = Types { run: Type::object([("id", Type::Text)]), ..Types::default() };
        let error = Template::parse(&json!(text), &NAMES.typed(&types)).expect_err(text);
        assert!(error.message.contains(message), "{text}: {error}");
        assert_eq!(error.position, mark.find('^'), "{text}\n{error}");
    }

    #[test]
    #[rustfmt::skip]
    fn every_word_that_is_wrong_is_refused_at_its_character() {
        refused("ü {{ trigger.x|nonsense }}",
                "               ^", "unknown filter `nonsense`; known: abs, ");
        refused("{{ trigger.x|uper }}",
                "             ^", "did you mean `upper`?");
        refused("{{ trigger.x is definde }}",
                "                ^", "did you mean `defined`?");
        refused("{{ trigger.x is not definde }}",
                "                    ^", "unknown test `definde`");
        refused("{{ now }} {{ upper(trigger.x) }}",
                "             ^", "`upper` is no function: templates have none");
        refused("{{ trigger.x|default(steps.tel.output) }}",
                "                     ^", "did you mean `tell`?");
        refused("{{ steps.tell.outptu|upper }}",
                "   ^", "did you mean `output`?");
        refused("{{ run.idd }}",
                "   ^", "`run` has no member `idd`; did you mean `id`?");
        refused("{{ run.idd|upper }}",
                "   ^", "did you mean `id`?");
        refused("{{ trigger.x ~ triger.y }}",
                "   ^", "did you mean `trigger`?");
        refused("{{ 'a' * 3 }}",
                "       ^", "`*` can repeat");
        refused("{{ loop.item|upper }}",
                "   ^", "body of a loop");
        refused("{{ secrets.key|upper }}",
                "   ^", "payload of an action");
    }

    #[test]
    fn what_only_looks_like_a_name_is_none() {
        let types = Types::default();
        for text in [
            "{{ trigger.steps|upper }}",
            "{{ trigger.items|map(attribute='steps')|join }}",
            "{{ trigger.items|sort(attribute='now')|list }}",
            "{{ 'steps' ~ trigger.run }}",
            "{{ (trigger.a) if not (trigger.b) else (trigger.c) }}",
            "{{ trigger.x is not none and trigger.y is eq(3) and trigger.z is divisibleby(2) }}",
            "{{ steps.tell.output.x|default('-') }}",
        ] {
            if let Err(error) = Template::parse(&json!(text), &NAMES.typed(&types)) {
                panic!("{text}: {error}");
            }
        }
    }
}
