//! What `core314 serve` and `dev` refuse: what the configuration says of itself, what the driver makes of the database's address,
//! and what the files that it names hold.
//!
//! All of it is a mistake in the configuration, found before anything is made or listened on, so that whoever supervises the
//! process sees by the exit code that another start will not help.

use super::node;
use crate::config::{Config, ConfigError, Mode, Problem};
use crate::http::{Certificate, KeySource};
use crate::store::{UnprovenServer, unproven_server};

/// Whether this may be served.
pub fn check_safety(config: &Config, mode: Mode) -> Result<(), ConfigError> {
    let mut problems = config.check_safety(mode).err().map_or_else(Vec::new, |ConfigError(problems)| problems);
    if mode == Mode::Serve {
        problems.extend(insecure_connections(config));
    }
    problems.extend(issuer_keys(config));
    problems.extend(front(config));
    if problems.is_empty() { Ok(()) } else { Err(ConfigError(problems)) }
}

/// Keys of an identity provider by which nobody could be let in, or anybody.
fn issuer_keys(config: &Config) -> Option<Problem> {
    let error = KeySource::new(&node::auth_settings(config)).err()?;
    Some(config.problem(error.key, error.why))
}

/// Values of the section `http` that do not go together, and a certificate that cannot be shown.
fn front(config: &Config) -> Vec<Problem> {
    let settings = match node::http_settings(config) {
        Ok(settings) => settings,
        Err(ConfigError(problems)) => return problems,
    };
    let error = Certificate::load(&settings.tls).err();
    error.map(|error| config.problem(error.configured_by(&settings.tls), error.to_string())).into_iter().collect()
}

/// Addresses of databases to which whoever is on the way could pose as the database, and get its login with all that is stored.
fn insecure_connections(config: &Config) -> Vec<Problem> {
    if config.flag("store.allow_insecure_connection") {
        return Vec::new();
    }
    let found = |key: &str| {
        let UnprovenServer { host, mode } = unproven_server(config.text(key))?;
        let message = format!(
            "'{host}' is another machine, and with sslmode={mode} whoever is on the way to it can read along or pose as the \
             database: put sslmode=verify-full into the address (and sslrootcert=FILE where the authority of its \
             certificate is your own), or set store.allow_insecure_connection = true \
             (CORE314__STORE__ALLOW_INSECURE_CONNECTION=true) where the network may be trusted"
        );
        Some(config.problem(key, message))
    };
    ["store.database_url", "store.owner_url"].into_iter().filter_map(found).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Inputs, Setting};

    fn refused(settings: &[(&str, &str)]) -> String {
        // The default provider may have been installed by another test of this process.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let secret = ("auth.jwt_secret", "b1946ac92492d2347c6235b4d2611184aa");
        let given = [secret].into_iter().chain(settings.iter().copied());
        let flags = given.map(|(key, text)| Setting::new(key, text, "test")).collect();
        let config = Config::load(&Inputs { flags, ..Inputs::default() }).unwrap();
        check_safety(&config, Mode::Serve).err().map_or_else(String::new, |error| error.to_string())
    }

    #[test]
    fn a_database_on_another_machine_must_prove_who_it_is() {
        let far = "postgres://core314:hunter2@db.example/core314?sslmode=prefer";
        assert_eq!(refused(&[("store.database_url", "postgres://core314@127.0.0.1/core314?sslmode=prefer")]), "");
        let said = refused(&[("store.database_url", far), ("store.owner_url", "postgres://o@h/d?sslmode=require")]);
        for words in [
            "store.database_url (test): 'db.example' is another machine, and with sslmode=prefer",
            "store.owner_url (test): 'h' is another machine, and with sslmode=require",
            "put sslmode=verify-full into the address",
            "set store.allow_insecure_connection = true",
        ] {
            assert!(said.contains(words), "'{words}' is missing in: {said}");
        }
        assert!(!said.contains("hunter2"), "{said}");
        assert_eq!(refused(&[("store.database_url", far), ("store.allow_insecure_connection", "true")]), "");
    }

    #[test]
    fn what_would_stop_the_start_later_is_refused_by_its_key() {
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name).display().to_string();
        let pair = |name: &str| {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            std::fs::write(path(&format!("{name}.crt")), made.cert.pem()).unwrap();
            std::fs::write(path(&format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
        };
        pair("a");
        pair("b");
        let [own, other, certificate, none, empty] = ["a.key", "b.key", "a.crt", "none", "empty.json"].map(path);
        std::fs::write(&empty, "{\"keys\": []}").unwrap();
        let named = [("auth.issuer", "https://id.example"), ("auth.audience", "core314")];
        for (settings, words) in [
            (vec![("http.cors_origins", "*")], "http.cors_origins (test): has '*'"),
            (
                vec![("http.trusted_proxies", "0.0.0.0/0")],
                "http.trusted_proxies (test): has a network of all addresses",
            ),
            (vec![("http.tls.certificate", &*certificate)], "http.tls.certificate (test): http.tls.certificate and "),
            (vec![("http.tls.certificate", &*certificate), ("http.tls.key", &*none)], "http.tls.key (test): "),
            (vec![("http.tls.certificate", &*none), ("http.tls.key", &*own)], "http.tls.certificate (test): "),
            (vec![("http.tls.certificate", &*certificate), ("http.tls.key", &*other)], "do not make a pair"),
            (vec![("auth.jwks_url", "http://id.example/keys")], "auth.jwks_url (test): must begin with https://"),
            (vec![("auth.jwks_file", &*none)], "auth.jwks_file (test): "),
            (vec![("auth.jwks_file", &*empty)], "it has no key for RS256"),
        ] {
            let given: Vec<(&str, &str)> = named.into_iter().chain(settings).collect();
            let said = refused(&given);
            assert!(said.contains(words) && said.lines().count() == 2, "'{words}' alone is to be in: {said}");
        }
        assert_eq!(refused(&[("http.tls.certificate", &*certificate), ("http.tls.key", &*own)]), "");
    }

    #[test]
    fn all_is_said_at_once() {
        let said = refused(&[
            ("store.database_url", "postgres://core314@db.example/core314?sslmode=prefer"),
            ("auth.service_key", "short"),
        ]);
        assert!(said.contains("auth.service_key (test): ") && said.contains("store.database_url (test): "), "{said}");
    }
}
