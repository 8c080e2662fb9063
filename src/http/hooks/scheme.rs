//! How a provider signs its deliveries: one description that covers all of them, and what each of the known ones says.
//!
//! A signature is an HMAC over a text with `{body}`, `{timestamp}` and `{id}` in it, written into a header after a prefix,
//! alone or in a list. Sources: [Standard Webhooks](https://github.com/standard-webhooks/standard-webhooks),
//! [GitHub](https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries),
//! [Slack](https://api.slack.com/authentication/verifying-requests-from-slack),
//! [Stripe](https://docs.stripe.com/webhooks#verify-manually).

use std::borrow::Cow;

use actix_web::http::header::HeaderName;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use core314_domain::words::UnknownWord;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How far a delivery's time may be off, in either direction, where nothing else is said.
pub const TOLERANCE_SECONDS: u32 = 300;
/// The longest text among those that a client may set.
const MAX_TEXT_CHARS: usize = 100;
/// Reads what providers hand out, with and without padding.
pub const LENIENT_BASE64: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How a webhook verifies its callers. Persisted words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verification {
    /// A secret that ends the URL.
    UrlSecret,
    StandardWebhooks,
    Github,
    Slack,
    /// A signature whose form the webhook describes.
    Hmac,
    /// `Authorization: Bearer SECRET`.
    Bearer,
}

impl Verification {
    const ALL: [Self; 6] =
        [Self::UrlSecret, Self::StandardWebhooks, Self::Github, Self::Slack, Self::Hmac, Self::Bearer];

    /// The word as it is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UrlSecret => "url_secret",
            Self::StandardWebhooks => "standard_webhooks",
            Self::Github => "github",
            Self::Slack => "slack",
            Self::Hmac => "hmac",
            Self::Bearer => "bearer",
        }
    }

    /// Whether a signature is computed with the secret, so that its digest alone would not do.
    pub const fn is_signature(self) -> bool {
        !matches!(self, Self::UrlSecret | Self::Bearer)
    }
}

impl std::str::FromStr for Verification {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        Self::ALL.into_iter().find(|known| known.as_str() == word).ok_or_else(|| UnknownWord {
            word: word.chars().take(60).collect(),
            known: Self::ALL.map(Self::as_str).join(", "),
        })
    }
}

/// The hash function of the HMAC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    Sha1,
    #[default]
    Sha256,
    Sha512,
}

/// How a signature's bytes are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    #[default]
    Hex,
    Base64,
}

/// A provider whose form has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    Stripe,
}

/// The form of a signature, as a client describes it: a preset alone, or a header and the rest as far as it differs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "HmacForm")]
pub struct HmacForm {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
    /// The header with the signature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// `sha256` where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<Algorithm>,
    /// `hex` where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<Encoding>,
    /// What stands before the signature in the header, such as `sha256=`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// What divides the header's parts, where it has several, such as `,`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub separator: Option<char>,
    /// The header with the time of sending, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp_header: Option<String>,
    /// What stands before that time among the parts of the signature's header, such as `t=`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp_prefix: Option<String>,
    /// How far that time may be off: 1 to 3600 seconds; 300 where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance_seconds: Option<u32>,
    /// What is signed, with `{body}`, `{timestamp}` and `{id}` in it; `{body}` where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed: Option<String>,
    /// The header with the delivery's own id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_header: Option<String>,
}

/// Where a delivery's time of sending stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimestampAt {
    Header(Cow<'static, str>),
    /// In the signature's own header, after this prefix.
    Part(Cow<'static, str>),
}

/// Where the provider puts its own name of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdAt {
    Header(Cow<'static, str>),
    /// A member of the body.
    Member(&'static str),
}

/// The whole description of a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scheme {
    pub header: Cow<'static, str>,
    pub algorithm: Algorithm,
    pub encoding: Encoding,
    pub prefix: Cow<'static, str>,
    pub separator: Option<char>,
    pub timestamp: Option<TimestampAt>,
    pub tolerance_seconds: u32,
    pub signed: Cow<'static, str>,
    pub id: Option<IdAt>,
    /// Whether the secret is base64 after `whsec_`; otherwise its characters are the key.
    pub is_base64_key: bool,
}

impl Scheme {
    /// How this verification signs; `None` where it does not, or where its stored description cannot be read.
    pub fn of(verification: Verification, options: &Value) -> Option<Self> {
        match verification {
            Verification::UrlSecret | Verification::Bearer => None,
            Verification::StandardWebhooks => Some(STANDARD_WEBHOOKS),
            Verification::Github => Some(GITHUB),
            Verification::Slack => Some(SLACK),
            Verification::Hmac => HmacForm::deserialize(options).ok()?.scheme().ok(),
        }
    }
}

const HEX_SHA256: Scheme = Scheme {
    header: Cow::Borrowed("x-signature"),
    algorithm: Algorithm::Sha256,
    encoding: Encoding::Hex,
    prefix: Cow::Borrowed(""),
    separator: None,
    timestamp: None,
    tolerance_seconds: TOLERANCE_SECONDS,
    signed: Cow::Borrowed("{body}"),
    id: None,
    is_base64_key: false,
};
const STANDARD_WEBHOOKS: Scheme = Scheme {
    header: Cow::Borrowed("webhook-signature"),
    encoding: Encoding::Base64,
    prefix: Cow::Borrowed("v1,"),
    separator: Some(' '),
    timestamp: Some(TimestampAt::Header(Cow::Borrowed("webhook-timestamp"))),
    signed: Cow::Borrowed("{id}.{timestamp}.{body}"),
    id: Some(IdAt::Header(Cow::Borrowed("webhook-id"))),
    is_base64_key: true,
    ..HEX_SHA256
};
const GITHUB: Scheme = Scheme {
    header: Cow::Borrowed("x-hub-signature-256"),
    prefix: Cow::Borrowed("sha256="),
    id: Some(IdAt::Header(Cow::Borrowed("x-github-delivery"))),
    ..HEX_SHA256
};
const SLACK: Scheme = Scheme {
    header: Cow::Borrowed("x-slack-signature"),
    prefix: Cow::Borrowed("v0="),
    timestamp: Some(TimestampAt::Header(Cow::Borrowed("x-slack-request-timestamp"))),
    signed: Cow::Borrowed("v0:{timestamp}:{body}"),
    id: Some(IdAt::Member("event_id")),
    ..HEX_SHA256
};
const STRIPE: Scheme = Scheme {
    header: Cow::Borrowed("stripe-signature"),
    prefix: Cow::Borrowed("v1="),
    separator: Some(','),
    timestamp: Some(TimestampAt::Part(Cow::Borrowed("t="))),
    signed: Cow::Borrowed("{timestamp}.{body}"),
    id: Some(IdAt::Member("id")),
    ..HEX_SHA256
};

impl HmacForm {
    /// The description, or the field that is wrong and why.
    pub fn scheme(self) -> Result<Scheme, (&'static str, String)> {
        if let Some(Preset::Stripe) = self.preset {
            let alone = Self { preset: self.preset, ..Self::default() };
            return if self == alone {
                Ok(STRIPE)
            } else {
                Err(("preset", "says everything: leave the other fields out".to_owned()))
            };
        }
        let Some(header) = self.header else {
            return Err(("header", "is required, unless a preset is named".to_owned()));
        };
        let signed = text("signed", self.signed)?.unwrap_or(Cow::Borrowed("{body}"));
        let timestamp = match (self.timestamp_header, text("timestamp_prefix", self.timestamp_prefix)?) {
            (None, None) => None,
            (Some(header), None) => Some(TimestampAt::Header(header_name("timestamp_header", &header)?)),
            (None, Some(prefix)) => Some(TimestampAt::Part(prefix)),
            (Some(_), Some(_)) => {
                return Err(("timestamp_prefix", "one of timestamp_header and timestamp_prefix is enough".to_owned()));
            }
        };
        let id = match self.id_header {
            None => None,
            Some(header) => Some(IdAt::Header(header_name("id_header", &header)?)),
        };
        let tolerance_seconds = self.tolerance_seconds.unwrap_or(TOLERANCE_SECONDS);
        if !(1..=3_600).contains(&tolerance_seconds) {
            return Err(("tolerance_seconds", "must be 1 to 3600".to_owned()));
        }
        if !signed.contains("{body}") {
            return Err(("signed", "must contain {body}: a signature over less proves nothing of it".to_owned()));
        }
        if signed.contains("{timestamp}") != timestamp.is_some() {
            let message = "{timestamp} and where it stands (timestamp_header or timestamp_prefix) go together";
            return Err(("signed", message.to_owned()));
        }
        if signed.contains("{id}") && id.is_none() {
            return Err(("id_header", "is required where {id} is signed".to_owned()));
        }
        if matches!(timestamp, Some(TimestampAt::Part(_))) && self.separator.is_none() {
            return Err(("separator", "is required where the time stands among the header's parts".to_owned()));
        }
        Ok(Scheme {
            header: header_name("header", &header)?,
            algorithm: self.algorithm.unwrap_or_default(),
            encoding: self.encoding.unwrap_or_default(),
            prefix: text("prefix", self.prefix)?.unwrap_or_default(),
            separator: self.separator,
            timestamp,
            tolerance_seconds,
            signed,
            id,
            is_base64_key: false,
        })
    }
}

fn text(field: &'static str, given: Option<String>) -> Result<Option<Cow<'static, str>>, (&'static str, String)> {
    match given {
        Some(text) if text.is_empty() || text.chars().count() > MAX_TEXT_CHARS || text.contains(char::is_control) => {
            Err((field, format!("must have 1 to {MAX_TEXT_CHARS} characters that can be seen")))
        }
        given => Ok(given.map(Cow::Owned)),
    }
}

fn header_name(field: &'static str, name: &str) -> Result<Cow<'static, str>, (&'static str, String)> {
    match name.parse::<HeaderName>() {
        Ok(name) if name.as_str().len() <= MAX_TEXT_CHARS => Ok(Cow::Owned(name.as_str().to_owned())),
        _ => Err((field, "must be the name of a header".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_description_covers_what_the_known_providers_do() {
        let stripe = json!({
            "header": "Stripe-Signature", "prefix": "v1=", "separator": ",", "timestamp_prefix": "t=",
            "signed": "{timestamp}.{body}",
        });
        let described = Scheme::of(Verification::Hmac, &stripe).expect("sound");
        assert_eq!(Scheme { id: STRIPE.id, ..described }, STRIPE);
        let github = json!({"header": "X-Hub-Signature-256", "prefix": "sha256=", "id_header": "X-GitHub-Delivery"});
        assert_eq!(Scheme::of(Verification::Hmac, &github), Some(GITHUB));
        assert_eq!(Scheme::of(Verification::Hmac, &json!({"preset": "stripe"})), Some(STRIPE));
    }

    #[test]
    fn what_cannot_be_verified_is_refused_by_its_field() {
        for (form, field) in [
            (json!({}), "header"),
            (json!({"header": "a b"}), "header"),
            (json!({"header": "x", "signed": "v0"}), "signed"),
            (json!({"header": "x", "signed": "{timestamp}{body}"}), "signed"),
            (json!({"header": "x", "timestamp_header": "t"}), "signed"),
            (json!({"header": "x", "signed": "{id}{body}"}), "id_header"),
            (json!({"header": "x", "signed": "{timestamp}{body}", "timestamp_prefix": "t="}), "separator"),
            (json!({"header": "x", "timestamp_header": "t", "timestamp_prefix": "t="}), "timestamp_prefix"),
            (json!({"header": "x", "tolerance_seconds": 0}), "tolerance_seconds"),
            (json!({"header": "x", "prefix": "é\n"}), "prefix"),
            (json!({"preset": "stripe", "header": "x"}), "preset"),
        ] {
            let read: HmacForm = serde_json::from_value(form.clone()).expect("the shape is right");
            assert_eq!(read.scheme().expect_err("refused").0, field, "{form}");
        }
    }

    #[test]
    fn words_read_back() {
        for word in Verification::ALL {
            assert_eq!(word.as_str().parse(), Ok(word));
            assert_eq!(json!(word), word.as_str());
        }
        assert!("none".parse::<Verification>().is_err());
    }
}
