//! Signatures as Standard Webhooks defines them: HMAC-SHA256 over `id.timestamp.body`, version `v1`.

use base64::Engine;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Reads secrets with and without padding: services hand out both.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The standard's bounds: fewer bytes are guessable, more are no stronger.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The secret cannot be used: give it as the receiver shows it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("is not base64, after 'whsec_' or alone")]
    Encoding,
    #[error("must hold 24 to 64 bytes in base64, after 'whsec_' or alone; holds {0}")]
    Length(usize),
}

/// A signing key.
pub struct Key(Vec<u8>);

impl Key {
    /// Reads a secret as receivers show it: base64, with or without the prefix `whsec_`.
    pub fn parse(secret: &str) -> Result<Self, KeyError> {
        let secret = secret.trim();
        let bytes = LENIENT.decode(secret.strip_prefix("whsec_").unwrap_or(secret)).map_err(|_| KeyError::Encoding)?;
        if KEY_BYTES.contains(&bytes.len()) { Ok(Self(bytes)) } else { Err(KeyError::Length(bytes.len())) }
    }

    /// The value of the header `webhook-signature`. The time is in seconds since 1970.
    pub fn sign(&self, id: &str, timestamp_s: u64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(format!("{id}.{timestamp_s}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standards_own_example() {
        let key = Key::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("a good secret");
        let signature = key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn secrets_are_read_with_and_without_prefix_and_padding() {
        let sign = |secret: &str| Key::parse(secret).map(|key| key.sign("a", 1, b"")).ok();
        let expected = sign("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGA==").expect("25 bytes");
        assert_eq!(sign("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGA"), Some(expected));
        assert_eq!(Key::parse("not base64!").err(), Some(KeyError::Encoding));
        assert_eq!(Key::parse("whsec_c2hvcnQ=").err(), Some(KeyError::Length(5)));
    }
}
