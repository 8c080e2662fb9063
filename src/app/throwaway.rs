//! Installations for `core314 bench`: each in a store of its own, SQLite's thrown away afterwards.

use std::future::Future;
use std::net::TcpListener;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::Context;
use core314_actors::engine::Place;
use core314_actors::membership::NodeEnd;
use reqwest::Url;
use tempfile::TempDir;
use tokio::runtime::Handle;

use super::node::{self, Extras, Front};
use super::prepare;
use crate::bench::{self, Address, BenchTables, Figures, Installation, NodeOptions, Plan, Ports};
use crate::config::Config;
use crate::store::{Claim, PlainCopy, SqlStore};

/// Where workloads run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BenchStore {
    /// A fresh file for each workload, in the system's directory for temporary files.
    Sqlite,
    /// An empty database, by its URL. What the workloads write stays there.
    Postgres(String),
}

/// Runs the plan; each workload's figures are reported as they are known, and `say` hears how far a long one is.
pub fn bench(
    config: &Config,
    store: &BenchStore,
    plan: &Plan,
    say: &dyn Fn(&str),
    report: impl FnMut(&Figures),
) -> anyhow::Result<Vec<Figures>> {
    let io = prepare()?;
    let handle = io.handle();
    let fresh = async || Throwaway::new(config, store, handle).await;
    actix::System::new().block_on(bench::run(plan, fresh, say, report))
}

/// One installation. Its store stays open between its nodes, as the lock of its file belongs to the process.
struct Throwaway<'a> {
    config: &'a Config,
    io: &'a Handle,
    store: Arc<SqlStore>,
    kind: &'static str,
    /// Where it is on PostgreSQL.
    tables: Option<Tables>,
    /// Removed with the installation.
    _directory: Option<TempDir>,
}

impl<'a> Throwaway<'a> {
    async fn new(config: &'a Config, of: &BenchStore, io: &'a Handle) -> anyhow::Result<Self> {
        let (url, kind, directory) = match of {
            BenchStore::Postgres(url) => (url.clone(), "postgres", None),
            BenchStore::Sqlite => {
                let directory = tempfile::tempdir().context("no directory for temporary files can be made")?;
                (format!("sqlite:{}", directory.path().join("bench.db").display()), "sqlite", Some(directory))
            }
        };
        let store = node::open_store(config, &url, Claim::Alone, io).await?;
        let is_postgres = matches!(of, BenchStore::Postgres(_));
        let tables = if is_postgres { Some(Tables { copy: PlainCopy::new(&url)?, io: io.clone(), url }) } else { None };
        Ok(Self { config, io, store, kind, tables, _directory: directory })
    }

    async fn start_node(&self, options: NodeOptions) -> anyhow::Result<bench::Node> {
        let extras = Extras { executors: options.executors, slots_per_partition: options.slots_per_partition };
        let on_end = Arc::new(|end: NodeEnd| tracing::error!(%end, "the node has to end"));
        let place = Place::Alone(node::fresh_id());
        let node = node::Node::start(self.config, self.store.clone(), self.io, extras, place, on_end).await?;
        let (mut url, mut handle) = (None, None);
        if options.http {
            let listener = TcpListener::bind("127.0.0.1:0").context("no port of this machine is free")?;
            url = Some(format!("http://{}", listener.local_addr()?));
            let server = node.serve(self.config, listener, Front { has_no_rate_limit: true, ..Front::default() })?;
            handle = Some(server.handle());
            actix::spawn(server);
        }
        let engine = node.engine.clone();
        let stop = move || -> Pin<Box<dyn Future<Output = ()>>> {
            Box::pin(async move {
                if let Some(handle) = handle {
                    handle.stop(true).await;
                }
                super::drain(&engine).await;
            })
        };
        let key = self.config.secret("auth.service_key").unwrap_or_default().to_owned();
        Ok(bench::Node { engine: node.engine, url, key, stop: Box::new(stop) })
    }
}

impl Installation for Throwaway<'_> {
    fn start(&self, options: NodeOptions) -> Pin<Box<dyn Future<Output = anyhow::Result<bench::Node>> + '_>> {
        Box::pin(self.start_node(options))
    }

    fn ports(&self) -> Ports {
        let store = &self.store;
        Ports { store: store.clone(), views: store.clone(), inbox: store.clone(), notifications: store.clone() }
    }

    fn store(&self) -> &str {
        self.kind
    }

    fn tables(&self) -> Option<&dyn BenchTables> {
        self.tables.as_ref().map(|tables| tables as &dyn BenchTables)
    }
}

/// Tables beside the installation's own.
struct Tables {
    url: String,
    copy: PlainCopy,
    io: Handle,
}

impl BenchTables for Tables {
    fn address(&self) -> anyhow::Result<Address> {
        let url = Url::parse(&self.url).context("the database's address is no URL")?;
        let host = url.host_str().context("the database's address has no host")?;
        let endpoint = format!("postgres://{host}:{}{}", url.port().unwrap_or(5432), url.path());
        Ok(Address { endpoint, username: url.username().to_owned(), password: url.password().map(str::to_owned) })
    }

    fn fill(&self, rows: u64) -> Pin<Box<dyn Future<Output = anyhow::Result<()>> + '_>> {
        let copy = self.copy.clone();
        Box::pin(async move { Ok(self.io.spawn(async move { copy.fill(rows).await }).await??) })
    }

    fn copy(&self) -> Pin<Box<dyn Future<Output = anyhow::Result<()>> + '_>> {
        let copy = self.copy.clone();
        Box::pin(async move { Ok(self.io.spawn(async move { copy.copy().await }).await??) })
    }

    fn compare(&self) -> Pin<Box<dyn Future<Output = anyhow::Result<()>> + '_>> {
        let copy = self.copy.clone();
        Box::pin(async move {
            match self.io.spawn(async move { copy.differences().await }).await?? {
                0 => Ok(()),
                count => anyhow::bail!("{count} rows are not what they were at the source"),
            }
        })
    }
}
