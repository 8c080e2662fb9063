//! Service keys: kept as digests, compared in constant time.
//!
//! Of the configured ones every digest is compared, whether or not one before it was equal, so that the time says neither
//! which key was close nor where it stands in the list. Those that the API issued are looked up by their digest: what
//! an index's search gives away is about digests, which nobody can steer towards one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use subtle::ConstantTimeEq;

use crate::http::settings::KeyDigest;

/// What issued keys begin with, so that people and scanners for leaked secrets recognise one.
const PREFIX: &str = "c314_";
/// 32 bytes in base64 without padding.
const RANDOM_CHARS: usize = 43;

/// A key that nobody can guess.
pub fn fresh_key() -> String {
    format!("{PREFIX}{}", BASE64.encode(rand::random::<[u8; 32]>()))
}

/// Whether a token has the form of an issued key: nothing else is looked for in the store.
pub fn is_issued(token: &str) -> bool {
    token.strip_prefix(PREFIX).is_some_and(|random| random.len() == RANDOM_CHARS)
}

/// The keys that are let in by configuration.
pub struct ServiceKeys {
    digests: Vec<KeyDigest>,
}

impl ServiceKeys {
    pub const fn new(digests: Vec<KeyDigest>) -> Self {
        Self { digests }
    }

    /// The name of the key that this token is, if it is one.
    pub fn name_of(&self, token: &str) -> Option<String> {
        let given = KeyDigest::of(token);
        let equal = self.digests.iter().fold(false, |found, known| found | bool::from(known.0.ct_eq(&given.0)));
        equal.then(|| given.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_key_has_the_form_of_one_and_differs_from_the_next() {
        let key = fresh_key();
        assert!(is_issued(&key), "{key}");
        assert_ne!(key, fresh_key());
        for other in ["", "c314_", &key[1..], &key[..key.len() - 1], &format!("{key}x"), "a.b.c"] {
            assert!(!is_issued(other), "{other}");
        }
    }

    #[test]
    fn a_configured_key_is_known_by_its_name_and_no_other_is() {
        let keys = ServiceKeys::new(vec![KeyDigest::of("one"), KeyDigest::of("two")]);
        assert_eq!(keys.name_of("two"), Some(KeyDigest::of("two").name()));
        assert_eq!(keys.name_of("three"), None);
        assert_eq!(ServiceKeys::new(Vec::new()).name_of(""), None);
    }
}
