//! The one error of this folder: which expression, where in the document, and why.
//!
//! It is one struct and not an enum because callers can do only one thing about it: show it, as a
//! refused save (`parse`) or as the reason why a run failed (evaluation).

use thiserror::Error;

/// An expression that does not parse, names something unknown, or failed when it was evaluated.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{message}, in `{}`{}{}", shortened(.expression), place(.pointer), character(*.position))]
pub struct ExprError {
    /// The text that failed, as it stands in the document.
    pub expression: String,
    /// JSON pointer of that text within the document that was parsed; empty for the document itself.
    pub pointer: String,
    /// What is wrong with it; reads well alone.
    pub message: String,
    /// Character of `expression` (counted from 0) at which it was noticed, where that is known.
    pub position: Option<usize>,
}

/// Longest excerpt of an expression, and longest message, that is shown to people.
const SHOWN_CHARS: usize = 300;

impl ExprError {
    pub(super) fn new(expression: &str, message: impl AsRef<str>) -> Self {
        Self {
            expression: expression.to_owned(),
            pointer: String::new(),
            message: shortened(message.as_ref()),
            position: None,
        }
    }

    /// Says at which character, counted from a byte offset of the expression.
    pub(super) fn at_byte(mut self, byte: usize) -> Self {
        let chars = self.expression.char_indices().take_while(|(at, _)| *at < byte).count();
        self.position = Some(chars);
        self
    }

    /// The line of the expression that is wrong, and below it a mark at the character; long lines are cut around it.
    pub fn excerpt(&self) -> Option<String> {
        /// Characters on either side of the mark.
        const AROUND: usize = 60;
        let position = self.position?;
        let mut start = 0;
        let line = self.expression.split('\n').find(|line| {
            let length = line.chars().count() + 1;
            let is_here = position < start + length;
            start += if is_here { 0 } else { length };
            is_here
        })?;
        let (column, skipped) = (position - start, (position - start).saturating_sub(AROUND));
        let shown: String = line.chars().skip(skipped).take(2 * AROUND).map(visible).collect();
        let head = if skipped > 0 { "…" } else { "" };
        let tail = if line.chars().count() > skipped + 2 * AROUND { "…" } else { "" };
        let blank = " ".repeat(column - skipped + head.chars().count());
        Some(format!("{head}{shown}{tail}\n{blank}^"))
    }

    pub(super) fn at_char(mut self, position: Option<usize>) -> Self {
        self.position = position;
        self
    }

    pub(super) fn under(mut self, pointer: &str) -> Self {
        pointer.clone_into(&mut self.pointer);
        self
    }
}

/// Cuts a text that may hold a whole payload down to what a person reads.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A character that is one column wide and moves no cursor.
fn visible(c: char) -> char {
    if c == '\t' {
        ' '
    } else if c.is_control() || ('\u{200b}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c) {
        '\u{fffd}'
    } else {
        c
    }
}

fn place(pointer: &str) -> String {
    if pointer.is_empty() { String::new() } else { format!(" at {pointer}") }
}

fn character(position: Option<usize>) -> String {
    position.map_or_else(String::new, |at| format!(" (character {})", at + 1))
}

/// Appends one segment to a JSON pointer (RFC 6901).
pub(super) fn pointer_to(parent: &str, segment: &str) -> String {
    format!("{parent}/{}", segment.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_well_alone() {
        let error = ExprError::new("trigger.x", "unknown name `x`").under("/text").at_byte(8);
        assert_eq!(error.to_string(), "unknown name `x`, in `trigger.x` at /text (character 9)");
        assert_eq!(ExprError::new("a", "no").to_string(), "no, in `a`");
    }

    #[test]
    fn positions_count_characters_and_pointers_escape() {
        assert_eq!(ExprError::new("ä == b", "no").at_byte(6).position, Some(5));
        assert_eq!(pointer_to("/a", "b/c~d"), "/a/b~1c~0d");
    }

    #[test]
    fn an_excerpt_marks_the_character() {
        let excerpt = |text: &str, at| ExprError::new(text, "no").at_char(Some(at)).excerpt();
        assert_eq!(excerpt("a == b", 2).unwrap(), "a == b\n  ^");
        assert_eq!(excerpt("ä ==\n\tb == c\nd", 8).unwrap(), " b == c\n   ^");
        assert_eq!(excerpt("a", 1).unwrap(), "a\n ^", "the end may be wrong too");
        assert_eq!(excerpt("a", 9), None);
        assert_eq!(excerpt("a\u{202e}\u{7}b", 3).unwrap(), "a\u{fffd}\u{fffd}b\n   ^");
        let long = excerpt(&"x".repeat(1_000), 500).unwrap();
        assert_eq!(long, format!("…{}…\n{}^", "x".repeat(120), " ".repeat(61)));
        assert_eq!(ExprError::new("a", "no").excerpt(), None);
    }

    #[test]
    fn a_long_text_is_cut() {
        let error = ExprError::new(&"ä".repeat(5_000), "m".repeat(5_000));
        assert_eq!(error.message.chars().count(), SHOWN_CHARS + 1);
        assert!(error.to_string().chars().count() < 3 * SHOWN_CHARS);
        assert_eq!(error.expression.chars().count(), 5_000);
    }
}
