//! Opening PostgreSQL: sessions, roles and rights.
//!
//! The program's login must be subject to row-level security, so superusers and logins that bypass it are refused. What
//! a transaction may see it chooses by a role (`core314_service`, `core314_tenant`), which the login must be a member of.
//! With an owner's address, the owner alone changes the schema and grants the roles.

use std::str::FromStr;
use std::time::Duration;

use core314_actors::ports::StoreError;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, Postgres, SqlSafeStr, Transaction};

use super::connection::{Connection, Connector};
use super::failure::Failure;
use super::home::Home;
use super::migrations;
use super::{Claim, StoreOptions};

const OLDEST_VERSION: i64 = 150_000;

const ABOUT_SERVER: &str = "SELECT current_setting('server_version_num')::bigint";
const ABOUT_LOGIN: &str = "SELECT rolsuper OR rolbypassrls, \
    coalesce((SELECT pg_has_role(current_user, oid, 'MEMBER') FROM pg_roles WHERE rolname = 'core314_service'), false) \
    AND coalesce((SELECT pg_has_role(current_user, oid, 'MEMBER') FROM pg_roles WHERE rolname = 'core314_tenant'), false) \
    FROM pg_roles WHERE rolname = current_user";
/// The number is ours alone: the letters of the name.
const CLAIM_ALONE: &str = "SELECT pg_try_advisory_lock(x'434f5245333134'::bigint)";
const CLAIM_SHARED: &str = "SELECT pg_try_advisory_lock_shared(x'434f5245333134'::bigint)";
const AS_SERVICE: &str = "SET ROLE core314_service";
const NAME_LOGIN: &str = "SELECT set_config('core314.login', $1, false)";
/// Memberships belong to the cluster: another database may be granting them at this very moment. From version 16 on a
/// membership need not inherit, so that a transaction which forgets to choose its role has no rights at all.
const GRANT_ROLES: &str = "DO $$
DECLARE
    login text := current_setting('core314.login');
    is_16 boolean := current_setting('server_version_num')::int >= 160000;
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['core314_service', 'core314_tenant'] LOOP
        FOR attempt IN 1..20 LOOP
            BEGIN
                EXIT WHEN pg_has_role(login, name, CASE WHEN is_16 THEN 'SET' ELSE 'MEMBER' END);
                EXECUTE format('GRANT %I TO %I', name, login)
                    || CASE WHEN is_16 THEN ' WITH INHERIT FALSE, SET TRUE' ELSE '' END;
            EXCEPTION WHEN unique_violation OR internal_error THEN
                NULL; -- Somebody else changed it at the same time: look again.
            END;
        END LOOP;
    END LOOP;
END $$";

/// How many statements a writer's session keeps. A commit's one statement has a text for each set of parts that it has, and its
/// plan takes memory in the server: what comes seldom is rather planned anew.
const KEPT_BY_WRITERS: usize = 64;

/// How writers connect, and whoever reads at length.
pub(super) fn connector(url: &str, options: &StoreOptions) -> Result<Connector, StoreError> {
    let session = session(url, options.write_limit, options)?;
    Ok(Connector::Postgres(Box::new(session.statement_cache_capacity(KEPT_BY_WRITERS)), Home::here()))
}

/// The readers. They connect when they are first used.
pub(crate) struct Readers {
    pool: PgPool,
    home: Home,
}

impl Readers {
    pub(super) fn new(url: &str, options: &StoreOptions) -> Result<Self, StoreError> {
        let pool = PgPoolOptions::new()
            .max_connections(options.readers as u32)
            // A new session plans every statement anew, which for the widest views takes ten times as long as to answer.
            .max_lifetime(None)
            .idle_timeout(None)
            .test_before_acquire(false)
            .acquire_timeout(options.busy_timeout);
        Ok(Self { pool: pool.connect_lazy_with(session(url, options.read_limit, options)?), home: Home::here() })
    }

    /// Begins a transaction by the given statement.
    pub(super) async fn begin(&self, statement: String) -> Result<Transaction<'static, Postgres>, Failure> {
        let session = if let Some(session) = self.pool.try_acquire() {
            session
        } else {
            // Whoever waits for a session may have to open it.
            let pool = self.pool.clone();
            self.home.run(async move { pool.acquire().await }).await??
        };
        Ok(Transaction::begin(session, Some(AssertSqlSafe(statement).into_sql_str())).await?)
    }
}

/// A session of the program. Everything that it asks is a lookup by index, so the plans that read whole tables are
/// switched off: a statement prepared while its table was empty would keep one (ADR 002).
fn session(url: &str, limit: Duration, options: &StoreOptions) -> Result<PgConnectOptions, StoreError> {
    let ms = |duration: Duration| duration.as_millis().to_string();
    Ok(parse(url)?.options([
        ("synchronous_commit", "on".to_owned()),
        ("idle_in_transaction_session_timeout", ms(options.idle_limit)),
        ("statement_timeout", ms(limit)),
        ("enable_seqscan", "off".to_owned()),
        ("enable_hashjoin", "off".to_owned()),
        ("enable_mergejoin", "off".to_owned()),
        ("jit", "off".to_owned()),
    ]))
}

pub(super) fn parse(url: &str) -> Result<PgConnectOptions, StoreError> {
    // The driver's error may show parts of the address.
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| StoreError::Refused("the database's address is not a valid postgres:// URL".to_owned()))?;
    Ok(options.application_name("core314").statement_cache_capacity(256).disable_statement_logging())
}

/// How the schema's owner connects: the login itself where no other is named.
pub(super) fn owner(url: &str, options: &StoreOptions) -> Result<Connector, StoreError> {
    let owner = parse(options.owner_url.as_deref().unwrap_or(url))?;
    Ok(Connector::Postgres(Box::new(owner), Home::here()))
}

/// Brings the schema up to date and gives the program's login its roles.
pub(super) async fn migrate(url: &str, options: &StoreOptions) -> Result<(), StoreError> {
    let mut connection = owner(url, options)?.connect().await?;
    let version = one_int(&mut connection, ABOUT_SERVER).await?;
    if version < OLDEST_VERSION {
        return Err(StoreError::Refused("PostgreSQL 15 or newer is needed".to_owned()));
    }
    connection.migrate(&migrations::postgres()).await.map_err(|e| super::migration_failure(&e))?;
    let login = parse(url)?.get_username().to_owned();
    connection.fetch(NAME_LOGIN, &[login.as_str().into()]).await?;
    connection.run(GRANT_ROLES).await?;
    Ok(())
}

/// Refuses a login for which row-level security would not hold, or that cannot work.
pub(super) async fn check_login(connection: &mut Connection, options: &StoreOptions) -> Result<(), StoreError> {
    let rows = connection.fetch(ABOUT_LOGIN, &[]).await?;
    let row = rows.first().ok_or_else(|| StoreError::Refused("the database does not know its own login".to_owned()))?;
    let mut fields = row.fields();
    if fields.bool()? && !options.allow_superuser {
        return Err(StoreError::Refused(
            "the database login is a superuser or has BYPASSRLS, so row-level security would not protect tenants from \
             each other: use a login with neither"
                .to_owned(),
        ));
    }
    if !fields.bool()? {
        return Err(StoreError::Refused(
            "the database login is not a member of core314_service and core314_tenant: grant it both roles".to_owned(),
        ));
    }
    Ok(())
}

/// Claims the database for this process, for as long as the session lives. Who has it otherwise gets a moment to end.
pub(super) async fn claim(connector: &Connector, claim: Claim, patience: Duration) -> Result<Connection, StoreError> {
    let began = std::time::Instant::now();
    loop {
        if let Some(connection) = try_claim(connector, claim).await? {
            return Ok(connection);
        }
        if began.elapsed() > patience {
            return Err(StoreError::Refused(match claim {
                Claim::Shared => {
                    "another server of an earlier release, or a copy that is being made, has this database \
                    to itself: stop it first, or use another database"
                        .to_owned()
                }
                Claim::Alone | Claim::None => {
                    "another server has this database open: stop it first, or use another database".to_owned()
                }
            }));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The same once. `None`: somebody else has the database in a way that does not go with it.
pub(super) async fn try_claim(connector: &Connector, claim: Claim) -> Result<Option<Connection>, Failure> {
    let mut connection = connector.connect().await?;
    let rows = connection.fetch(if claim == Claim::Shared { CLAIM_SHARED } else { CLAIM_ALONE }, &[]).await?;
    if !rows.first().is_some_and(|row| row.fields().bool().unwrap_or(false)) {
        return Ok(None);
    }
    if claim == Claim::Shared {
        connection.run(AS_SERVICE).await?;
    }
    Ok(Some(connection))
}

async fn one_int(connection: &mut Connection, sql: &'static str) -> Result<i64, Failure> {
    let rows = connection.fetch(sql, &[]).await?;
    rows.first().ok_or_else(|| Failure::Corrupt("a row that must exist does not".to_owned()))?.fields().int()
}
