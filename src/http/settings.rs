//! The limits of the HTTP surface, and the keys that open it. Defaults stand in `config/default.toml`; the ones here are
//! for tests.

use std::fmt;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use core314_domain::json::MAX_DEPTH;

/// How much of everything the server takes at once.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSettings {
    /// Threads that answer requests; 0: one per core.
    pub workers: usize,
    /// Open connections per worker; more wait in the system's queue.
    pub max_connections_per_worker: usize,
    /// How long an idle connection is kept.
    pub keep_alive_seconds: u64,
    /// How long a client may take to send its first request's head; at least 1,000, because the server's clock for it
    /// ticks twice a second.
    pub header_timeout_ms: u64,
    /// How long a client may take to send a request's body.
    pub body_timeout_ms: u64,
    /// How long a client may leave what was sent to it unread before its connection is closed.
    pub send_timeout_ms: u32,
    /// How long `/readyz` waits for the store.
    pub ready_timeout_ms: u64,
    /// How long requests under way may take once the server is told to stop.
    pub drain_seconds: u64,
    /// The largest body that is read.
    pub max_body_bytes: usize,
    /// How deep JSON may nest; at most 64.
    pub max_json_depth: usize,
    /// Items in a page of a list, where the client does not say.
    pub default_page_items: usize,
    /// Items in a page of a list, at most; at most 500.
    pub max_page_items: usize,
    /// How clients reach this server, such as `https://core314.example`; empty: as the request's `Host` says.
    pub public_url: String,
    pub stream: StreamSettings,
}

/// How much `/api/v1/stream` serves.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamSettings {
    /// Streams that are open at once; more get 503.
    pub max_clients: usize,
    /// Streams of one tenant; more get 429.
    pub max_clients_per_tenant: usize,
    /// How often a stream without changes says that it lives, and proves its caller again.
    pub heartbeat_seconds: u64,
    /// After this time a stream ends, and its client comes back.
    pub max_seconds: u64,
}

impl Default for StreamSettings {
    fn default() -> Self {
        Self { max_clients: 5_000, max_clients_per_tenant: 500, heartbeat_seconds: 15, max_seconds: 3_600 }
    }
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            workers: 0,
            max_connections_per_worker: 10_000,
            keep_alive_seconds: 75,
            header_timeout_ms: 5_000,
            body_timeout_ms: 10_000,
            send_timeout_ms: 30_000,
            ready_timeout_ms: 2_000,
            drain_seconds: 10,
            max_body_bytes: 1 << 20,
            max_json_depth: MAX_DEPTH,
            default_page_items: 50,
            max_page_items: 500,
            public_url: String::new(),
            stream: StreamSettings::default(),
        }
    }
}

impl HttpSettings {
    /// What is wrong with the values: the key and what is allowed. Empty when they can be used.
    pub fn problems(&self) -> Vec<String> {
        let bounds = [
            ("max_connections_per_worker", self.max_connections_per_worker, 1, 1_000_000),
            ("max_body_bytes", self.max_body_bytes, 1_024, 64 << 20),
            ("max_json_depth", self.max_json_depth, 1, MAX_DEPTH),
            ("stream.max_clients", self.stream.max_clients, 1, 1_000_000),
            ("stream.max_clients_per_tenant", self.stream.max_clients_per_tenant, 1, 1_000_000),
            ("max_page_items", self.max_page_items, 1, 500),
            ("default_page_items", self.default_page_items, 1, self.max_page_items),
        ];
        let times = [
            ("header_timeout_ms", self.header_timeout_ms, 1_000, 600_000),
            ("body_timeout_ms", self.body_timeout_ms, 100, 600_000),
            ("send_timeout_ms", self.send_timeout_ms.into(), 100, 600_000),
            ("stream.heartbeat_seconds", self.stream.heartbeat_seconds, 1, 60),
            ("stream.max_seconds", self.stream.max_seconds, 1, 86_400),
            ("ready_timeout_ms", self.ready_timeout_ms, 10, 60_000),
            ("keep_alive_seconds", self.keep_alive_seconds, 1, 3_600),
            ("drain_seconds", self.drain_seconds, 0, 3_600),
        ];
        let times = times.map(|(key, value, least, most)| (key, value as usize, least, most));
        let out = bounds.into_iter().chain(times).filter(|(_, value, least, most)| value < least || value > most);
        let mut found: Vec<String> =
            out.map(|(key, value, least, most)| format!("http.{key} is {value}, must be {least} to {most}")).collect();
        let is_url = self.public_url.starts_with("http://") || self.public_url.starts_with("https://");
        if !(self.public_url.is_empty() || is_url) {
            found.push("http.public_url must begin with http:// or https://".to_owned());
        }
        found
    }
}

/// Who is let in.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthSettings {
    /// SHA-256 digests, 64 hexadecimal digits each, of the platform's service keys.
    pub service_key_sha256: Vec<KeyDigest>,
    /// The secret of HS256 user tokens; empty: no user token is accepted.
    pub jwt_secret: String,
    /// How far the clocks of token issuers may be off.
    pub jwt_leeway_seconds: u64,
}

impl fmt::Debug for AuthSettings {
    /// Tells nothing that opens a door.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthSettings")
            .field("service_keys", &self.service_key_sha256.len())
            .field("has_jwt_secret", &!self.jwt_secret.is_empty())
            .field("jwt_leeway_seconds", &self.jwt_leeway_seconds)
            .finish()
    }
}

/// The SHA-256 digest of a key: all that is ever kept of one.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
pub struct KeyDigest(pub [u8; 32]);

impl KeyDigest {
    /// The digest of a key.
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// The start of the digest, which names the key in logs and says nothing about it.
    pub fn name(&self) -> String {
        let [a, b, c, d, ..] = self.0;
        format!("{:08x}", u32::from_be_bytes([a, b, c, d]))
    }
}

impl TryFrom<String> for KeyDigest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const EXPECTED: &str = "a key digest has 64 hexadecimal digits";
        let mut digest = [0; 32];
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(EXPECTED);
        }
        for (at, byte) in digest.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| EXPECTED)?;
        }
        Ok(Self(digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_can_be_used_and_bad_values_name_their_key() {
        assert_eq!(HttpSettings::default().problems(), Vec::<String>::new());
        let bad = HttpSettings { max_page_items: 501, public_url: "example.org".to_owned(), ..HttpSettings::default() };
        assert_eq!(
            bad.problems(),
            ["http.max_page_items is 501, must be 1 to 500", "http.public_url must begin with http:// or https://"]
        );
    }

    #[test]
    fn a_digest_reads_back_and_anything_else_is_refused() {
        let digest = KeyDigest::of("key");
        // The digest of "key", as sha256sum prints it.
        let hex = "2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683".to_owned();
        assert_eq!(KeyDigest::try_from(hex.clone()).expect("64 digits").0, digest.0);
        assert!(hex.starts_with(&digest.name()));
        for text in ["", "key", &hex[1..], &format!("{}é", &hex[2..])] {
            assert!(KeyDigest::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn debugging_shows_no_secret() {
        let auth = AuthSettings { jwt_secret: "hush".to_owned(), ..AuthSettings::default() };
        assert!(!format!("{auth:?}").contains("hush"));
    }
}
