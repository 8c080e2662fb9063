//! How a provider signs its deliveries: one description that covers all of them, and what each of the known ones says.
//!
//! A signature is an HMAC over a text with `{body}`, `{timestamp}` and `{id}` in it, written into a header after a prefix,
//! alone or in a list. Sources: [Standard Webhooks](https://github.com/standard-webhooks/standard-webhooks),
//! [GitHub](https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries),
//! [Slack](https://api.slack.com/authentication/verifying-requests-from-slack),
//! [Stripe](https://docs.stripe.com/webhooks#verify-manually).

use std::borrow::Cow;

use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use core314_domain::webhook::{Algorithm, Encoding, HmacForm, Preset, Verification};
use serde::Deserialize;
use serde_json::Value;

/// How far a delivery's time may be off, in either direction, where nothing else is said.
const TOLERANCE_SECONDS: u32 = 300;
/// Reads what providers hand out, with and without padding.
pub const LENIENT_BASE64: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

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
            Verification::Hmac => Self::described(HmacForm::deserialize(options).ok()?),
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

impl Scheme {
    /// What a sound form describes.
    fn described(form: HmacForm) -> Option<Self> {
        form.check().ok()?;
        if form.preset == Some(Preset::Stripe) {
            return Some(STRIPE);
        }
        // Headers are found by their names in lower case.
        let header_name = |name: String| Cow::Owned(name.to_ascii_lowercase());
        let in_header = form.timestamp_header.map(|name| TimestampAt::Header(header_name(name)));
        let in_part = form.timestamp_prefix.map(|prefix| TimestampAt::Part(Cow::Owned(prefix)));
        Some(Self {
            header: header_name(form.header.unwrap_or_default()),
            algorithm: form.algorithm.unwrap_or_default(),
            encoding: form.encoding.unwrap_or_default(),
            prefix: form.prefix.map_or(HEX_SHA256.prefix, Cow::Owned),
            separator: form.separator,
            timestamp: in_header.or(in_part),
            tolerance_seconds: form.tolerance_seconds.unwrap_or(TOLERANCE_SECONDS),
            signed: form.signed.map_or(HEX_SHA256.signed, Cow::Owned),
            id: form.id_header.map(|name| IdAt::Header(header_name(name))),
            is_base64_key: false,
        })
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
    fn words_read_back() {
        for word in Verification::ALL {
            assert_eq!(word.as_str().parse(), Ok(*word));
            assert_eq!(json!(word), word.as_str());
        }
        assert!("none".parse::<Verification>().is_err());
    }
}
