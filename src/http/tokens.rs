//! Service keys: made, renamed and revoked by admins, each of their own tenant's; those of the platform by the platform.

pub mod create;
pub mod patch;
pub mod revoke;

use core314_actors::ports::Scope;
use core314_domain::ids::{Owner, RowId};
use core314_domain::words::KeyScope;

use super::State;
use super::auth::Caller;
use super::problem::Problem;

const MAX_NAME_CHARS: usize = 200;

fn check_name(name: &str) -> Result<(), Problem> {
    if name.trim().is_empty() || name.chars().count() > MAX_NAME_CHARS {
        return Err(Problem::field("name", format!("must have 1 to {MAX_NAME_CHARS} characters")));
    }
    Ok(())
}

/// In whose name the caller changes this key. A platform key that names no user changes keys of the platform alone.
async fn owner_for(state: &State, caller: &Caller, id: RowId) -> Result<Owner, Problem> {
    if let Scope::Tenant(_) = caller.scope {
        return caller.owner();
    }
    let key = state.engine.service_key(Scope::Platform, id).await?.ok_or_else(|| Problem::no_row("service key"))?;
    match key.scope {
        KeyScope::Platform => Ok(Owner::platform()),
        KeyScope::Tenant => caller.owner(),
    }
}
