//! Taking the partitions of an installation that several nodes share, or standing by until they are free.
//!
//! Whoever stands by has no engine: nothing can be done by it in whatever way. It looks once a second whether the node that
//! has the partitions has left, or was not heard of for the length of its lease.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use anyhow::Context;
use core314_actors::engine::Place;
use core314_actors::membership::{Member, NodeEnd, OnEnd, Seat};
use core314_actors::ports::membership::Taking;
use tokio::runtime::Handle;
use tokio::sync::mpsc::UnboundedReceiver;

use super::home::Home;
use super::{Ended, Signals, ended, node, paused};
use crate::config::Config;
use crate::http::{self, Certificate, Waiting};
use crate::store::SqlStore;

const NO_HOME: &str = "the file `node` in the data directory cannot be locked and written";
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

/// Under which the engine begins, and the node that leaves when it has ended; or how the process ends without an engine.
pub(super) type Entered = Result<(Place, Option<Arc<Member>>), Ended>;

/// What the wait came to.
enum Waited {
    /// The node has the partitions, and is renewed until it leaves.
    Taken(Arc<Member>, Seat),
    /// The installation was paused meanwhile: the node has left, and a person is waited for first.
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
        // Absent where another process of this machine has the data directory.
        let mut home = None;
        loop {
            let certificate = self.certificate.clone();
            if !paused::may_go_on(self.store, self.listener, certificate, self.io, signals).await? {
                return Ok(Err(Ended::Drained));
            }
            if !self.store.is_shared() {
                return Ok(Ok((Place::Alone(node::fresh_id()), None)));
            }
            if home.is_none() {
                home = Home::lock_for_good(&self.config.data_dir()).context(NO_HOME)?;
            }
            match self.wait(home.as_deref_mut(), signals, ends).await? {
                Waited::Taken(member, seat) => return Ok(Ok((Place::Taken(seat), Some(member)))),
                Waited::Paused => {}
                Waited::Stopped => return Ok(Err(Ended::Drained)),
                Waited::Ended(end) => return Ok(Err(ended(&end))),
            }
        }
    }

    /// Joins, and takes the partitions or waits for them.
    async fn wait(
        &self,
        home: Option<&mut Home>,
        signals: &mut Signals,
        ends: &mut UnboundedReceiver<NodeEnd>,
    ) -> anyhow::Result<Waited> {
        let member = self.join(home).await?;
        member.stay(self.on_end.clone());
        let partitions = node::engine_settings(self.config)?.partitions;
        let mut waiting: Option<ServerHandle> = None;
        let waited = loop {
            match member.take(partitions).await {
                Ok(Taking::Taken { epoch }) => break Waited::Taken(member.clone(), member.seat(epoch)),
                Ok(Taking::Gone) => break Waited::Ended(NodeEnd::Replaced),
                Ok(Taking::Held(holder)) if waiting.is_none() => {
                    tracing::info!(node = %member.node(), %holder, "on standby: another node has the partitions");
                    waiting = Some(self.answer()?);
                }
                Ok(Taking::Held(_)) => {}
                Err(error) if waiting.is_none() => {
                    return Err(error).context("the partitions could not be taken");
                }
                Err(error) => {
                    tracing::warn!(%error, "whether the partitions are free cannot be read; it is tried again");
                }
            }
            tokio::select! {
                name = signals.next() => {
                    tracing::info!(signal = name, "stopped on standby");
                    break Waited::Stopped;
                }
                Some(end) = ends.recv() => break Waited::Ended(end),
                () = tokio::time::sleep(BETWEEN_LOOKS) => {}
            }
            match paused::is_paused(self.store, self.io).await {
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
        match &waited {
            Waited::Taken(member, _) => tracing::info!(node = %member.node(), "the partitions are this node's"),
            Waited::Paused | Waited::Stopped => member.leave().await,
            Waited::Ended(_) => {}
        }
        Ok(waited)
    }

    async fn join(&self, home: Option<&mut Home>) -> anyhow::Result<Arc<Member>> {
        let node = node::fresh_id();
        let predecessor = home.map(|home| home.follow(node)).transpose().context(NO_HOME)?.flatten();
        let environment = node::engine_settings(self.config)?.environment;
        let settings = node::cluster_settings(self.config)?;
        let (store, io) = (self.store.clone(), self.io.clone());
        let joined = Member::join(store, io, node, &settings, &environment, predecessor).await;
        joined.context("the node cannot join its installation")
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
