//! What a running server takes up without a restart: a renewed certificate, found by itself or on SIGHUP, and on SIGHUP
//! the filter of log lines. Of every other key that was changed meanwhile it says that it needs a restart.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::Signal;
use tokio::time::{MissedTickBehavior, interval};

use crate::config::Config;
use crate::http::{Certificate, Reloaded};
use crate::telemetry::LogFilter;

/// The key that takes effect at once.
const LOG_FILTER: &str = "log.filter";
/// How often nothing is done where there is no certificate.
const NEVER: Duration = Duration::from_hours(24);

/// Looks after what can change, until it is dropped.
pub struct Reloader {
    /// What is in force.
    pub config: Config,
    pub certificate: Option<Arc<Certificate>>,
    pub log_filter: LogFilter,
    /// SIGHUP.
    pub hangup: Signal,
}

impl Reloader {
    /// Waits for signals, and looks at the certificate's files now and then.
    pub async fn run(mut self) {
        let period = |c: &Arc<Certificate>| Duration::from_secs(c.settings().reload_seconds.max(1));
        let mut look = interval(self.certificate.as_ref().map_or(NEVER, period));
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = look.tick() => self.reload_certificate().await,
                signal = self.hangup.recv() => match signal {
                    Some(()) => {
                        tracing::info!(signal = "SIGHUP", "reloading");
                        self.reload_certificate().await;
                        self.reread();
                    }
                    None => return,
                },
            }
        }
    }

    /// The disk may be slow, so this waits for it on another thread.
    async fn reload_certificate(&self) {
        let Some(certificate) = self.certificate.clone() else {
            return;
        };
        let path = certificate.settings().certificate.display().to_string();
        match tokio::task::spawn_blocking(move || certificate.reload()).await {
            Ok(Ok(Reloaded::Unchanged)) => {}
            Ok(Ok(Reloaded::Replaced)) => tracing::info!(path, "the certificate was replaced"),
            Ok(Err(error)) => tracing::error!(%error, "the new certificate is no good: the old one stays in use"),
            Err(error) => tracing::error!(%error, path, "the certificate could not be looked at"),
        }
    }

    fn reread(&mut self) {
        let fresh = match self.config.reread() {
            Ok(fresh) => fresh,
            Err(error) => {
                tracing::error!(%error, "nothing of the configuration was reloaded");
                return;
            }
        };
        for (key, takes_effect) in differences(&self.config, &fresh) {
            if !takes_effect {
                tracing::warn!(key, "this key was changed, and needs a restart to take effect");
            }
        }
        let filter = fresh.text(LOG_FILTER);
        if filter != self.config.text(LOG_FILTER) {
            match self.log_filter.set(filter) {
                Ok(()) => tracing::info!(filter, "the filter of log lines was changed"),
                Err(error) => {
                    tracing::error!(error = format!("{error:#}"), "the filter of log lines stays");
                    return;
                }
            }
        }
        self.config = fresh;
    }
}

/// The keys whose values differ, and whether the new value can take effect now. Secrets are compared where they are, not
/// as they are shown.
fn differences(old: &Config, new: &Config) -> BTreeMap<String, bool> {
    new.changed_since(old).into_iter().map(|key| (key.clone(), key == LOG_FILTER)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Inputs;

    #[test]
    fn what_was_changed_is_told_apart_by_what_it_needs() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("core314.toml");
        std::fs::write(&file, "[log]\nfilter = \"info\"\n[auth]\nservice_key = \"one\"").unwrap();
        let old = Config::load(&Inputs { file: Some(file.clone()), ..Inputs::default() }).unwrap();
        assert!(differences(&old, &old.reread().unwrap()).is_empty());
        std::fs::write(&file, "[log]\nfilter = \"debug\"\n[auth]\nservice_key = \"two\"").unwrap();
        let expected = [("auth.service_key".to_owned(), false), ("log.filter".to_owned(), true)];
        assert_eq!(differences(&old, &old.reread().unwrap()), BTreeMap::from(expected));
        std::fs::write(&file, "[log]\nfilter = 3").unwrap();
        assert!(old.reread().is_err());
    }
}
