//! Errors of the databases, sorted by what the caller should do, in words that may be shown.
//!
//! A message names constraints and codes of the schema at most: never a statement, a value of a row, a host or a path.
//! The database's own words about a fault of the program go to the log, here.

use core314_actors::ports::StoreError;
use sqlx::error::DatabaseError;

/// Why a statement did not do its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The connection or the database is in no state to answer: try again on another connection.
    Unavailable(String),
    /// A row was refused: whichever write brought it is at fault.
    Violation(Violation),
    /// What a transaction took for granted is not so: the end of a chain, the version of a run, or the lease of a partition.
    /// Look again.
    Stale,
    /// The statement can never work: a fault of the program or of the installation.
    Refused(String),
    /// What is stored cannot be read.
    Corrupt(String),
}

/// What refused a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    /// The constraint's name, or on SQLite its columns, such as `runs.id`. Empty when the database names none.
    pub constraint: String,
    pub message: String,
}

impl Violation {
    /// Whether one of these constraints refused the row. PostgreSQL names them, SQLite names their columns.
    pub fn is_of(&self, names: &[&str]) -> bool {
        names.contains(&self.constraint.as_str())
    }
}

impl Failure {
    /// Why the one statement of a commit did not do its work: by a division by zero it says that what it took for granted is not so.
    pub fn of_granted(error: sqlx::Error) -> Self {
        let is_division = error.as_database_error().and_then(DatabaseError::code).is_some_and(|code| code == "22012");
        if is_division { Self::Stale } else { error.into() }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unavailable(message) => Self::Unavailable(message),
            Failure::Violation(violation) => Self::Refused(violation.message),
            Failure::Stale => Self::Unavailable("another writer was there first".to_owned()),
            Failure::Refused(message) => Self::Refused(message),
            Failure::Corrupt(message) => Self::Corrupt(message),
        }
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error as E;
        match error {
            E::Database(error) => of_database(error.as_ref()),
            E::Io(_) | E::Tls(_) | E::Protocol(_) | E::WorkerCrashed | E::PoolClosed | E::PoolTimedOut => {
                Self::Unavailable("the connection to the database was lost".to_owned())
            }
            E::Configuration(_) => Self::Refused("the database's address is not valid".to_owned()),
            E::ColumnDecode { index, .. } => Self::Corrupt(format!("column {index} of a row cannot be read")),
            E::Decode(_) => Self::Corrupt("a row cannot be read".to_owned()),
            E::RowNotFound => Self::Corrupt("a row that must exist does not".to_owned()),
            other => Self::Refused(format!("the database driver refuses the request ({})", variant(&other))),
        }
    }
}

/// The name of a driver error's variant, which holds no data.
fn variant(error: &sqlx::Error) -> String {
    let text = format!("{error:?}");
    text.chars().take_while(char::is_ascii_alphanumeric).collect()
}

fn of_database(error: &dyn DatabaseError) -> Failure {
    let failure = if let Some(error) = error.try_downcast_ref::<sqlx::postgres::PgDatabaseError>() {
        of_postgres(error.code(), error.constraint(), error.table())
    } else {
        let code = error.code().and_then(|c| c.parse::<i32>().ok()).unwrap_or(1);
        of_sqlite(code & 0xff, error.message())
    };
    if matches!(failure, Failure::Refused(_) | Failure::Corrupt(_)) {
        // Only whoever runs the installation may see the database's own words, and needs them.
        tracing::error!(message = error.message(), "the database refused a statement");
    }
    failure
}

/// By SQLSTATE; its first two characters are its class.
fn of_postgres(code: &str, constraint: Option<&str>, table: Option<&str>) -> Failure {
    let place = constraint.or(table).unwrap_or_default();
    match (&code[..2.min(code.len())], code) {
        // Data, integrity, limits, and what our triggers raise.
        ("22" | "23" | "54" | "44", _) | (_, "P0001") => Failure::Violation(Violation {
            constraint: constraint.unwrap_or_default().to_owned(),
            message: if place.is_empty() {
                format!("the database refuses a value (SQLSTATE {code})")
            } else {
                format!("the database refuses a row ({place}, SQLSTATE {code})")
            },
        }),
        (_, "57014") => Failure::Unavailable("the statement took too long and was ended".to_owned()),
        ("08" | "25" | "40" | "53" | "55" | "57" | "58", _) => {
            Failure::Unavailable(format!("the database cannot do it now (SQLSTATE {code})"))
        }
        ("XX", _) => Failure::Corrupt(format!("the database reports damage (SQLSTATE {code})")),
        _ => Failure::Refused(format!("the database refuses the statement (SQLSTATE {code})")),
    }
}

/// By SQLite's primary result code.
fn of_sqlite(code: i32, message: &str) -> Failure {
    let unavailable = |what: &str| Failure::Unavailable(what.to_owned());
    match code {
        // CONSTRAINT, TOOBIG, MISMATCH. The message names columns or is a trigger's own.
        18..=20 => {
            let columns = message.split_once("constraint failed: ").map(|(_, columns)| columns);
            Failure::Violation(Violation {
                constraint: columns.unwrap_or_default().to_owned(),
                message: format!("the database refuses a row ({message})"),
            })
        }
        5 | 6 => unavailable("the database is busy"),
        9 => unavailable("the statement took too long and was ended"),
        13 => unavailable("the disk is full"),
        7 | 8 | 10 | 14 | 15 => Failure::Unavailable(format!("the database file cannot be used now (code {code})")),
        11 | 26 => Failure::Corrupt(format!("the database file is damaged (code {code})")),
        _ => Failure::Refused(format!("the database refuses the statement (code {code})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unique_violation_names_its_constraint_on_both() {
        let Failure::Violation(pg) = of_postgres("23505", Some("runs_pkey"), Some("runs")) else { panic!("violation") };
        assert!(pg.is_of(&["runs_pkey", "runs.id"]));
        let Failure::Violation(lite) = of_sqlite(19, "UNIQUE constraint failed: runs.id") else { panic!("violation") };
        assert!(lite.is_of(&["runs_pkey", "runs.id"]));
    }

    #[test]
    fn a_division_by_zero_elsewhere_is_a_fault_of_a_value() {
        assert!(matches!(of_postgres("22012", None, None), Failure::Violation(_)));
    }

    #[test]
    fn what_passes_by_itself_is_unavailable() {
        for code in ["08006", "40P01", "25P03", "53300", "57P01", "57014"] {
            assert!(matches!(of_postgres(code, None, None), Failure::Unavailable(_)), "{code}");
        }
        for code in [5, 6, 9, 10, 13] {
            assert!(matches!(of_sqlite(code, "x"), Failure::Unavailable(_)), "{code}");
        }
        assert!(matches!(of_postgres("42P01", None, None), Failure::Refused(_)));
        assert!(matches!(of_sqlite(11, "x"), Failure::Corrupt(_)));
    }
}
