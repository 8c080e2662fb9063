//! Secrets at rest: sealed by authenticated encryption, opened at the moment when they are used.
//!
//! A sealed secret is a text of three parts, divided by dots:
//! ```text
//! v1 . key id (8 hexadecimal digits) . base64url, without padding, of nonce (24 bytes) and XChaCha20-Poly1305 ciphertext
//! ```
//! The key is the SHA-256 of `core314 vault v1`, a NUL byte and the configured text; its id is the beginning of the
//! key's own SHA-256, so that a later key is told from an earlier one without trying. The purpose of a secret, such as
//! `webhook:ID`, is authenticated with it: copied into another row it does not open.
//!
//! The configured text has 32 characters at least and is random (the start refuses a weak one), so that one pass of
//! SHA-256 is enough; nonces are random, which 24 bytes allow for any number of secrets.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use core314_actors::ports::integration::{self as ports, Locked};
use sha2::{Digest, Sha256};

const VERSION: &str = "v1";
const NONCE_BYTES: usize = 24;

/// Why a secret was not sealed or opened. The variants say what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// Give the server a key.
    #[error(
        "this server has no key to encrypt secrets with: set CORE314_SECRET_KEY (make one with `openssl rand -hex 32`) \
         and start it again"
    )]
    NoKey,
    /// Give the server the key that it was sealed with.
    #[error("a secret was encrypted with the key {sealed_with}, and this server has {}", .has.as_deref().unwrap_or("none"))]
    OtherKey { sealed_with: String, has: Option<String> },
    /// Replace the secret: what is stored is no sealed secret, or not of this place.
    #[error("a stored secret is damaged, or was moved")]
    Damaged,
}

/// Seals with its key, and opens what that key or the one before it has sealed. Without a key it does neither.
#[derive(Clone)]
pub struct Vault {
    key: Option<Key>,
    /// What is being rotated away: it opens, and seals nothing.
    previous: Option<Key>,
}

#[derive(Clone)]
struct Key {
    id: String,
    cipher: XChaCha20Poly1305,
}

impl Key {
    fn of(text: &str) -> Self {
        let key = Sha256::new().chain_update(b"core314 vault v1\0").chain_update(text).finalize();
        let [a, b, c, d, ..] = <[u8; 32]>::from(Sha256::digest(key));
        let id = format!("{:08x}", u32::from_be_bytes([a, b, c, d]));
        Self { id, cipher: XChaCha20Poly1305::new(&<[u8; 32]>::from(key).into()) }
    }
}

impl fmt::Debug for Vault {
    /// Tells the key's id alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Vault").field(&self.key.as_ref().map(|key| &key.id)).finish()
    }
}

impl Vault {
    /// A vault with this key; without one it refuses.
    pub fn new(key: Option<&str>) -> Self {
        Self { key: key.map(Key::of), previous: None }
    }

    /// The same with the key before it.
    #[must_use]
    pub fn with_previous(self, previous: Option<&str>) -> Self {
        Self { previous: previous.map(Key::of), ..self }
    }

    /// Whether it was sealed with the key of now.
    pub fn is_current(&self, sealed: &str) -> bool {
        let id = sealed.split('.').nth(1);
        self.key.as_ref().is_some_and(|key| Some(key.id.as_str()) == id)
    }

    /// Seals a secret for a purpose.
    pub fn seal(&self, secret: &[u8], purpose: &str) -> Result<String, VaultError> {
        let key = self.key.as_ref().ok_or(VaultError::NoKey)?;
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let sealed = key.cipher.encrypt(&XNonce::from(nonce), Payload { msg: secret, aad: purpose.as_bytes() });
        let sealed = sealed.expect("a secret is shorter than 256 GB");
        Ok(format!("{VERSION}.{}.{}", key.id, BASE64.encode([&nonce, sealed.as_slice()].concat())))
    }

    /// Opens what was sealed for this purpose.
    pub fn open(&self, sealed: &str, purpose: &str) -> Result<Vec<u8>, VaultError> {
        let mut parts = sealed.split('.');
        let (Some(VERSION), Some(id), Some(text), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(VaultError::Damaged);
        };
        let has = self.key.as_ref().map(|key| key.id.clone());
        let key = [&self.key, &self.previous].into_iter().flatten().find(|key| key.id == id);
        let key = key.ok_or_else(|| VaultError::OtherKey { sealed_with: id.to_owned(), has })?;
        let bytes = BASE64.decode(text).map_err(|_| VaultError::Damaged)?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>().ok_or(VaultError::Damaged)?;
        let payload = Payload { msg: sealed, aad: purpose.as_bytes() };
        key.cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| VaultError::Damaged)
    }
}

/// As the core knows it.
impl ports::Vault for Vault {
    fn seal(&self, value: &str, purpose: &str) -> Result<String, Locked> {
        Self::seal(self, value.as_bytes(), purpose).map_err(|error| Locked(error.to_string()))
    }

    fn open(&self, sealed: &str, purpose: &str) -> Result<String, Locked> {
        let opened = Self::open(self, sealed, purpose).map_err(|error| Locked(error.to_string()))?;
        String::from_utf8(opened).map_err(|_| Locked(VaultError::Damaged.to_string()))
    }

    fn is_current(&self, sealed: &str) -> bool {
        Self::is_current(self, sealed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn what_was_sealed_opens_for_its_purpose_alone() {
        let vault = Vault::new(Some(KEY));
        let sealed = vault.seal(b"hush", "webhook:1").expect("seals");
        assert!(sealed.starts_with("v1.") && !sealed.contains("hush"));
        assert_ne!(vault.seal(b"hush", "webhook:1").expect("seals"), sealed, "a nonce is used once");
        assert_eq!(vault.open(&sealed, "webhook:1"), Ok(b"hush".to_vec()));
        assert_eq!(vault.open(&sealed, "webhook:2"), Err(VaultError::Damaged));
    }

    #[test]
    fn any_change_is_noticed() {
        let vault = Vault::new(Some(KEY));
        let sealed = vault.seal(b"hush", "p").expect("seals");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert!(vault.open(&changed, "p").is_err(), "{changed}");
        }
        for text in ["", "v1", "v1.x.", "v2.aaaaaaaa.AAAA", "v1.a.b.c"] {
            assert!(vault.open(text, "p").is_err(), "{text}");
        }
    }

    #[test]
    fn the_key_before_opens_and_seals_nothing() {
        let old = Vault::new(Some("another key of at least 32 characters"));
        let sealed = old.seal(b"hush", "p").expect("seals");
        let both = Vault::new(Some(KEY)).with_previous(Some("another key of at least 32 characters"));
        assert_eq!(both.open(&sealed, "p"), Ok(b"hush".to_vec()));
        assert!(old.is_current(&sealed) && !both.is_current(&sealed));
        let anew = both.seal(b"hush", "p").expect("seals");
        assert!(both.is_current(&anew) && old.open(&anew, "p").is_err());
    }

    #[test]
    fn another_key_is_named_and_none_says_what_to_do() {
        let sealed = Vault::new(Some(KEY)).seal(b"hush", "p").expect("seals");
        let other = Vault::new(Some("another key of at least 32 characters")).open(&sealed, "p");
        assert!(matches!(other, Err(VaultError::OtherKey { has: Some(_), .. })), "{other:?}");
        assert!(matches!(Vault::new(None).open(&sealed, "p"), Err(VaultError::OtherKey { has: None, .. })));
        let refusal = Vault::new(None).seal(b"hush", "p").expect_err("no key").to_string();
        assert!(refusal.contains("CORE314_SECRET_KEY") && refusal.contains("openssl rand -hex 32"), "{refusal}");
        assert!(!format!("{:?}", Vault::new(Some(KEY))).contains(KEY));
    }
}
