//! Tokens of expressions, enough to bound and to split them before a parser sees them.
//!
//! Both parsers recurse: by brackets, by prefix operators, and (over the left-deep trees that chains
//! such as `a.b.c` or `a + b + c` make) by operators in a row. A text that would exhaust the stack
//! must not reach them, so [`check`] estimates that depth from tokens, from above. The estimate holds
//! only if text in quotes is seen as the parsers see it; whatever is doubtful there is refused here.

use super::limits;

/// The language a text is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    Cel,
    Jinja,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Word,
    Text,
    Number,
    Mark,
}

/// One token: `text` is the source, quotes included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub kind: Kind,
    pub text: &'a str,
    /// Byte offset in the source.
    pub at: usize,
}

/// What is wrong with a text, and the byte at which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub message: String,
    pub at: usize,
}

impl Fault {
    pub(super) fn new(at: usize, message: impl Into<String>) -> Self {
        Self { message: message.into(), at }
    }
}

/// Splits a text into tokens. White space and comments are dropped.
pub(super) fn tokens(source: &str, language: Language) -> Result<Vec<Token<'_>>, Fault> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(token) = next_token(source, at, language)? {
        at = token.at + token.text.len();
        found.push(token);
    }
    Ok(found)
}

/// The token at or after byte `at`.
pub(super) fn next_token(source: &str, mut at: usize, language: Language) -> Result<Option<Token<'_>>, Fault> {
    loop {
        let rest = &source[at..];
        let Some(first) = rest.chars().next() else { return Ok(None) };
        if first.is_whitespace() {
            at += first.len_utf8();
        } else if language == Language::Cel && rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else {
            let (kind, len) =
                measure(rest, first, language).map_err(|fault| Fault::new(at + fault.at, fault.message))?;
            return Ok(Some(Token { kind, text: &rest[..len], at }));
        }
    }
}

fn measure(rest: &str, first: char, language: Language) -> Result<(Kind, usize), Fault> {
    if first == '"' || first == '\'' {
        return Ok((Kind::Text, quoted(rest, 0, false, language)?));
    }
    if first.is_ascii_digit() {
        return Ok((Kind::Number, number(rest)));
    }
    if is_word(first) {
        let len = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let prefix = &rest[..len];
        let quote = rest[len..].starts_with(['"', '\'']);
        if language == Language::Cel && quote && prefix.len() <= 2 && prefix.chars().all(|c| "rRbB".contains(c)) {
            let raw = matches!(prefix, "r" | "R" | "br" | "bR" | "Br" | "BR");
            return Ok((Kind::Text, quoted(rest, len, raw, language)?));
        }
        return Ok((Kind::Word, len));
    }
    let pair = rest.get(..2).filter(|pair| ["&&", "||", "==", "!=", "<=", ">=", "//", "**"].contains(pair));
    Ok((Kind::Mark, pair.map_or(first.len_utf8(), str::len)))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn number(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let mut end = 0;
    while end < bytes.len() {
        let c = bytes[end];
        let fraction = c == b'.' && bytes.get(end + 1).is_some_and(u8::is_ascii_digit);
        if !(c.is_ascii_alphanumeric() || c == b'_' || fraction) {
            break;
        }
        end += 1;
    }
    end
}

/// Length of the quoted text whose opening quote is at `start`.
fn quoted(rest: &str, start: usize, raw: bool, language: Language) -> Result<usize, Fault> {
    let quote = &rest[start..=start];
    let triple = quote.repeat(3);
    let long = language == Language::Cel && rest[start..].starts_with(&triple);
    let close = if long { triple.as_str() } else { quote };
    let mut at = start + close.len();
    loop {
        let here = &rest[at..];
        let Some(c) = here.chars().next() else { return Err(Fault::new(0, "text in quotes does not end")) };
        if here.starts_with(close) {
            return Ok(at + close.len());
        }
        if language == Language::Cel && !long && (c == '\n' || c == '\r') {
            return Err(Fault::new(at, "a line ends within text in quotes"));
        }
        at += if c == '\\' && !raw {
            escape(here, language).map_err(|fault| Fault::new(at, fault))?
        } else {
            c.len_utf8()
        };
    }
}

/// Length of an escape sequence. Refuses those that the CEL grammar does not have: there the quotes
/// would pair up differently.
fn escape(here: &str, language: Language) -> Result<usize, &'static str> {
    let unknown = "unknown escape sequence";
    let c = here[1..].chars().next().ok_or("text in quotes does not end")?;
    if language == Language::Jinja {
        return Ok(1 + c.len_utf8());
    }
    let (digits, radix) = match c {
        'a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\' | '?' | '"' | '\'' | '`' => return Ok(2),
        'x' | 'X' => (2, 16),
        'u' => (4, 16),
        'U' => (8, 16),
        '0'..='3' => (2, 8),
        _ => return Err(unknown),
    };
    let all = here[2..].chars().take(digits).filter(|digit| digit.is_digit(radix)).count() == digits;
    if all { Ok(2 + digits) } else { Err(unknown) }
}

/// Refuses a text that is empty, too long, or nested too deeply for a parser's stack.
pub(super) fn check(source: &str, found: &[Token<'_>], language: Language) -> Result<(), Fault> {
    if found.is_empty() {
        return Err(Fault::new(0, "the expression is empty"));
    }
    check_length(source)?;
    // Per open bracket: operators in a row, of which `held` (branches of `?:`) outlive `&&` and `||`.
    let mut levels = vec![(0_usize, 0_usize)];
    let mut depth = 1_usize;
    for token in found {
        let (chain, held) = levels.last_mut().expect("one level always stays");
        match token.text {
            "(" | "[" | "{" => {
                levels.push((0, 0));
                depth += 1;
            }
            ")" | "]" | "}" => {
                if levels.len() > 1 {
                    let (chain, _) = levels.pop().expect("more than one level");
                    depth -= 1 + chain;
                }
                levels.last_mut().expect("one level always stays").0 += 1;
                depth += 1;
            }
            "," => {
                depth -= *chain;
                (*chain, *held) = (0, 0);
            }
            "&&" | "||" if language == Language::Cel => {
                depth -= *chain - *held;
                *chain = *held;
            }
            ":" => {}
            text if token.kind == Kind::Mark || is_operator_word(text, token.kind, language) => {
                *chain += 1;
                *held += usize::from(text == "?");
                depth += 1;
            }
            _ => {}
        }
        if depth > limits::TEXT_DEPTH {
            let message =
                format!("nested too deeply: more than {} brackets and operators within each other", limits::TEXT_DEPTH);
            return Err(Fault::new(token.at, message));
        }
    }
    Ok(())
}

/// Refuses a text that is too long to be looked at at all.
pub(super) fn check_length(source: &str) -> Result<(), Fault> {
    if source.len() > limits::EXPRESSION_BYTES {
        return Err(Fault::new(0, format!("longer than {} bytes", limits::EXPRESSION_BYTES)));
    }
    Ok(())
}

fn is_operator_word(text: &str, kind: Kind, language: Language) -> bool {
    kind == Kind::Word
        && match language {
            Language::Cel => text == "in",
            Language::Jinja => ["and", "or", "not", "in", "is", "if", "else"].contains(&text),
        }
}

/// Splits a CEL text at the `&&` that bind loosest, so that each clause can be named by itself.
/// A text with `||` or `?` at that level is one clause.
pub(super) fn clauses<'a>(source: &'a str, found: &[Token<'a>]) -> Vec<(usize, &'a str)> {
    let mut level = 0_i32;
    let mut cuts = Vec::new();
    for token in found {
        match token.text {
            "(" | "[" | "{" => level += 1,
            ")" | "]" | "}" => level -= 1,
            "||" | "?" if level == 0 => return vec![(0, source)],
            "&&" if level == 0 => cuts.push(token.at),
            _ => {}
        }
    }
    let mut start = 0;
    let mut parts = Vec::with_capacity(cuts.len() + 1);
    for cut in cuts {
        parts.push((start, &source[start..cut]));
        start = cut + 2;
    }
    parts.push((start, &source[start..]));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str, language: Language) -> Vec<&str> {
        tokens(source, language).unwrap().iter().map(|token| token.text).collect()
    }

    fn checked(source: &str, language: Language) -> Result<(), Fault> {
        check(source, &tokens(source, language)?, language)
    }

    #[test]
    fn tokens_keep_quotes_whole() {
        assert_eq!(
            texts(r#"a.b == "x)\"(" && 1.5>=c"#, Language::Cel),
            ["a", ".", "b", "==", r#""x)\"(""#, "&&", "1.5", ">=", "c"]
        );
        assert_eq!(
            texts(r#"r"\d" + b'x' + """a"b""" // rest"#, Language::Cel),
            [r#"r"\d""#, "+", "b'x'", "+", r#""""a"b""""#]
        );
        assert_eq!(texts("a|join(', ')", Language::Jinja), ["a", "|", "join", "(", "', '", ")"]);
    }

    #[test]
    fn doubtful_quotes_are_refused() {
        for source in ["\"a", "'a\nb'", r"'\q'", r"'\xg1'", "'\\", r"'\u12'"] {
            assert!(tokens(source, Language::Cel).is_err(), "{source}");
        }
        assert!(tokens("'a", Language::Jinja).is_err());
    }

    #[test]
    fn depth_counts_brackets_prefixes_and_chains() {
        let deep = |unit: &str| checked(&unit.repeat(200), Language::Cel).is_err();
        assert!(deep("(") && deep("!") && deep("a.") && deep("a+") && deep("a[0]") && deep("a?b:") && deep("a in "));
        assert!(deep("f(a.b,") && deep("[[]],["));
        assert!(checked(&"a == 1 || ".repeat(200), Language::Cel).is_ok());
        assert!(checked(&"a, ".repeat(200), Language::Cel).is_ok());
        assert!(checked(&"a and ".repeat(200), Language::Jinja).is_err());
        assert!(checked(&"x|f ".repeat(200), Language::Jinja).is_err());
        assert!(checked("", Language::Cel).is_err());
        assert!(checked(&"a, ".repeat(2_000), Language::Cel).unwrap_err().message.contains("4096"));
    }

    #[test]
    fn clauses_split_where_and_binds_loosest() {
        let split = |source: &'static str| {
            let found = tokens(source, Language::Cel).unwrap();
            clauses(source, &found).into_iter().map(|(_, text)| text.trim().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(split("a && (b && c) && 'x && y' == d"), ["a", "(b && c)", "'x && y' == d"]);
        assert_eq!(split("a && b || c"), ["a && b || c"]);
        assert_eq!(split("a ? b && c : d"), ["a ? b && c : d"]);
    }
}
