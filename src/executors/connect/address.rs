//! Where a request goes: to the payload's own `url`, or to the integration that the action names.

use core314_actors::ports::executor::{Connection, Target};
use core314_domain::plan::Problem;
use reqwest::Url;

use crate::executors::payload::{Reader, Reading};

/// Who says where.
#[derive(Debug, Clone, Copy)]
pub enum Address<'a> {
    /// The payload, by its `url`.
    InPayload,
    /// The same, where a name is given for which there is no integration: without a `url` it is that which is missing.
    Absent,
    /// The integration, at an address that is not known before the attempt.
    Elsewhere,
    /// The integration, at this address.
    At(&'a str),
}

impl<'a> Address<'a> {
    /// For the check of a document.
    pub const fn of_target(target: &Target<'_>) -> Self {
        match target.integration {
            Some(_) => Self::Elsewhere,
            None if target.word.is_empty() => Self::InPayload,
            None => Self::Absent,
        }
    }

    /// For an attempt with an integration whose address is a credential of this name.
    pub fn of_credential(connection: Option<&'a Connection>, credential: &str) -> Self {
        let Some(connection) = connection else { return Self::InPayload };
        connection.credential(credential).map_or(Self::Elsewhere, Self::At)
    }

    /// For an attempt with an integration that has an endpoint.
    pub fn of_endpoint(connection: Option<&'a Connection>) -> Self {
        let Some(connection) = connection else { return Self::InPayload };
        connection.endpoint.as_deref().map_or(Self::Elsewhere, Self::At)
    }

    /// The URL; `None` with a problem, or where it is not known yet.
    pub fn read(self, reader: &mut Reader<'_>, reading: Reading) -> Option<Url> {
        match self {
            Self::InPayload | Self::Absent => read_url(reader, matches!(self, Self::Absent)),
            Self::Elsewhere | Self::At(_) if reader.has("url") => {
                reader.problem(&["url"], "is the integration's: leave it out");
                None
            }
            // An integration without an address was saved by a release that did not ask for one.
            Self::Elsewhere if reading == Reading::Rendered => {
                reader.problem(&["url"], "is not known: the integration has no address");
                None
            }
            Self::Elsewhere => None,
            Self::At(text) => {
                let url = Url::parse(text.trim()).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
                if url.is_none() {
                    // It may be a secret, so it is not repeated.
                    reader.problem(&["url"], "the integration's address is no http or https URL");
                }
                url
            }
        }
    }
}

/// The payload's own target: required, `http` or `https`, with a host.
fn read_url(reader: &mut Reader<'_>, names_absent: bool) -> Option<Url> {
    if !reader.has("url") {
        let problem = Problem::new("/url", "is required");
        reader.problems.push(if names_absent { problem.of_absence() } else { problem });
    }
    let text = reader.text("url")?;
    let problem = match Url::parse(text.trim()) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => return Some(url),
        Ok(url) => format!("scheme '{}' is not one of: http, https", url.scheme()),
        Err(error) => format!("is no URL: {error}"),
    };
    reader.problem(&["url"], problem);
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_name_can_be_missing() {
        for (word, is_absence) in [("lb", true), ("", false)] {
            let payload = json!({});
            let mut reader = Reader::new(&payload, Reading::Document).expect("an object");
            assert!(Address::of_target(&Target::word(word)).read(&mut reader, Reading::Document).is_none());
            let found: Vec<bool> = reader.problems.iter().map(|problem| problem.is_absence).collect();
            assert_eq!(found, [is_absence], "'{word}'");
        }
        let payload = json!({"url": "ftp://x"});
        let mut reader = Reader::new(&payload, Reading::Document).expect("an object");
        Address::Absent.read(&mut reader, Reading::Document);
        assert!(!reader.problems[0].is_absence, "an address that is wrong stays wrong");
    }
}
