//! Log lines: on the standard error, so that the standard output stays for results.

use std::io::{self, IsTerminal};

use anyhow::Context;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    /// For people; in colours on a terminal.
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// Which lines are written: can be changed while the process runs.
pub struct LogFilter(reload::Handle<EnvFilter, Registry>);

impl LogFilter {
    /// Another filter from now on.
    pub fn set(&self, filter: &str) -> anyhow::Result<()> {
        self.0.reload(parse(filter)?).context("the filter of log lines cannot be changed")
    }
}

/// Starts to write log lines that pass the filter. To be called once in a process.
pub fn start(filter: &str, lines: Lines) -> anyhow::Result<LogFilter> {
    let (filter, handle) = reload::Layer::new(parse(filter)?);
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let layer = match lines {
        Lines::Text => {
            let colours =
                io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            layer.with_ansi(colours).boxed()
        }
        Lines::Json => layer.json().flatten_event(true).boxed(),
    };
    let started = tracing_subscriber::registry().with(filter).with(layer).try_init();
    started.map_err(|error| anyhow::anyhow!("log lines cannot be written: {error}"))?;
    Ok(LogFilter(handle))
}

fn parse(filter: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(filter)
        .with_context(|| format!("log.filter '{filter}' must be a level (error, warn, info, debug, trace), or levels by module such as info,core314_actors=debug"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_level_or_levels_by_module() {
        for filter in ["info", "core314_actors::ingress=debug,warn", "off"] {
            assert_eq!(parse(filter).unwrap().to_string(), filter);
        }
        let message = parse("info,core314=loud").expect_err("no level").to_string();
        assert!(message.contains("log.filter 'info,core314=loud' must be a level"), "{message}");
    }
}
