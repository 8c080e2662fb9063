//! Regular expressions whose compiled size is bounded.
//!
//! A pattern is compiled once, when the flow is saved, and never from data: a pattern that came with
//! an event would be a way to spend the runtime's time and memory. Matching is linear by construction
//! of the regex crate.

use regex::{Regex, RegexBuilder};

use super::limits;

/// Compiles a pattern; the error is a sentence.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern)
        .size_limit(limits::PATTERN_BYTES)
        .dfa_size_limit(limits::PATTERN_BYTES)
        .nest_limit(limits::DEPTH as u32)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => {
                format!("the pattern is too large: compiled, it needs more than {} bytes", limits::PATTERN_BYTES)
            }
            other => format!("not a valid pattern: {}", one_line(&other.to_string())),
        })
}

/// The crate draws the pattern with a mark below; the last line alone says what is wrong.
fn one_line(message: &str) -> String {
    let last = message.lines().last().unwrap_or(message);
    last.trim().trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_patterns_compile() {
        for pattern in ["^web-[0-9]+$", r"\w+@\w+", r"(?i)error|fatal", r"^\d{1,3}(\.\d{1,3}){3}$"] {
            assert!(compile(pattern).is_ok(), "{pattern}");
        }
    }

    #[test]
    fn bombs_are_refused() {
        assert!(compile("((a{100}){100}){100}").unwrap_err().contains("too large"));
        assert!(compile(r"\w{1000}").unwrap_err().contains("too large"));
        assert!(compile(&"(".repeat(1_000)).unwrap_err().contains("not a valid pattern"));
        let nested = format!("{}a{}", "(".repeat(100), ")".repeat(100));
        assert!(compile(&nested).is_err());
        assert_eq!(compile("(foo").unwrap_err(), "not a valid pattern: unclosed group");
    }
}
