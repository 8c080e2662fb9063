//! Combinations that are refused because nobody would want them if they knew.
//!
//! Each says which key it is, why it is refused, and what to do. What may be meant so has a key of its own that says what it
//! gives up (`allow_…`). What the driver of the database makes of its address `src/app/safety.rs` asks it.

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

/// What to do about a secret that is no good.
const MAKE_ONE: &str = "make one with `openssl rand -hex 32`";

/// What of this machine a section of the configuration has for flows.
struct Offer {
    section: &'static str,
    /// The key that names it. Empty: there is nothing.
    list: &'static str,
    /// What whoever writes flows may then do.
    may: &'static str,
    /// What in a path gives each tenant one of its own, which the others cannot reach.
    apart: Option<&'static str>,
}

const OFFERS: [Offer; 3] = [
    Offer {
        section: "executors.commands",
        list: "programs",
        may: "run the programs of executors.commands.programs with the rights of this server",
        apart: None,
    },
    Offer {
        section: "executors.records",
        list: "sqlite",
        may: "read and change what there is of the databases of executors.records.sqlite",
        apart: None,
    },
    Offer {
        section: "executors.sync",
        list: "folders",
        may: "read and write what all others have in the folders of executors.sync.folders",
        apart: Some("{tenant}"),
    },
];

/// What is unsafe.
pub fn check(config: &Config, mode: Mode) -> Vec<Problem> {
    let mut found = Vec::new();
    if mode == Mode::Serve {
        found.extend(secrets(config));
        found.extend(provider(config));
        found.extend(OFFERS.iter().filter_map(|offer| offer.problem(config)));
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

/// Whoever signs tokens for others, too, must be named, and so must this program: else theirs open it.
fn provider(config: &Config) -> Vec<Problem> {
    let mut found = Vec::new();
    let has_issuer = !config.text("auth.issuer").is_empty();
    if has_issuer_keys(config) && !has_issuer {
        let message = "must be set where auth.jwks_url or auth.jwks_file is: keys alone do not say who made a token, so \
                       that those of every issuer with one of them would be taken; name what the identity provider puts \
                       into `iss`";
        found.push(config.problem("auth.issuer", message));
    }
    if (has_issuer_keys(config) || has_issuer) && config.text("auth.audience").is_empty() {
        let message = "must be set where auth.issuer, auth.jwks_url or auth.jwks_file is: tokens that the identity \
                       provider makes for any other program would open this one, too; name what it puts into `aud` for \
                       this one, such as core314";
        found.push(config.problem("auth.audience", message));
    }
    found
}

impl Offer {
    /// Nobody may use it whom nobody has named.
    fn problem(&self, config: &Config) -> Option<Problem> {
        let key = |name: &str| format!("{}.{name}", self.section);
        let is_apart = |entry: &str| {
            let path = entry.split_once('=').map_or("", |(_, path)| path);
            self.apart.is_some_and(|mark| path.contains(mark))
        };
        let has_one_for_all = config.texts(&key(self.list)).into_iter().any(|entry| !is_apart(entry));
        let is_for_all = config.texts(&key("tenants")).contains(&"*");
        if !(has_one_for_all && is_for_all) || config.flag(&key("allow_all_tenants")) {
            return None;
        }
        let apart = self.apart.map_or_else(String::new, |mark| {
            format!("put {mark} into each path, so that every tenant has a folder of its own, ")
        });
        let allow = key("allow_all_tenants");
        let message = format!(
            "`*` lets whoever may write a flow, in any tenant, {}: name the tenants that may by their ids, {apart}or set \
             {allow} = true (CORE314__{}=true) where that is meant",
            self.may,
            allow.to_uppercase().replace('.', "__")
        );
        Some(config.problem(&key("tenants"), message))
    }
}

fn secrets(config: &Config) -> Vec<Problem> {
    let mut found = Vec::new();
    let weak = |key: &str, secret: &str| weakness(secret).map(|why| config.problem(key, format!("{why}; {MAKE_ONE}")));
    match config.secret("auth.jwt_secret") {
        // Tokens of an identity provider need no secret here.
        None if has_issuer_keys(config) => {}
        None => {
            let message = format!("must be set; {MAKE_ONE} and set CORE314_JWT_SECRET");
            found.push(config.problem("auth.jwt_secret", message));
        }
        Some(secret) => found.extend(weak("auth.jwt_secret", secret)),
    }
    if let Some(key) = config.secret("secrets.key") {
        found.extend(weak("secrets.key", key));
        if config.secret("auth.jwt_secret") == Some(key) || config.secret("auth.service_key") == Some(key) {
            found.push(config.problem("secrets.key", "must differ from auth.jwt_secret and auth.service_key"));
        }
    }
    if let Some(key) = config.secret("auth.service_key") {
        found.extend(weak("auth.service_key", key));
        if config.secret("auth.jwt_secret") == Some(key) {
            found.push(config.problem("auth.service_key", "must differ from auth.jwt_secret"));
        }
    }
    found.extend(previous_key(config));
    found
}

/// The key before is still one: what it has encrypted it opens, backups included.
fn previous_key(config: &Config) -> Vec<Problem> {
    let Some(previous) = config.secret("secrets.previous_key") else {
        return Vec::new();
    };
    let mut found = Vec::new();
    if let Some(why) = weakness(previous) {
        let message = format!(
            "{why}: no server has encrypted anything with such a key; give the whole key of before \
             (CORE314_SECRET_KEY_PREVIOUS), or leave it out"
        );
        found.push(config.problem("secrets.previous_key", message));
    }
    if config.secret("secrets.key") == Some(previous) {
        let message = "must differ from secrets.key, or whoever has the old key has the new one: make a new one with \
                       `openssl rand -hex 32` for secrets.key, or leave the previous one out";
        found.push(config.problem("secrets.previous_key", message));
    }
    if ["auth.jwt_secret", "auth.service_key"].iter().any(|key| config.secret(key) == Some(previous)) {
        let message = "must differ from auth.jwt_secret and auth.service_key: a key that was given up is no secret for \
                       anything else; make new ones with `openssl rand -hex 32`";
        found.push(config.problem("secrets.previous_key", message));
    }
    found
}

/// Why a secret could be guessed.
fn weakness(secret: &str) -> Option<String> {
    let characters = secret.chars().count();
    if characters < SECRET_CHARACTERS {
        return Some(format!("has {characters} characters, at least {SECRET_CHARACTERS} are needed"));
    }
    let mut different: Vec<char> = secret.chars().collect();
    different.sort_unstable();
    different.dedup();
    (different.len() < DIFFERENT_CHARACTERS).then(|| format!("has only {} different characters", different.len()))
}

#[cfg(test)]
mod tests;
