//! Secrets of webhooks: made or taken, checked, and put into the form in which they are kept.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use core314_actors::ports::webhook::{Kept, WebhookSecret, purpose};
use core314_domain::ids::WebhookId;
use core314_domain::webhook::Verification;

use crate::http::hooks::scheme::LENIENT_BASE64;
use crate::http::problem::Problem;
use crate::http::settings::KeyDigest;
use crate::vault::{Vault, VaultError};

/// A shorter secret can be guessed.
const LEAST_CHARS: usize = 16;
const MOST_CHARS: usize = 255;
/// The bounds that Standard Webhooks sets, in bytes.
const STANDARD_KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The secret to show, and as it is kept: the given one, such as the provider hands out, or a fresh one.
pub fn kept(
    vault: &Vault,
    id: WebhookId,
    verification: Verification,
    given: Option<String>,
) -> Result<(String, WebhookSecret), Problem> {
    let text = match given {
        Some(text) => {
            check(verification, &text).map_err(|message| Problem::field("secret", message))?;
            text
        }
        None => fresh(verification),
    };
    let kept = if verification.is_signature() {
        Kept::Sealed(vault.seal(text.as_bytes(), &purpose(id)).map_err(|error| refused(&error))?)
    } else {
        Kept::Digest(KeyDigest::of(&text).0)
    };
    Ok((text, WebhookSecret { kept, ends_at_ms: None }))
}

fn refused(error: &VaultError) -> Problem {
    Problem::Conflict(format!("{error}; url_secret and bearer need no key"))
}

fn fresh(verification: Verification) -> String {
    let bytes = rand::random::<[u8; 32]>();
    match verification {
        Verification::StandardWebhooks => format!("whsec_{}", STANDARD.encode(bytes)),
        _ => URL_SAFE_NO_PAD.encode(bytes),
    }
}

fn check(verification: Verification, text: &str) -> Result<(), String> {
    if verification == Verification::StandardWebhooks {
        let bytes = LENIENT_BASE64.decode(text.strip_prefix("whsec_").unwrap_or(text));
        let is_sound = bytes.is_ok_and(|bytes| STANDARD_KEY_BYTES.contains(&bytes.len()));
        return if is_sound {
            Ok(())
        } else {
            Err("must be 24 to 64 bytes in base64, after whsec_ or alone".to_owned())
        };
    }
    if !(LEAST_CHARS..=MOST_CHARS).contains(&text.chars().count()) {
        return Err(format!("must have {LEAST_CHARS} to {MOST_CHARS} characters"));
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.~".contains(c);
    match verification {
        Verification::UrlSecret if !text.chars().all(is_plain) => {
            Err("stands in a URL: letters, digits and -_.~ alone".to_owned())
        }
        Verification::Bearer if !text.chars().all(|c| c.is_ascii_graphic()) => {
            Err("stands in a header: visible ASCII characters alone".to_owned())
        }
        _ if text.contains('\0') => Err("must not contain the NUL character".to_owned()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const ID: WebhookId = WebhookId(Uuid::from_u128(1));

    #[test]
    fn a_secret_that_signs_is_sealed_and_any_other_digested() {
        let vault = Vault::new(Some("0123456789abcdef0123456789abcdef"));
        let (text, secret) = kept(&vault, ID, Verification::Github, None).expect("made");
        let Kept::Sealed(sealed) = secret.kept else { panic!("it must be had back") };
        assert_eq!(vault.open(&sealed, &purpose(ID)), Ok(text.into_bytes()));
        let given = Some("a-secret-of-the-caller".to_owned());
        let (text, secret) = kept(&vault, ID, Verification::Bearer, given).expect("taken");
        assert_eq!(secret.kept, Kept::Digest(KeyDigest::of("a-secret-of-the-caller").0));
        assert_eq!(text, "a-secret-of-the-caller");
    }

    #[test]
    fn without_a_key_only_digests_are_kept() {
        let vault = Vault::new(None);
        assert!(kept(&vault, ID, Verification::UrlSecret, None).is_ok());
        let refusal = kept(&vault, ID, Verification::Slack, None).expect_err("no key").to_string();
        assert!(refusal.contains("CORE314_SECRET_KEY"), "{refusal}");
    }

    #[test]
    fn a_given_secret_fits_its_place() {
        let long = "x".repeat(256);
        for (way, bad) in [
            (Verification::UrlSecret, "short"),
            (Verification::UrlSecret, "a secret/with signs"),
            (Verification::Bearer, "a secret with spaces"),
            (Verification::Github, "fifteen-letters"),
            (Verification::Hmac, &long),
            (Verification::StandardWebhooks, "whsec_c2hvcnQ="),
            (Verification::StandardWebhooks, "not base64 at all, that"),
        ] {
            assert!(check(way, bad).is_err(), "{way:?} {bad}");
        }
        assert_eq!(check(Verification::StandardWebhooks, &fresh(Verification::StandardWebhooks)), Ok(()));
        assert_eq!(check(Verification::UrlSecret, &fresh(Verification::UrlSecret)), Ok(()));
    }
}
