//! The way to PostgreSQL: whether somebody on it could read along, or pose as the database.
//!
//! The driver is asked where an address leads and how, because the environment (`PGHOST`, `PGSSLMODE`) has a say in it, too.
//! `verify-full` alone proves that the other end is the database that was meant: `require` takes any certificate, `verify-ca`
//! that of every server of the same authority, which may be everybody's.

use std::net::IpAddr;

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use super::{is_postgres, postgres};

/// A database on another machine that need not prove which one it is.
#[derive(Debug, PartialEq, Eq)]
pub struct UnprovenServer {
    pub host: String,
    /// The `sslmode` that is in force.
    pub mode: &'static str,
}

/// Where an address leads, if whoever is on the way could read along or pose as the database. An address that is none has no
/// such way either: opening it says so.
pub fn unproven_server(url: &str) -> Option<UnprovenServer> {
    let options = if is_postgres(url) { postgres::parse(url).ok()? } else { return None };
    let mode = match options.get_ssl_mode() {
        PgSslMode::Disable => "disable",
        PgSslMode::Allow => "allow",
        PgSslMode::Prefer => "prefer",
        PgSslMode::Require => "require",
        PgSslMode::VerifyCa => "verify-ca",
        PgSslMode::VerifyFull => return None,
    };
    (!is_here(&options)).then(|| UnprovenServer { host: options.get_host().to_owned(), mode })
}

/// Whether no other machine is on the way.
fn is_here(options: &PgConnectOptions) -> bool {
    // The driver leaves the brackets of IPv6 addresses in place.
    let host = options.get_host().trim_matches(['[', ']']);
    let is_socket = options.get_socket().is_some() || host.starts_with('/');
    let is_loopback = || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
    is_socket || host.eq_ignore_ascii_case("localhost") || is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_needs_no_proof() {
        for url in [
            "sqlite:/var/lib/core314.db",
            "postgres://core314:x@127.0.0.1:5432/core314?sslmode=prefer",
            "postgresql://core314@localhost/core314?sslmode=disable",
            "postgres://core314@[::1]/core314?sslmode=prefer",
            "postgres://core314@%2Fvar%2Frun%2Fpostgresql/core314?sslmode=prefer",
            "postgres://core314@localhost/core314?host=/var/run/postgresql&sslmode=prefer",
        ] {
            assert_eq!(unproven_server(url), None, "{url}");
        }
    }

    #[test]
    fn another_machine_must_prove_that_it_is_the_database() {
        for mode in ["disable", "allow", "prefer", "require", "verify-ca"] {
            let url = format!("postgres://core314:hunter2@db.example/core314?sslmode={mode}");
            assert_eq!(unproven_server(&url), Some(UnprovenServer { host: "db.example".to_owned(), mode }));
        }
        for url in ["postgres://core314@db.example/core314?sslmode=verify-full", "postgres://core314@db.example:x/"] {
            assert_eq!(unproven_server(url), None, "{url}");
        }
        // What comes last counts, as it does for the driver.
        for url in ["postgres://10.0.0.7/d?sslmode=prefer", "postgres://u@localhost/d?host=10.0.0.7&sslmode=prefer"] {
            assert_eq!(unproven_server(url).map(|found| found.host), Some("10.0.0.7".to_owned()), "{url}");
        }
    }
}
