//! What `core314 serve` and `dev` refuse: what the configuration says of itself, what the driver makes of the database's address,
//! and what the files that it names hold.
//!
//! All of it is found before anything is made or listened on. A mistake in the configuration is told from a file that may be
//! put right without it, so that whoever supervises the process sees by the exit code whether another start may help.

use std::fmt;

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
    problems.extend(named(config).into_iter().filter(|named| !named.may_pass).map(|named| named.problem));
    if problems.is_empty() { Ok(()) } else { Err(ConfigError(problems)) }
}

/// Files that the configuration names cannot be used now. Another start may find them well: what they are on may be mounted
/// later, and a certificate and its key are replaced one after the other.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub struct FilesError(pub Vec<Problem>);

impl fmt::Display for FilesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("files that the configuration names cannot be used")?;
        for Problem { key, source, message } in &self.0 {
            write!(f, "\n  {key} ({source}): {message}")?;
        }
        Ok(())
    }
}

/// Whether the files that the configuration names are there and go together, as far as that may change without it.
pub fn check_files(config: &Config) -> Result<(), FilesError> {
    let passing = named(config).into_iter().filter(|named| named.may_pass);
    let problems: Vec<Problem> = passing.map(|named| named.problem).collect();
    if problems.is_empty() { Ok(()) } else { Err(FilesError(problems)) }
}

/// What is wrong with something that the configuration names.
struct Named {
    problem: Problem,
    /// Whether another start may find it gone, with the same configuration.
    may_pass: bool,
}

fn named(config: &Config) -> Vec<Named> {
    issuer_keys(config).into_iter().chain(front(config)).collect()
}

/// Keys of an identity provider by which nobody could be let in, or anybody.
fn issuer_keys(config: &Config) -> Option<Named> {
    let error = KeySource::new(&node::auth_settings(config)).err()?;
    Some(Named { may_pass: error.may_pass, problem: config.problem(error.key, error.why) })
}

/// Values of the section `http` that do not go together, and a certificate that cannot be shown.
fn front(config: &Config) -> Vec<Named> {
    let settings = match node::http_settings(config) {
        Ok(settings) => settings,
        Err(ConfigError(problems)) => {
            return problems.into_iter().map(|problem| Named { problem, may_pass: false }).collect();
        }
    };
    let Err(error) = Certificate::load(&settings.tls) else {
        return Vec::new();
    };
    let problem = config.problem(error.configured_by(&settings.tls), error.to_string());
    vec![Named { problem, may_pass: error.may_pass() }]
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
    use std::path::Path;

    use super::*;
    use crate::config::{Inputs, Setting};

    fn given(settings: &[(&str, &str)]) -> Config {
        // The default provider may have been installed by another test of this process.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let secret = ("auth.jwt_secret", "b1946ac92492d2347c6235b4d2611184aa");
        let given = [secret].into_iter().chain(settings.iter().copied());
        let flags = given.map(|(key, text)| Setting::new(key, text, "test")).collect();
        Config::load(&Inputs { flags, ..Inputs::default() }).unwrap()
    }

    fn refused(settings: &[(&str, &str)]) -> String {
        check_safety(&given(settings), Mode::Serve).err().map_or_else(String::new, |error| error.to_string())
    }

    fn missing(settings: &[(&str, &str)]) -> String {
        check_files(&given(settings)).err().map_or_else(String::new, |error| error.to_string())
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

    /// A certificate and its key in a folder, by this name.
    fn pair(folder: &Path, name: &str) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(folder.join(format!("{name}.crt")), made.cert.pem()).unwrap();
        std::fs::write(folder.join(format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
    }

    #[test]
    fn what_would_stop_the_start_later_is_refused_by_its_key() {
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name).display().to_string();
        pair(scratch.path(), "a");
        let [own, certificate, empty] = ["a.key", "a.crt", "empty.json"].map(path);
        std::fs::write(&empty, "{\"keys\": []}").unwrap();
        let named = [("auth.issuer", "https://id.example"), ("auth.audience", "core314")];
        for (settings, words) in [
            (vec![("http.cors_origins", "*")], "http.cors_origins (test): has '*'"),
            (
                vec![("http.trusted_proxies", "0.0.0.0/0")],
                "http.trusted_proxies (test): has a network of all addresses",
            ),
            (vec![("http.tls.certificate", &*certificate)], "http.tls.certificate (test): http.tls.certificate and "),
            (vec![("http.tls.certificate", &*certificate), ("http.tls.key", &*certificate)], "http.tls.key (test): "),
            (vec![("http.tls.certificate", &*own), ("http.tls.key", &*own)], "holds no certificate"),
            (vec![("auth.jwks_url", "http://id.example/keys")], "auth.jwks_url (test): must begin with https://"),
            (vec![("auth.jwks_file", &*empty)], "it has no key for RS256"),
        ] {
            let given: Vec<(&str, &str)> = named.into_iter().chain(settings).collect();
            let said = refused(&given);
            assert!(said.contains(words) && said.lines().count() == 2, "'{words}' alone is to be in: {said}");
            assert_eq!(missing(&given), "", "another start does not help");
        }
        assert_eq!(refused(&[("http.tls.certificate", &*certificate), ("http.tls.key", &*own)]), "");
    }

    #[test]
    fn files_that_may_be_well_at_the_next_start_are_no_mistake_of_the_configuration() {
        let scratch = tempfile::tempdir().unwrap();
        let path = |name: &str| scratch.path().join(name).display().to_string();
        pair(scratch.path(), "a");
        pair(scratch.path(), "b");
        let [own, other, certificate, none] = ["a.key", "b.key", "a.crt", "none"].map(path);
        let named = [("auth.issuer", "https://id.example"), ("auth.audience", "core314")];
        for (settings, words) in [
            (vec![("http.tls.certificate", &*certificate), ("http.tls.key", &*none)], "http.tls.key (test): "),
            (vec![("http.tls.certificate", &*none), ("http.tls.key", &*own)], "http.tls.certificate (test): "),
            (vec![("http.tls.certificate", &*certificate), ("http.tls.key", &*other)], "do not make a pair"),
            (vec![("auth.jwks_file", &*none)], "auth.jwks_file (test): "),
        ] {
            let given: Vec<(&str, &str)> = named.into_iter().chain(settings).collect();
            assert_eq!(refused(&given), "", "another start may help");
            let said = missing(&given);
            assert!(said.contains(words) && said.lines().count() == 2, "'{words}' alone is to be in: {said}");
        }
        assert_eq!(missing(&[("http.tls.certificate", &*certificate), ("http.tls.key", &*own)]), "");
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
