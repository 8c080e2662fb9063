//! The words for what can go wrong with an action.
//!
//! They stand in logs, in flows' conditions and on dashboards, so a word is never renamed. `docs/actions.md` explains
//! each; a test holds that.

use core314_domain::log::Failure;

/// A word, and what a retry policy needs to know: whether another attempt may mend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The payload cannot be sent as it is.
    InvalidPayload,
    /// The outbound rules refuse the target.
    ForbiddenAddress,
    /// No answer within the attempt's time.
    Timeout,
    /// The name was not found, or the connection was refused, reset or not made in time.
    Connect,
    /// The certificate does not prove who the other side is.
    Certificate,
    /// The TLS handshake failed otherwise.
    Tls,
    /// The other side does not speak HTTP, or stopped in the middle.
    Protocol,
    /// A redirect that is not followed: too many, without a usable target, or from https to http.
    Redirect,
    /// The other side asks for patience (429).
    RateLimited,
    /// A status that was not expected.
    HttpStatus,
    /// The response is larger than the configuration allows.
    ResponseTooLarge,
    /// The status means success, and the response says otherwise.
    UnexpectedAnswer,
    /// The service gives no token for the integration's credentials.
    TokenRefused,
    /// The other side understood, and says no in words of its own. Whether another attempt may mend it, they say.
    Refused,
    /// There is no such record.
    NoRecord,
    /// The person is not reached so: their contact method is gone, or not verified.
    NoContact,
    /// Somebody else has changed the record meanwhile.
    StaleRecord,
    /// More rows of a sync failed than may.
    RowsFailed,
    /// What a sync reads has changed since it began.
    SourceChanged,
    /// A language model's answer is not what was asked for.
    InvalidAnswer,
    /// A program ended otherwise than expected, or could not be started just now.
    CommandFailed,
    /// A program that this server does not run.
    CommandRefused,
    /// This server's own store cannot be reached, or is busy.
    StoreUnavailable,
    /// This server's own store refuses the row.
    StoreRefused,
}

impl Code {
    #[cfg(test)]
    pub const ALL: [Self; 24] = [
        Self::InvalidPayload,
        Self::ForbiddenAddress,
        Self::Timeout,
        Self::Connect,
        Self::Certificate,
        Self::Tls,
        Self::Protocol,
        Self::Redirect,
        Self::RateLimited,
        Self::HttpStatus,
        Self::ResponseTooLarge,
        Self::UnexpectedAnswer,
        Self::TokenRefused,
        Self::Refused,
        Self::NoRecord,
        Self::NoContact,
        Self::StaleRecord,
        Self::RowsFailed,
        Self::SourceChanged,
        Self::InvalidAnswer,
        Self::CommandFailed,
        Self::CommandRefused,
        Self::StoreUnavailable,
        Self::StoreRefused,
    ];

    /// The word in logs and conditions.
    pub const fn word(self) -> &'static str {
        match self {
            Self::InvalidPayload => "invalid_payload",
            Self::ForbiddenAddress => "forbidden_address",
            Self::Timeout => "timeout",
            Self::Connect => "connect",
            Self::Certificate => "certificate",
            Self::Tls => "tls",
            Self::Protocol => "protocol",
            Self::Redirect => "redirect",
            Self::RateLimited => "rate_limited",
            Self::HttpStatus => "http_status",
            Self::ResponseTooLarge => "response_too_large",
            Self::UnexpectedAnswer => "unexpected_answer",
            Self::TokenRefused => "token_refused",
            Self::Refused => "refused",
            Self::InvalidAnswer => "invalid_answer",
            Self::NoRecord => "no_record",
            Self::NoContact => "no_contact",
            Self::StaleRecord => "stale_record",
            Self::RowsFailed => "rows_failed",
            Self::SourceChanged => "source_changed",
            Self::CommandFailed => "command_failed",
            Self::CommandRefused => "command_refused",
            Self::StoreUnavailable => "store_unavailable",
            Self::StoreRefused => "store_refused",
        }
    }

    /// Whether another attempt may succeed. Of statuses some are final: their failures are made with
    /// [`Failure::fatal`] where they are judged.
    const fn is_retryable(self) -> bool {
        match self {
            Self::Timeout
            | Self::Connect
            | Self::Tls
            | Self::Protocol
            | Self::RateLimited
            | Self::HttpStatus
            | Self::InvalidAnswer
            | Self::CommandFailed
            | Self::StoreUnavailable => true,
            Self::InvalidPayload
            | Self::ForbiddenAddress
            | Self::Certificate
            | Self::Redirect
            | Self::ResponseTooLarge
            | Self::UnexpectedAnswer
            | Self::TokenRefused
            | Self::Refused
            | Self::NoRecord
            | Self::NoContact
            | Self::StaleRecord
            | Self::RowsFailed
            | Self::SourceChanged
            | Self::CommandRefused
            | Self::StoreRefused => false,
        }
    }

    /// What an unexpected status means: 429 asks for patience, 408, 425 and 5xx may pass, others are final.
    pub fn of_status(status: u16, message: impl Into<String>) -> Failure {
        let failure = match status {
            429 => Self::RateLimited.failure(message),
            408 | 425 | 500..=599 => Self::HttpStatus.failure(message),
            _ => Failure::fatal(Self::HttpStatus.word(), message),
        };
        Failure { details: Some(serde_json::json!({"status": status})), ..failure }
    }

    /// A failure of this kind.
    pub fn failure(self, message: impl Into<String>) -> Failure {
        if self.is_retryable() {
            Failure::retryable(self.word(), message)
        } else {
            Failure::fatal(self.word(), message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_documented_with_its_retry_rule() {
        let page = include_str!("../../docs/actions.md");
        for code in Code::ALL {
            let row = format!("| `{}` |", code.word());
            let line = page.lines().find(|line| line.starts_with(&row));
            let line = line.unwrap_or_else(|| panic!("docs/actions.md has no row '{row}'"));
            let expected = match code {
                Code::HttpStatus | Code::Refused => "depends",
                code if code.is_retryable() => "yes",
                _ => "no",
            };
            assert!(line.contains(&format!("| {expected} ")), "docs/actions.md: {line} should say '{expected}'");
        }
    }
}
