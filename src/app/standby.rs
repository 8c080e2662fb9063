//! Taking the partitions of an installation that several nodes share, or standing by until they are free.
//!
//! Whoever stands by has no engine: nothing can be done by it in whatever way. It looks once a second whether the node that
//! has the partitions has left, or was not heard of for the length of its lease. Whoever has taken them and cannot work
//! hands them over, so that a server that does not start keeps no other from working.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use anyhow::Context;
use core314_actors::engine::Place;
use core314_actors::membership::{Member, NodeEnd, OnEnd, Seat};
use core314_actors::ports::StoreError;
use core314_actors::ports::membership::Taking;
use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedReceiver;

use super::home::Home;
use super::{Ended, Signals, ended, node, paused};
use crate::config::Config;
use crate::http::{self, Certificate, Waiting};
use crate::store::SqlStore;

const BETWEEN_LOOKS: Duration = Duration::from_secs(1);
/// What a process that ends gives the store to hear of it. The lease runs out otherwise.
const TO_LEAVE: Duration = Duration::from_secs(2);

/// Under which the engine begins, and the node that leaves when it has ended; or how the process ends without an engine.
pub(super) type Entered = Result<(Place, Option<Arc<Member>>), Ended>;

/// What the wait came to.
enum Waited {
    /// The node has the partitions.
    Taken(Seat),
    /// The installation was paused meanwhile: a person is waited for first.
    Paused,
    /// A signal came.
    Stopped,
    /// The node cannot go on.
    Ended(NodeEnd),
}

/// What a server works with before it has an engine.
pub(super) struct Standby<'a> {
    pub config: &'a Config,
    pub store: &'a Arc<SqlStore>,
    pub listener: &'a TcpListener,
    pub certificate: Option<Arc<Certificate>>,
    pub io: &'a Handle,
    pub on_end: OnEnd,
}

impl Standby<'_> {
    /// Returns when the engine may begin: when no person need say so, and the partitions are free.
    pub async fn enter(self, signals: &mut Signals, ends: &mut UnboundedReceiver<NodeEnd>) -> anyhow::Result<Entered> {
        let mut home = Home::new(self.config.data_dir());
        loop {
            let certificate = self.certificate.clone();
            if !paused::may_go_on(self.store, self.listener, certificate, self.io, signals).await? {
                return Ok(Err(Ended::Drained));
            }
            if !self.store.is_shared() {
                return Ok(Ok((Place::Alone(node::fresh_id()), None)));
            }
            let member = tokio::select! {
                // A node that had joined already holds nothing, and is forgotten with its lease.
                waited = told_to_end(signals, ends) => return Ok(Err(match waited {
                    Waited::Ended(end) => ended(&end),
                    Waited::Stopped | Waited::Taken(_) | Waited::Paused => Ended::Drained,
                })),
                member = self.join(&mut home) => member?,
            };
            member.stay(self.on_end.clone());
            let waited = self.wait(&member, &mut home, signals, ends).await;
            if let Ok(Waited::Taken(seat)) = waited {
                tracing::info!(node = %member.node(), "the partitions are this node's");
                return Ok(Ok((Place::Taken(seat), Some(member))));
            }
            // Also where it failed: it may have taken them without hearing so.
            release(&member).await;
            match waited? {
                Waited::Taken(_) | Waited::Paused => {}
                Waited::Stopped => return Ok(Err(Ended::Drained)),
                Waited::Ended(end) => return Ok(Err(ended(&end))),
            }
        }
    }

    /// Takes the partitions or waits for them.
    async fn wait(
        &self,
        member: &Member,
        home: &mut Home,
        signals: &mut Signals,
        ends: &mut UnboundedReceiver<NodeEnd>,
    ) -> anyhow::Result<Waited> {
        let partitions = node::engine_settings(self.config)?.partitions;
        let mut waiting: Option<ServerHandle> = None;
        let waited = loop {
            let taken = tokio::select! {
                waited = told_to_end(signals, ends) => break waited,
                taken = member.take(partitions) => taken,
            };
            match taken {
                Ok(Taking::Taken { epoch }) => break Waited::Taken(member.seat(epoch)),
                Ok(Taking::Gone) => break Waited::Ended(NodeEnd::Replaced),
                Ok(Taking::Held(holder)) if waiting.is_none() => {
                    tracing::info!(node = %member.node(), %holder, "on standby: another node has the partitions");
                    waiting = Some(self.answer()?);
                }
                Ok(Taking::Held(_)) => {}
                // What is refused stays so: waiting mends nothing.
                Err(error) if waiting.is_none() || matches!(error, StoreError::Refused(_)) => {
                    return Err(error).context("the partitions could not be taken");
                }
                Err(error) => {
                    tracing::warn!(%error, "whether the partitions are free cannot be read; it is tried again");
                }
            }
            // The process that was here before may end at any time.
            home.settle(member.node());
            let paused = async {
                tokio::time::sleep(BETWEEN_LOOKS).await;
                paused::is_paused(self.store, self.io).await
            };
            let paused = tokio::select! {
                waited = told_to_end(signals, ends) => break waited,
                paused = paused => paused,
            };
            match paused {
                Ok(true) => break Waited::Paused,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "whether the installation is paused cannot be read");
                }
            }
        };
        if let Some(handle) = waiting {
            // Nobody is waited for: whoever asks a standby asks again.
            handle.stop(false).await;
        }
        Ok(waited)
    }

    async fn join(&self, home: &mut Home) -> anyhow::Result<Arc<Member>> {
        let node = node::fresh_id();
        let predecessors = home.follow(node);
        let environment = node::engine_settings(self.config)?.environment;
        let settings = node::cluster_settings(self.config)?;
        let (store, io) = (self.store.clone(), self.io.clone());
        let joined = Member::join(store, io, node, &settings, &environment, predecessors).await;
        let member = joined.context("the node cannot join its installation")?;
        home.settle(node);
        Ok(member)
    }

    /// Says to whoever asks that another node is to be asked.
    fn answer(&self) -> anyhow::Result<ServerHandle> {
        let listener = self.listener.try_clone().context("the listener cannot be shared")?;
        let server = http::serve_waiting(listener, self.certificate.clone(), Waiting::Standby)
            .context("the HTTP server cannot be started")?;
        let handle = server.handle();
        actix::spawn(server);
        Ok(handle)
    }
}

/// Waits for what ends a server on standby.
async fn told_to_end(signals: &mut Signals, ends: &mut UnboundedReceiver<NodeEnd>) -> Waited {
    tokio::select! {
        name = signals.next() => {
            tracing::info!(signal = name, "stopped on standby");
            Waited::Stopped
        }
        Some(end) = ends.recv() => Waited::Ended(end),
    }
}

/// Gives up what a node has whose process is about to end: another one need not wait for its lease.
pub(super) async fn release(member: &Member) {
    if tokio::time::timeout(TO_LEAVE, member.leave()).await.is_err() {
        tracing::warn!("the store did not hear in time that the node has left: its lease has to run out");
    }
}
