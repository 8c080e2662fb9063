//! Service keys: kept as digests, compared in constant time.
//!
//! Every digest is compared, whether or not one before it was equal, so that the time says neither which key was close
//! nor where it stands in the list.

use subtle::ConstantTimeEq;

use crate::http::settings::KeyDigest;

/// The keys that are let in.
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
