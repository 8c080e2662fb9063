//! One node: a store, an engine over it, and the HTTP API in front.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use actix_web::dev::Server;
use anyhow::Context;
use core314_actors::clock::{Clock, SystemClock};
use core314_actors::engine::{Engine, Parts, Place};
use core314_actors::escalations::AckLinks;
use core314_actors::feed::Feed;
use core314_actors::membership::{ClusterSettings, OnEnd};
use core314_actors::onward::Onward;
use core314_actors::ports::executor::Executor;
use core314_actors::ports::people::Codes;
use core314_actors::recipients::Directory;
use core314_actors::settings::EngineSettings;
use core314_actors::shown_views::ShownViews;
use core314_actors::told_inbox::ToldInbox;
use core314_domain::ids::RowId;
use tokio::runtime::Handle;

use crate::ack::SignedLinks;
use crate::codes::SignedCodes;
use crate::config::{Config, ConfigError, Problem};
use crate::executors::{self, Reach};
use crate::http::{self, Api, AuthSettings, Certificate, HttpSettings, KeyDigest};
use crate::store::{Claim, ForeignRecords, SqlStore, StoreOptions};
use crate::vault::Vault;

/// A running node.
pub struct Node {
    pub engine: Engine,
    views: Arc<ShownViews<SqlStore>>,
    inbox: Arc<ToldInbox<SqlStore>>,
    syncs: Arc<SqlStore>,
}

/// What is asked beyond the configuration.
#[derive(Default)]
pub struct Extras {
    /// Beside those of the product.
    pub executors: Vec<Arc<dyn Executor>>,
    /// Instead of the configured number.
    pub slots_per_partition: Option<usize>,
}

/// How a node shows itself, beyond the configuration.
#[derive(Default)]
pub struct Front {
    /// With it the node speaks TLS alone.
    pub certificate: Option<Arc<Certificate>>,
    /// Spans that no collector of traces got; present where there is one.
    pub dropped_spans: Option<Arc<AtomicU64>>,
    /// For who measures how much the node can take.
    pub has_no_rate_limit: bool,
    /// The socket of this machine's own user.
    pub socket: Option<UnixListener>,
}

impl Node {
    /// Starts the engine over a store; what was left of an earlier life is taken up at once. `on_end` hears that the node has
    /// to end.
    pub async fn start(
        config: &Config,
        store: Arc<SqlStore>,
        io: &Handle,
        extras: Extras,
        place: Place,
        on_end: OnEnd,
    ) -> anyhow::Result<Self> {
        let mut settings = engine_settings(config)?;
        settings.slots_per_partition = extras.slots_per_partition.unwrap_or(settings.slots_per_partition);
        let feed = Feed::new(io.clone());
        let links = ack_links(config).map(|links| Arc::new(links) as Arc<dyn AckLinks>);
        let onward = Arc::new(Onward::default());
        let inbox = ToldInbox::new(store.clone(), feed.clone()).linked(links.clone()).sending_on(onward.clone());
        let inbox = Arc::new(inbox);
        let codes = codes(config).map(|codes| Arc::new(codes) as Arc<dyn Codes>);
        let directory = Directory::new(store.clone(), store.clone(), settings.recipients_per_message);
        let reach =
            Reach { book: store.clone(), directory: Some(directory), codes: codes.clone(), links: links.clone() };
        let settings_of = config.section("executors")?;
        let mut executors =
            executors::all(&settings_of, inbox.clone(), Arc::new(ForeignRecords), reach, store.clone())?;
        executors.extend(extras.executors);
        let clock = Arc::new(SystemClock::default());
        let engine = Engine::start(Parts {
            settings,
            clock,
            store: store.clone(),
            catalog: store.clone(),
            executors,
            vault: Arc::new(vault(config)),
            feed,
            inbox: Some(inbox.clone()),
            io: io.clone(),
            place,
            on_end,
        });
        let engine = engine.await.context("the engine cannot be started")?;
        engine.keep_tokens();
        engine.drive_bulk(store.clone()).context("the driver of bulk jobs cannot be started")?;
        engine.keep_people(store.clone(), codes);
        onward.open(&engine);
        engine.escalate(store.clone(), links).context("escalations cannot be started")?;
        let views = Arc::new(ShownViews::new(store.clone(), engine.runtime().executors.clone()));
        Ok(Self { engine, views, inbox, syncs: store })
    }

    /// Answers HTTP on a listener, as the configuration says. The server runs while it is awaited.
    pub fn serve(&self, config: &Config, listener: TcpListener, front: Front) -> anyhow::Result<Server> {
        let Front { certificate, dropped_spans, has_no_rate_limit, socket } = front;
        let mut settings = http_settings(config)?;
        if has_no_rate_limit {
            settings.rate_limit.per_second = 0;
        }
        let api = Api {
            engine: self.engine.clone(),
            vault: vault(config),
            views: self.views.clone(),
            notifications: self.inbox.clone(),
            syncs: self.syncs.clone(),
            settings,
            auth: auth_settings(config),
            certificate,
            dropped_spans,
        };
        http::serve(api, listener, socket).context("the HTTP server cannot be started")
    }
}

/// What seals and opens secrets.
fn vault(config: &Config) -> Vault {
    Vault::new(config.secret("secrets.key")).with_previous(config.secret("secrets.previous_key"))
}

/// Links are signed with the key of secrets, or else with that of tokens; without either there are none.
fn ack_links(config: &Config) -> Option<SignedLinks> {
    let secret = signing_secret(config)?;
    Some(SignedLinks::new(secret, config.text("http.public_url"), config.number("engine.ack_link_hours")))
}

/// Codes are made of the same secret.
fn codes(config: &Config) -> Option<SignedCodes> {
    Some(SignedCodes::new(signing_secret(config)?, config.text("http.public_url")))
}

fn signing_secret(config: &Config) -> Option<&str> {
    config.secret("secrets.key").or_else(|| config.secret("auth.jwt_secret")).filter(|secret| !secret.is_empty())
}

pub fn auth_settings(config: &Config) -> AuthSettings {
    AuthSettings {
        service_key_sha256: config.secret("auth.service_key").map(KeyDigest::of).into_iter().collect(),
        jwt_secret: config.secret("auth.jwt_secret").unwrap_or_default().to_owned(),
        jwt_leeway_seconds: config.number("auth.jwt_leeway_seconds"),
        issuer: config.text("auth.issuer").to_owned(),
        audience: config.text("auth.audience").to_owned(),
        jwks_url: config.text("auth.jwks_url").to_owned(),
        jwks_file: config.text("auth.jwks_file").to_owned(),
        jwks_refresh_seconds: config.number("auth.jwks_refresh_seconds"),
        jwks_least_interval_seconds: config.number("auth.jwks_least_interval_seconds"),
        jwks_timeout_ms: config.number("auth.jwks_timeout_ms"),
        failed_attempts_burst: config.number("auth.failed_attempts_burst"),
        failed_attempts_per_minute: config.number("auth.failed_attempts_per_minute"),
    }
}

pub fn engine_settings(config: &Config) -> Result<EngineSettings, ConfigError> {
    config.section_with("engine", &[("drain_ms", config.grace().as_millis() as u64)])
}

/// How the node is one of several.
pub fn cluster_settings(config: &Config) -> Result<ClusterSettings, ConfigError> {
    config.section("cluster")
}

/// The id of a new node.
pub fn fresh_id() -> RowId {
    RowId::new(SystemClock::default().now_ms(), rand::random())
}

/// The certificate that the configuration names, if it names one.
pub fn certificate(config: &Config) -> anyhow::Result<Option<Arc<Certificate>>> {
    Certificate::load(&http_settings(config)?.tls).context("http.tls: the certificate cannot be used")
}

/// The section, and what no key alone can say: whether the values go together.
pub fn http_settings(config: &Config) -> Result<HttpSettings, ConfigError> {
    let settings: HttpSettings = config.section("http")?;
    let problem = |(key, message): (String, String)| config.problem(&key, message);
    let problems: Vec<Problem> = settings.problems().into_iter().map(problem).collect();
    if problems.is_empty() { Ok(settings) } else { Err(ConfigError(problems)) }
}

/// Opens a store as configured and brings its schema up to date, on the threads for I/O: its connections live there.
pub async fn open_store(config: &Config, url: &str, claim: Claim, io: &Handle) -> anyhow::Result<Arc<SqlStore>> {
    let (url, options) = (url.to_owned(), StoreOptions { claim, ..store_options(config)? });
    let runtime = io.clone();
    let store = io.spawn_blocking(move || runtime.block_on(SqlStore::open(&url, options))).await?;
    Ok(Arc::new(store.context("the store cannot be opened")?))
}

/// How the configured store is opened.
pub fn store_options(config: &Config) -> anyhow::Result<StoreOptions> {
    let ms = |key: &str| Duration::from_millis(config.number(key));
    Ok(StoreOptions {
        readers: usize::try_from(config.number("store.readers"))?,
        lanes: usize::try_from(config.number("store.lanes"))?,
        busy_timeout: ms("store.busy_timeout_ms"),
        read_limit: ms("store.read_limit_ms"),
        write_limit: ms("store.write_limit_ms"),
        idle_limit: ms("store.idle_limit_ms"),
        owner_url: config.secret("store.owner_url").map(str::to_owned),
        allow_superuser: config.flag("store.allow_superuser"),
        claim: Claim::None,
        inline_bytes: usize::try_from(config.number("engine.inline_result_bytes"))?,
        read_only: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Inputs, Setting};

    fn config(flags: &[(&str, &str)]) -> Config {
        let flags = flags.iter().map(|(key, text)| Setting::new(key, *text, "test")).collect();
        Config::load(&Inputs { flags, ..Inputs::default() }).unwrap()
    }

    #[test]
    fn every_section_is_what_its_owner_reads() {
        let config = config(&[("shutdown.grace_seconds", "7"), ("store.readers", "9")]);
        assert_eq!(engine_settings(&config).unwrap().drain_ms, 7_000);
        assert_eq!(http_settings(&config).unwrap().max_page_items, 500);
        assert_eq!(store_options(&config).unwrap().readers, 9);
        let executors: executors::ExecutorSettings = config.section("executors").unwrap();
        assert!(!executors.outbound.allow_loopback);
        assert_eq!(cluster_settings(&config).unwrap().lease_ms, 10_000);
    }

    #[test]
    fn values_that_do_not_go_together_are_refused() {
        let error = http_settings(&config(&[("http.max_page_items", "10")])).expect_err("the default is 50");
        assert!(error.to_string().contains("http.default_page_items (default): is 50, must be 1 to 10"), "{error}");
    }
}
