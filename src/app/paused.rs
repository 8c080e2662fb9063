//! A server whose installation is paused: it waits until a person lets it go on, and does nothing else.
//!
//! The engine is not even started, so that nothing can go on by whatever way. `core314 store resume` changes the row beside
//! it; the server looks for that once a second.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::Handle;

use super::Signals;
use crate::http::{self, Certificate, Waiting};
use crate::store::SqlStore;

const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
/// How long one look may take: a connection that hangs is not waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Returns once the installation may go on: true; or when a signal came first: false.
pub(super) async fn may_go_on(
    store: &Arc<SqlStore>,
    listener: &TcpListener,
    certificate: Option<Arc<Certificate>>,
    io: &Handle,
    signals: &mut Signals,
) -> anyhow::Result<bool> {
    if !is_paused(store, io).await? {
        return Ok(true);
    }
    tracing::warn!(
        "the installation is paused: nothing goes on until a person runs `core314 store resume`, which shows what would"
    );
    let listener = listener.try_clone().context("the listener cannot be shared")?;
    let server =
        http::serve_waiting(listener, certificate, Waiting::Paused).context("the HTTP server cannot be started")?;
    let handle = server.handle();
    actix::spawn(server);
    let resumed = loop {
        let look = async {
            tokio::time::sleep(BETWEEN_LOOKS).await;
            is_paused(store, io).await
        };
        let looked = tokio::select! {
            name = signals.next() => {
                tracing::info!(signal = name, "stopped while it was paused");
                break false;
            }
            looked = look => looked,
        };
        match looked {
            Ok(true) => {}
            Ok(false) => break true,
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "whether it may go on cannot be read; it is tried again");
            }
        }
    };
    handle.stop(true).await;
    if resumed {
        tracing::info!("the installation goes on");
    }
    Ok(resumed)
}

/// Asked on the threads for I/O: the store's connections live there.
pub(super) async fn is_paused(store: &Arc<SqlStore>, io: &Handle) -> anyhow::Result<bool> {
    let store = store.clone();
    let asked = io.spawn(async move { store.paused().await });
    let answer = tokio::time::timeout(PATIENCE, asked).await.context("the store does not answer in time")?;
    let paused = answer?;
    Ok(paused.context("whether the installation is paused cannot be read")?.is_some())
}
