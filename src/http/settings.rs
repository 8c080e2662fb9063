//! The limits of the HTTP surface, and the keys that open it. Defaults stand in `config/default.toml`; the ones here are
//! for tests.

use std::fmt;

use ipnet::IpNet;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use core314_domain::json::MAX_DEPTH;

use super::client::ForwardedBy;
use super::cors;
use super::rate_limit::RateLimitSettings;
use super::tls::TlsSettings;

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
    /// How long one request may replay runs.
    pub max_replay_ms: u64,
    /// How clients reach this server, such as `https://core314.example`; empty: as the request's `Host` says.
    pub public_url: String,
    pub stream: StreamSettings,
    /// Requests under way at once; more get 503.
    pub max_in_flight: usize,
    /// Pages of which origins may use the API from a browser.
    pub cors_origins: Vec<String>,
    /// How often each tenant may ask.
    pub rate_limit: RateLimitSettings,
    /// Where proxies stand whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Which forwarding headers those write.
    pub forwarded_by: ForwardedBy,
    /// Whether `/metrics` is open to everybody.
    pub metrics_public: bool,
    /// TLS by this server itself.
    pub tls: TlsSettings,
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
            max_replay_ms: 10_000,
            public_url: String::new(),
            max_in_flight: 10_000,
            cors_origins: Vec::new(),
            rate_limit: RateLimitSettings::default(),
            trusted_proxies: Vec::new(),
            forwarded_by: ForwardedBy::default(),
            metrics_public: false,
            tls: TlsSettings::default(),
            stream: StreamSettings::default(),
        }
    }
}

impl HttpSettings {
    /// What is wrong with the values: each key and what is allowed. Empty when they can be used.
    pub fn problems(&self) -> Vec<(String, String)> {
        let bounds = [
            ("max_connections_per_worker", self.max_connections_per_worker, 1, 1_000_000),
            ("max_in_flight", self.max_in_flight, 1, 1_000_000),
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
            ("max_replay_ms", self.max_replay_ms, 100, 60_000),
            ("ready_timeout_ms", self.ready_timeout_ms, 10, 60_000),
            ("keep_alive_seconds", self.keep_alive_seconds, 1, 3_600),
            ("drain_seconds", self.drain_seconds, 0, 3_600),
        ];
        let times = times.map(|(key, value, least, most)| (key, value as usize, least, most));
        let out = bounds.into_iter().chain(times).filter(|(_, value, least, most)| value < least || value > most);
        let mut found: Vec<(String, String)> = out
            .map(|(key, value, least, most)| (format!("http.{key}"), format!("is {value}, must be {least} to {most}")))
            .collect();
        let mut add = |key: &str, message: String| found.push((key.to_owned(), message));
        let is_url = self.public_url.starts_with("http://") || self.public_url.starts_with("https://");
        if !(self.public_url.is_empty() || is_url) {
            add("http.public_url", "must begin with http:// or https://".to_owned());
        }
        for problem in self.cors_origins.iter().filter_map(|entry| cors::problem(entry)) {
            add("http.cors_origins", problem);
        }
        if self.trusted_proxies.iter().any(|network| network.prefix_len() == 0) {
            add("http.trusted_proxies", "has a network of all addresses: name those of the proxies".to_owned());
        }
        let has_certificate = !self.tls.certificate.as_os_str().is_empty();
        if has_certificate == self.tls.key.as_os_str().is_empty() {
            let set = if has_certificate { "http.tls.certificate" } else { "http.tls.key" };
            add(set, "http.tls.certificate and http.tls.key go together: set both, or neither".to_owned());
        }
        found
    }
}

/// Who is let in.
#[derive(Clone)]
pub struct AuthSettings {
    /// SHA-256 digests of the platform's configured service keys.
    pub service_key_sha256: Vec<KeyDigest>,
    /// The secret of HS256 user tokens; empty: no user token is accepted.
    pub jwt_secret: String,
    /// How far the clocks of token issuers may be off.
    pub jwt_leeway_seconds: u64,
    /// What a token's `iss` must be; empty: anything.
    pub issuer: String,
    /// What must be among a token's `aud`; empty: anything.
    pub audience: String,
    /// Where token issuers publish their keys; empty: nowhere.
    pub jwks_url: String,
    /// A file with the keys of token issuers; empty: none. Goes before the address.
    pub jwks_file: String,
    /// How long a set of keys is believed.
    pub jwks_refresh_seconds: u64,
    /// The least time between two readings of it.
    pub jwks_least_interval_seconds: u64,
    /// How long one reading may take.
    pub jwks_timeout_ms: u64,
    /// Failed attempts that one client address has at once.
    pub failed_attempts_burst: u64,
    /// Failed attempts that it has each minute after that.
    pub failed_attempts_per_minute: u64,
}

impl Default for AuthSettings {
    fn default() -> Self {
        Self {
            service_key_sha256: Vec::new(),
            jwt_secret: String::new(),
            jwt_leeway_seconds: 0,
            issuer: String::new(),
            audience: String::new(),
            jwks_url: String::new(),
            jwks_file: String::new(),
            jwks_refresh_seconds: 300,
            jwks_least_interval_seconds: 10,
            jwks_timeout_ms: 5_000,
            failed_attempts_burst: 20,
            failed_attempts_per_minute: 30,
        }
    }
}

impl fmt::Debug for AuthSettings {
    /// Tells nothing that opens a door.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthSettings")
            .field("service_keys", &self.service_key_sha256.len())
            .field("has_jwt_secret", &!self.jwt_secret.is_empty())
            .field("jwt_leeway_seconds", &self.jwt_leeway_seconds)
            .finish_non_exhaustive()
    }
}

/// The SHA-256 digest of a key: all that is ever kept of one.
#[derive(Clone, Copy)]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_can_be_used_and_bad_values_name_their_key() {
        assert!(HttpSettings::default().problems().is_empty());
        let mut bad = HttpSettings {
            max_page_items: 501,
            public_url: "example.org".to_owned(),
            cors_origins: vec!["*".to_owned()],
            trusted_proxies: vec!["0.0.0.0/0".parse().expect("a network")],
            ..HttpSettings::default()
        };
        bad.tls.key = "tls.key".into();
        let problems: Vec<String> =
            bad.problems().into_iter().map(|(key, message)| format!("{key} {message}")).collect();
        let expected = [
            "http.max_page_items is 501, must be 1 to 500",
            "http.public_url must begin with http:// or https://",
            "http.cors_origins has '*'",
            "http.trusted_proxies has a network of all addresses",
            "http.tls.key http.tls.certificate and http.tls.key go together",
        ];
        assert_eq!(problems.len(), expected.len(), "{problems:?}");
        for (problem, beginning) in problems.iter().zip(expected) {
            assert!(problem.starts_with(beginning), "{problem}");
        }
    }

    #[test]
    fn a_digest_is_that_of_the_key_and_its_name_the_start_of_it() {
        // The digest of "key", as sha256sum prints it: 2c70e12b7a0646f9…
        let digest = KeyDigest::of("key");
        assert_eq!(digest.0[..4], [0x2c, 0x70, 0xe1, 0x2b]);
        assert_eq!(digest.name(), "2c70e12b");
    }

    #[test]
    fn debugging_shows_no_secret() {
        let auth = AuthSettings { jwt_secret: "hush".to_owned(), ..AuthSettings::default() };
        assert!(!format!("{auth:?}").contains("hush"));
    }
}
