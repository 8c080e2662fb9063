//! Combinations that are refused because nobody would want them if they knew.

use super::{Config, Problem};

/// What the configuration is to be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// For production: secrets must be set and strong.
    Serve,
    /// For one developer on one machine: secrets are made where they are not set.
    Dev,
}

/// A secret has at least so many characters.
const SECRET_CHARACTERS: usize = 32;
/// And so many different ones: random hexadecimal digits have more, a repeated word has fewer.
const DIFFERENT_CHARACTERS: usize = 8;

/// What is unsafe.
pub fn check(config: &Config, mode: Mode) -> Vec<Problem> {
    let mut found = Vec::new();
    if mode == Mode::Serve {
        found.extend(secrets(config));
    }
    if !config.text("auth.jwks_url").is_empty() && !config.text("auth.jwks_file").is_empty() {
        found.push(
            config.problem("auth.jwks_url", "must be empty where auth.jwks_file is set: keys come from one place"),
        );
    }
    let is_covered = !config.text("http.tls.certificate").is_empty() || !config.is_empty("http.trusted_proxies");
    if !(config.listen().ip().is_loopback() || is_covered || config.flag("server.allow_insecure_listen")) {
        let message = format!(
            "{} can be reached from other machines in the clear: name a certificate in http.tls.certificate and \
             http.tls.key, declare the proxy that terminates TLS in http.trusted_proxies, listen on 127.0.0.1, or set \
             server.allow_insecure_listen = true (CORE314__SERVER__ALLOW_INSECURE_LISTEN=true) where the network may be \
             trusted",
            config.listen()
        );
        found.push(config.problem("server.listen", message));
    }
    found
}

fn has_issuer_keys(config: &Config) -> bool {
    !config.text("auth.jwks_url").is_empty() || !config.text("auth.jwks_file").is_empty()
}

fn secrets(config: &Config) -> Vec<Problem> {
    let mut found = Vec::new();
    match config.secret("auth.jwt_secret") {
        // Tokens of an identity provider need no secret here.
        None if has_issuer_keys(config) => {}
        None => {
            let message = "must be set; make one with `openssl rand -hex 32` and set CORE314_JWT_SECRET";
            found.push(config.problem("auth.jwt_secret", message));
        }
        Some(secret) => found.extend(weakness(secret).map(|why| config.problem("auth.jwt_secret", why))),
    }
    if let Some(key) = config.secret("secrets.key") {
        found.extend(weakness(key).map(|why| config.problem("secrets.key", why)));
        if config.secret("auth.jwt_secret") == Some(key) || config.secret("auth.service_key") == Some(key) {
            found.push(config.problem("secrets.key", "must differ from auth.jwt_secret and auth.service_key"));
        }
    }
    if let Some(key) = config.secret("auth.service_key") {
        found.extend(weakness(key).map(|why| config.problem("auth.service_key", why)));
        if config.secret("auth.jwt_secret") == Some(key) {
            found.push(config.problem("auth.service_key", "must differ from auth.jwt_secret"));
        }
    }
    found
}

/// Why a secret could be guessed.
fn weakness(secret: &str) -> Option<String> {
    let characters = secret.chars().count();
    if characters < SECRET_CHARACTERS {
        return Some(format!(
            "has {characters} characters, at least {SECRET_CHARACTERS} are needed; make one with `openssl rand -hex 32`"
        ));
    }
    let mut different: Vec<char> = secret.chars().collect();
    different.sort_unstable();
    different.dedup();
    (different.len() < DIFFERENT_CHARACTERS)
        .then(|| format!("has only {} different characters; make one with `openssl rand -hex 32`", different.len()))
}
