//! Emptying a destination whose copy was not finished.
//!
//! The guards of the append-only tables stand in the way, rightly. Whoever owns the schema takes them off and puts them
//! back in the one transaction that removes the rows. Only a database that bears the mark of an unfinished copy comes
//! here, and it got that mark while it was empty.

use super::catalogue::{Table, quoted};
use crate::store::connection::{Connection, Connector};
use crate::store::failure::Failure;

const GUARDS: &str = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name";

/// Removes all rows of these tables. On PostgreSQL `owner` does it.
pub(super) async fn empty(target: &mut Connection, owner: Option<&Connector>, tables: &[Table]) -> Result<(), Failure> {
    let names: Vec<String> = tables.iter().map(|table| quoted(&table.name)).collect();
    if let Some(owner) = owner {
        return owner.connect().await?.run_made(on_postgres(&names)).await;
    }
    let mut statements = vec!["BEGIN IMMEDIATE".to_owned()];
    let mut guards = Vec::new();
    for row in target.fetch(GUARDS, &[]).await? {
        let mut fields = row.fields();
        statements.push(format!("DROP TRIGGER {}", quoted(&fields.text()?)));
        guards.push(fields.text()?);
    }
    statements.extend(names.iter().map(|name| format!("DELETE FROM {name}")));
    statements.extend(guards);
    statements.push("COMMIT".to_owned());
    // Each by itself: the text of a guard has semicolons of its own.
    for statement in statements {
        target.run_made(statement).await?;
    }
    Ok(())
}

fn on_postgres(names: &[String]) -> String {
    let guards = |verb: &str| -> Vec<String> {
        names.iter().map(|name| format!("ALTER TABLE {name} {verb} TRIGGER USER")).collect()
    };
    format!(
        "BEGIN; {}; TRUNCATE {}; {}; COMMIT",
        guards("DISABLE").join("; "),
        names.join(", "),
        guards("ENABLE").join("; ")
    )
}
