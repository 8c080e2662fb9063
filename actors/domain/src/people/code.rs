//! Codes that prove an address: how often one is sent, how long it counts, and how often it may be guessed.

/// The bounds of codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodeRules {
    /// How long a code counts.
    pub lifetime_ms: i64,
    /// How often it may be given wrongly.
    pub most_tries: i64,
    /// A further one is not sent sooner than this after the one before.
    pub least_pause_ms: i64,
    /// Codes that one contact method gets at all.
    pub most_codes: i64,
}

/// The code of a contact method, as it is kept: which one it is, and not what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CodeState {
    /// 0 where none was sent.
    pub no: i64,
    pub sent_ms: Option<i64>,
    /// How often it was given wrongly.
    pub tries: i64,
}

/// Why a code is not sent, or does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodeError {
    #[error("a code was sent a moment ago: the next can be sent in {0} s")]
    TooSoon(i64),
    #[error("too many codes were sent: remove the contact method and add it again")]
    TooMany,
    #[error("the code's time is over: have another one sent")]
    Over,
    #[error("the code was given wrongly too often: have another one sent")]
    TriedTooOften,
    #[error("a code was sent there a while ago: it can be removed in {0} s, or once it is verified")]
    StillCounts(i64),
    #[error("no code was sent")]
    NoneSent,
}

impl CodeState {
    /// The state after a further code.
    pub fn next(self, rules: CodeRules, now_ms: i64) -> Result<Self, CodeError> {
        let wait_ms = self.sent_ms.map_or(0, |sent_ms| sent_ms + rules.least_pause_ms - now_ms);
        if self.no >= rules.most_codes {
            return Err(CodeError::TooMany);
        }
        if wait_ms > 0 {
            return Err(CodeError::TooSoon((wait_ms + 999) / 1_000));
        }
        Ok(Self { no: self.no + 1, sent_ms: Some(now_ms), tries: 0 })
    }

    /// Whether the code that was sent can still be given.
    pub fn is_open(self, rules: CodeRules, now_ms: i64) -> Result<(), CodeError> {
        let sent_ms = self.sent_ms.filter(|_| self.no > 0).ok_or(CodeError::NoneSent)?;
        if now_ms >= sent_ms + rules.lifetime_ms {
            return Err(CodeError::Over);
        }
        if self.tries >= rules.most_tries { Err(CodeError::TriedTooOften) } else { Ok(()) }
    }

    /// The state after a wrong guess.
    #[must_use]
    pub const fn tried(self) -> Self {
        Self { tries: self.tries + 1, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: CodeRules = CodeRules { lifetime_ms: 900_000, most_tries: 3, least_pause_ms: 60_000, most_codes: 2 };

    #[test]
    fn a_code_counts_for_a_while_and_a_few_guesses_and_there_are_few_of_them() {
        let none = CodeState::default();
        assert_eq!(none.is_open(RULES, 0), Err(CodeError::NoneSent));
        let first = none.next(RULES, 1_000).unwrap();
        assert_eq!((first.no, first.sent_ms, first.tries), (1, Some(1_000), 0));
        assert_eq!(first.is_open(RULES, 900_999), Ok(()));
        assert_eq!(first.is_open(RULES, 901_000), Err(CodeError::Over));
        assert_eq!(first.tried().tried().is_open(RULES, 2_000), Ok(()));
        assert_eq!(first.tried().tried().tried().is_open(RULES, 2_000), Err(CodeError::TriedTooOften));
        assert_eq!(first.next(RULES, 2_500), Err(CodeError::TooSoon(59)));
        let second = first.tried().next(RULES, 61_000).unwrap();
        assert_eq!((second.no, second.tries), (2, 0));
        assert_eq!(second.next(RULES, 10_000_000), Err(CodeError::TooMany));
    }
}
