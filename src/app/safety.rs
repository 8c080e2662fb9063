//! What `core314 serve` refuses: what the configuration says of itself, and what the driver makes of the database's address.

use crate::config::{Config, ConfigError, Mode, Problem};
use crate::store::{UnprovenServer, unproven_server};

/// Whether this may be served for production.
pub fn check_safety(config: &Config) -> Result<(), ConfigError> {
    let mut problems = config.check_safety(Mode::Serve).err().map_or_else(Vec::new, |ConfigError(problems)| problems);
    problems.extend(insecure_connections(config));
    if problems.is_empty() { Ok(()) } else { Err(ConfigError(problems)) }
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
        let secret = ("auth.jwt_secret", "b1946ac92492d2347c6235b4d2611184aa");
        let given = [secret].into_iter().chain(settings.iter().copied());
        let flags = given.map(|(key, text)| Setting::new(key, text, "test")).collect();
        let config = Config::load(&Inputs { flags, ..Inputs::default() }).unwrap();
        check_safety(&config).err().map_or_else(String::new, |error| error.to_string())
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
    fn all_is_said_at_once() {
        let said = refused(&[
            ("store.database_url", "postgres://core314@db.example/core314?sslmode=prefer"),
            ("auth.service_key", "short"),
        ]);
        assert!(said.contains("auth.service_key (test): ") && said.contains("store.database_url (test): "), "{said}");
    }
}
