//! Links by which people acknowledge an escalation from a message: signed, for one person and one event, for a time.
//!
//! What is signed is tenant, event, person (16 bytes each) and the end of the link's life (8 bytes, ms since the epoch,
//! big-endian).
//!
//! Whoever has the link can acknowledge in the person's name: it is sent to that person's inbox alone.

use core314_actors::escalations::{AckLinks, Acknowledger};
use core314_domain::ids::{RowId, TenantId, UserId};
use uuid::Uuid;

use crate::signed::Signer;

/// Three ids and a time.
const SIGNED_BYTES: usize = 56;

/// Makes the links and reads them.
pub struct SignedLinks {
    signer: Signer,
    /// Without a slash at its end; empty: links are paths of this server.
    base_url: String,
    lifetime_ms: i64,
}

impl SignedLinks {
    /// Links that are signed with this secret.
    pub fn new(secret: &str, base_url: &str, lifetime_hours: u64) -> Self {
        let base_url = base_url.trim_end_matches('/').to_owned();
        let signer = Signer::new("core314 acknowledge v1", secret);
        Self { signer, base_url, lifetime_ms: lifetime_hours as i64 * 3_600_000 }
    }
}

impl AckLinks for SignedLinks {
    fn link(&self, tenant: TenantId, escalation: RowId, user: UserId, now_ms: i64) -> Option<String> {
        let mut bytes = Vec::with_capacity(SIGNED_BYTES);
        for id in [tenant.0, escalation.0, user.0] {
            bytes.extend_from_slice(id.as_bytes());
        }
        bytes.extend_from_slice(&(now_ms + self.lifetime_ms).to_be_bytes());
        Some(format!("{}/api/v1/ack/{}", self.base_url, self.signer.sign(bytes)))
    }

    fn open(&self, token: &str, now_ms: i64) -> Option<Acknowledger> {
        let signed = self.signer.open(token, SIGNED_BYTES)?;
        let id = |at: usize| Uuid::from_slice(&signed[at..at + 16]).ok();
        let until_ms = i64::from_be_bytes(signed[48..].try_into().ok()?);
        let found = Acknowledger { tenant: TenantId(id(0)?), escalation: RowId(id(16)?), user: UserId(id(32)?) };
        (now_ms < until_ms).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

    use super::*;

    #[test]
    fn a_link_opens_for_its_event_and_person_until_its_end_and_no_other_does() {
        let links = SignedLinks::new("a secret of at least thirty-two bytes", "https://core.example/", 1);
        let id = |no: u128| Uuid::from_u128(no);
        let link = links.link(TenantId(id(1)), RowId(id(2)), UserId(id(3)), 1_000).expect("a link");
        let token = link.strip_prefix("https://core.example/api/v1/ack/").expect("its place");
        let opened = links.open(token, 2_000).expect("it opens");
        assert_eq!((opened.tenant.0, opened.escalation.0, opened.user.0), (id(1), id(2), id(3)));
        assert!(links.open(token, 3_601_000).is_none(), "its time is over");
        let other = SignedLinks::new("another secret of thirty-two bytes!!", "", 1);
        assert!(other.open(token, 2_000).is_none(), "another key");
        for place in 0..BASE64.decode(token).expect("base64").len() {
            let mut bytes = BASE64.decode(token).expect("base64");
            bytes[place] ^= 1;
            assert!(links.open(&BASE64.encode(bytes), 2_000).is_none(), "byte {place}");
        }
        for token in ["", "x", "ÿ", &"A".repeat(10_000)] {
            assert!(links.open(token, 0).is_none());
        }
    }
}
