//! Integrations: named connections to services outside. None of these answers holds a secret: credentials are names.

pub mod breaker;
pub mod callback;
pub mod consent;
pub mod create;
pub mod delete;
pub mod kinds;
pub mod patch;
pub mod show;
pub mod templates;
pub mod test;

use core314_actors::engine::ConnectError;
use core314_actors::ports::Scope;
use core314_actors::ports::integration::Integration;

use super::State;
use super::problem::Problem;

/// The integration of this name or id, as it is stored.
async fn find(state: &State, scope: Scope, named: &str) -> Result<Integration, Problem> {
    let Scope::Tenant(tenant) = scope else { return Err(missing()) };
    let known = state.engine.connections(tenant).await?;
    known.integration_named(named).cloned().ok_or_else(missing)
}

fn missing() -> Problem {
    Problem::no_row("integration")
}

/// Why a change of something that was read did not happen.
fn not_changed(error: ConnectError) -> Problem {
    match error {
        ConnectError::Conflict => Problem::PreconditionFailed,
        error => error.into(),
    }
}
