//! Codes and links that prove an address. Neither is kept: both are made of what they are for and the configured secret.
//!
//! A code is eight digits of an HMAC, so that it can be told by telephone; how often it may be guessed is bounded
//! (`engine.contact_code_tries`). A link's token says tenant, contact method (16 bytes each) and the code's number (8 bytes,
//! big-endian), signed.

use core314_actors::ports::people::{Codes, Proof};
use core314_domain::ids::{RowId, TenantId};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use crate::signed::Signer;

const PROOF_BYTES: usize = 40;
const DIGITS: u64 = 100_000_000;

/// Makes codes and links.
pub struct SignedCodes {
    codes: Signer,
    links: Signer,
    /// Without a slash at its end; empty: links are paths of this server.
    base_url: String,
}

impl SignedCodes {
    /// Codes that are made of this secret.
    pub fn new(secret: &str, base_url: &str) -> Self {
        Self {
            codes: Signer::new("core314 contact code v1", secret),
            links: Signer::new("core314 contact link v1", secret),
            base_url: base_url.trim_end_matches('/').to_owned(),
        }
    }
}

impl Codes for SignedCodes {
    fn code(&self, of: Proof) -> String {
        let mac = self.codes.mac(&bytes(of));
        let number = u64::from_be_bytes(mac[..8].try_into().expect("a MAC has more bytes than that"));
        format!("{:08}", number % DIGITS)
    }

    fn is_code(&self, of: Proof, given: &str) -> bool {
        bool::from(self.code(of).as_bytes().ct_eq(given.as_bytes()))
    }

    fn link(&self, of: Proof) -> String {
        format!("{}/api/v1/verify/{}", self.base_url, self.links.sign(bytes(of)))
    }

    fn open(&self, token: &str) -> Option<Proof> {
        let signed = self.links.open(token, PROOF_BYTES)?;
        let id = |at: usize| Uuid::from_slice(&signed[at..at + 16]).ok();
        let no = i64::from_be_bytes(signed[32..].try_into().ok()?);
        Some(Proof { tenant: TenantId(id(0)?), contact: RowId(id(16)?), no })
    }
}

fn bytes(of: Proof) -> Vec<u8> {
    [of.tenant.0.as_bytes().as_slice(), of.contact.0.as_bytes(), &of.no.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_and_a_link_are_of_one_contact_method_and_one_number() {
        let codes = SignedCodes::new("a secret of at least thirty-two bytes", "https://core.example/");
        let proof =
            |contact, no| Proof { tenant: TenantId(Uuid::from_u128(1)), contact: RowId(Uuid::from_u128(contact)), no };
        let code = codes.code(proof(2, 1));
        assert!(code.len() == 8 && code.bytes().all(|byte| byte.is_ascii_digit()), "{code}");
        assert!(codes.is_code(proof(2, 1), &code));
        for (other, given) in
            [(proof(2, 2), code.as_str()), (proof(3, 1), &code), (proof(2, 1), ""), (proof(2, 1), "ÿ")]
        {
            assert!(!codes.is_code(other, given), "{other:?} {given}");
        }
        let link = codes.link(proof(2, 1));
        let token = link.strip_prefix("https://core.example/api/v1/verify/").expect("its place");
        assert_eq!(codes.open(token), Some(proof(2, 1)));
        assert_eq!(SignedCodes::new("another secret of thirty-two bytes!!", "").open(token), None);
        for token in ["", "x", &token[1..], &"A".repeat(10_000)] {
            assert_eq!(codes.open(token), None, "{token}");
        }
    }
}
