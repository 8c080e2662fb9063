//! Signed tokens, which are all that a link needs to say.
//!
//! A token is base64url, without padding, of what is signed and its HMAC-SHA256. The key is made of the configured secret and a
//! label, one for each use, so that no token of one use is one of another.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

const MAC_BYTES: usize = 32;

/// Signs, and tells what it has signed.
pub struct Signer {
    key: [u8; 32],
}

impl Signer {
    /// A signer for one use.
    pub fn new(label: &str, secret: &str) -> Self {
        let key = Sha256::new().chain_update(label).chain_update(b"\0").chain_update(secret).finalize();
        Self { key: key.into() }
    }

    /// The HMAC of some bytes.
    pub fn mac(&self, bytes: &[u8]) -> [u8; MAC_BYTES] {
        self.started(bytes).finalize().into_bytes().into()
    }

    fn started(&self, bytes: &[u8]) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.chain_update(bytes)
    }

    /// A token that says these bytes.
    pub fn sign(&self, mut bytes: Vec<u8>) -> String {
        let mac = self.mac(&bytes);
        bytes.extend_from_slice(&mac);
        BASE64.encode(bytes)
    }

    /// What a token says, which has this many bytes; `None` where it is none of ours.
    pub fn open(&self, token: &str, length: usize) -> Option<Vec<u8>> {
        let mut bytes = BASE64.decode(token).ok().filter(|bytes| bytes.len() == length + MAC_BYTES)?;
        let mac = bytes.split_off(length);
        // In constant time.
        self.started(&bytes).verify_slice(&mac).ok()?;
        Some(bytes)
    }
}
