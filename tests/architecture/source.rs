//! A Rust file as the rules see it: tokens without comments, strings apart, and which lines are tests.
//!
//! Invariants: masking keeps every line break where it was, so a line number holds for the text, the
//! tokens and the strings alike; masked code is ASCII, so a byte offset is a character offset.

use std::ops::RangeInclusive;

/// The content of one string literal, with its escapes as written.
pub struct Literal {
    /// The line, from 1, on which it begins.
    pub line: usize,
    pub text: String,
}

/// One Rust file, ready to be searched.
pub struct Source {
    /// Relative to the root of the repository, with forward slashes.
    pub path: String,
    /// How many lines the file has.
    pub lines: usize,
    pub literals: Vec<Literal>,
    code: String,
    tokens: Vec<Token>,
    tests: Vec<RangeInclusive<usize>>,
    test_file: bool,
}

struct Token {
    start: usize,
    end: usize,
    line: usize,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let (code, literals) = Masker::new(text).run();
        let tokens = tokens(&code);
        let in_tests_folder = path.split('/').any(|part| part == "tests" || part == "benches");
        let mut source = Self {
            path: path.to_owned(),
            lines: text.lines().count(),
            literals,
            code,
            tokens,
            tests: Vec::new(),
            test_file: in_tests_folder || path.ends_with("/tests.rs"),
        };
        source.tests = source.test_items();
        source
    }

    /// How many tokens there are; an index below it is valid for [`Self::token`].
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The token at an index, empty past the end. `::` is one token, other signs are one character each.
    pub fn token(&self, index: usize) -> &str {
        self.tokens.get(index).map_or("", |token| &self.code[token.start..token.end])
    }

    /// The line, from 1, of the token at an index.
    pub fn line(&self, index: usize) -> usize {
        self.tokens[index].line
    }

    /// Whether a line belongs to test code: a test file, a `#[cfg(test)]` item or a test function.
    pub fn is_test(&self, line: usize) -> bool {
        self.test_file || self.tests.iter().any(|item| item.contains(&line))
    }

    /// Declares the whole file to be test code, as `#[cfg(test)] mod name;` elsewhere does.
    pub fn mark_as_test(&mut self) {
        self.test_file = true;
    }

    /// The indices at which the tokens of `pattern`, written as Rust, occur.
    pub fn find(&self, pattern: &str) -> Vec<usize> {
        let wanted: Vec<&str> = tokens(pattern).iter().map(|token| &pattern[token.start..token.end]).collect();
        (0..self.len()).filter(|&at| wanted.iter().enumerate().all(|(i, word)| self.token(at + i) == *word)).collect()
    }

    /// The index of the bracket that closes the one at `open`, or the last token of a file cut short.
    pub fn closing(&self, open: usize) -> usize {
        let mut depth = 0_usize;
        for at in open..self.len() {
            match self.token(at) {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" if depth <= 1 => return at,
                ")" | "]" | "}" => depth -= 1,
                _ => {}
            }
        }
        self.len().saturating_sub(1)
    }

    /// Names of the modules that this file declares as test code kept in files of their own.
    pub fn test_modules(&self) -> Vec<&str> {
        self.find("mod")
            .into_iter()
            .filter(|&at| self.token(at + 2) == ";" && self.is_test(self.line(at)))
            .map(|at| self.token(at + 1))
            .collect()
    }

    fn test_items(&self) -> Vec<RangeInclusive<usize>> {
        let mut items = Vec::new();
        for at in self.find("#") {
            let inner = self.token(at + 1) == "!";
            let open = at + 1 + usize::from(inner);
            if self.token(open) != "[" || !self.is_test_attribute(open) {
                continue;
            }
            if inner {
                items.push(1..=self.lines);
            } else {
                items.push(self.line(at)..=self.line(self.item_end(self.closing(open) + 1)));
            }
        }
        items
    }

    /// `#[test]`, `#[actix::test]` and every `cfg` that names `test` without negating it.
    fn is_test_attribute(&self, open: usize) -> bool {
        let close = self.closing(open);
        if self.token(open + 1) == "cfg" {
            return (open..close)
                .any(|at| self.token(at) == "test" && !(self.token(at - 1) == "(" && self.token(at - 2) == "not"));
        }
        let path_end = (open + 1..close).find(|&at| self.token(at) == "(").unwrap_or(close);
        self.token(path_end - 1) == "test"
    }

    /// The last token of the item that begins at `at`, attributes before it included.
    fn item_end(&self, mut at: usize) -> usize {
        while at < self.len() {
            match self.token(at) {
                ";" | "}" => return at,
                "{" => return self.closing(at),
                "(" | "[" => at = self.closing(at) + 1,
                _ => at += 1,
            }
        }
        self.len() - 1
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn tokens(code: &str) -> Vec<Token> {
    let bytes = code.as_bytes();
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < bytes.len() {
        let c = char::from(bytes[at]);
        let start = at;
        at += 1;
        if c == '\n' {
            line += 1;
        } else if is_word(c) {
            while at < bytes.len() && is_word(char::from(bytes[at])) {
                at += 1;
            }
        } else if c == ':' && bytes.get(at) == Some(&b':') {
            at += 1;
        }
        if !c.is_ascii_whitespace() {
            found.push(Token { start, end: at, line });
        }
    }
    found
}

/// Copies a file and blanks what is not code.
struct Masker {
    chars: Vec<char>,
    at: usize,
    line: usize,
    code: String,
    literals: Vec<Literal>,
}

impl Masker {
    fn new(text: &str) -> Self {
        Self { chars: text.chars().collect(), at: 0, line: 1, code: String::new(), literals: Vec::new() }
    }

    fn run(mut self) -> (String, Vec<Literal>) {
        while let Some(c) = self.peek(0) {
            match c {
                '/' if self.peek(1) == Some('/') => self.line_comment(),
                '/' if self.peek(1) == Some('*') => self.block_comment(),
                '"' => self.string(),
                '\'' => self.quote(),
                c if is_word(c) => self.word(),
                _ => self.keep(),
            }
        }
        (self.code, self.literals)
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn put(&mut self, kept: bool) -> char {
        let c = self.chars[self.at];
        self.at += 1;
        self.line += usize::from(c == '\n');
        self.code.push(if c == '\n' || (kept && c.is_ascii()) { c } else { ' ' });
        c
    }

    fn keep(&mut self) {
        self.put(true);
    }

    fn blank(&mut self) -> char {
        self.put(false)
    }

    fn line_comment(&mut self) {
        while self.peek(0).is_some_and(|c| c != '\n') {
            self.blank();
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0_usize;
        while let Some(c) = self.peek(0) {
            let two = (c, self.peek(1).unwrap_or(' '));
            if two == ('/', '*') || two == ('*', '/') {
                depth = if c == '/' { depth + 1 } else { depth - 1 };
                self.blank();
            }
            self.blank();
            if depth == 0 {
                return;
            }
        }
    }

    fn string(&mut self) {
        let line = self.line;
        let mut text = String::new();
        self.keep();
        while let Some(c) = self.peek(0).filter(|&c| c != '"') {
            text.push(self.blank());
            if c == '\\' && self.peek(0).is_some() {
                text.push(self.blank());
            }
        }
        if self.peek(0).is_some() {
            self.keep();
        }
        self.literals.push(Literal { line, text });
    }

    fn raw_string(&mut self, hashes: usize) {
        let line = self.line;
        let mut text = String::new();
        for _ in 0..=hashes {
            self.keep();
        }
        while self.peek(0).is_some() {
            if self.peek(0) == Some('"') && (1..=hashes).all(|i| self.peek(i) == Some('#')) {
                for _ in 0..=hashes {
                    self.keep();
                }
                break;
            }
            text.push(self.blank());
        }
        self.literals.push(Literal { line, text });
    }

    /// A character such as `'{'`, or the sign of a lifetime.
    fn quote(&mut self) {
        let escaped = self.peek(1) == Some('\\');
        if !escaped && self.peek(2) != Some('\'') {
            self.keep();
            return;
        }
        self.blank();
        if escaped {
            self.blank();
        }
        self.blank();
        while self.peek(0).is_some_and(|c| c != '\'') {
            self.blank();
        }
        if self.peek(0).is_some() {
            self.blank();
        }
    }

    fn word(&mut self) {
        let start = self.at;
        while self.peek(0).is_some_and(is_word) {
            self.keep();
        }
        let word: String = self.chars[start..self.at].iter().collect();
        if matches!(word.as_str(), "r" | "br" | "cr") {
            let hashes = (0..self.chars.len()).take_while(|&i| self.peek(i) == Some('#')).count();
            if self.peek(hashes) == Some('"') {
                self.raw_string(hashes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, pattern: &str) -> Vec<usize> {
        let source = Source::new("src/x.rs", text);
        source.find(pattern).into_iter().map(|at| source.line(at)).collect()
    }

    #[test]
    fn comments_strings_and_characters_are_not_code() {
        let text = "// { a()\n/* a() /* a() */ a() */ a()\nlet s = \"a() \\\" a()\";\nlet c = ('{', '\\'', '\\u{7b}', b'\"');\na()";
        assert_eq!(found(text, "a()"), [2, 5]);
        assert!(found(text, "{").is_empty());
    }

    #[test]
    fn raw_strings_end_where_their_hashes_say() {
        let source = Source::new("src/x.rs", "let s = r#\"one \" a()\"#; r#type(); br\"\\\"; a()");
        assert_eq!(source.find("a()").len(), 1);
        assert_eq!(source.literals[0].text, "one \" a()");
        assert_eq!(source.literals[1].text, "\\");
    }

    #[test]
    fn lifetimes_do_not_open_a_character() {
        assert_eq!(found("fn f<'a, 'b>(x: &'a str) { a() }", "a()"), [1]);
    }

    #[test]
    fn a_pattern_ignores_layout() {
        assert_eq!(found("x\n    . unwrap(\n)", ".unwrap()"), [2]);
        assert!(found("x.unwrap_or(1)", ".unwrap()").is_empty());
    }

    #[test]
    fn test_items_are_told_from_code() {
        let text = "fn a() {}\n#[cfg(test)]\n#[derive(Debug)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n#[cfg(not(test))]\nfn d() {}\n#[actix::test]\nasync fn e() {\n}\n";
        let source = Source::new("src/x.rs", text);
        let lines: Vec<usize> = (1..=source.lines).filter(|&line| source.is_test(line)).collect();
        assert_eq!(lines, [2, 3, 4, 5, 6, 10, 11, 12]);
    }

    #[test]
    fn test_files_are_known_by_folder_name_or_declaration() {
        assert!(Source::new("tests/it/main.rs", "fn a() {}").is_test(1));
        assert!(Source::new("src/x/tests.rs", "fn a() {}").is_test(1));
        let source = Source::new("src/x.rs", "#[cfg(test)]\nmod histories;\nmod plain;");
        assert_eq!(source.test_modules(), ["histories"]);
    }
}
