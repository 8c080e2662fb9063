//! The command line: what can be said, and what comes of it.
//!
//! Commands that concern a running server speak to its HTTP API like any other client (`cli/client.rs`); those that start
//! one, or open the store, go through the composition root. Exit codes are a contract: see [`outcome::Exit`].

mod apply;
mod bench;
mod client;
mod flow;
mod log;
mod outcome;
mod print;
mod run;
mod server;
mod show;
mod token;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, Inputs, Setting};
use outcome::{Exit, Failure};
use print::{Output, Printer};

/// A self-hosted automation runtime that heals itself.
#[derive(Debug, Parser)]
#[command(name = "core314", version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
struct Global {
    /// How results are printed.
    #[arg(long, short, global = true, value_enum, default_value = "table", env = "CORE314_OUTPUT")]
    output: Output,
    /// The server to talk to; without it (and a key) the one that runs on the data directory, else
    /// `http://127.0.0.1:3140`.
    #[arg(long, global = true, value_name = "URL", env = "CORE314_SERVER")]
    server: Option<String>,
    /// A service key or user token; without it (and a server) the socket in the data directory needs none.
    #[arg(long, global = true, value_name = "KEY", env = "CORE314_KEY", hide_env_values = true)]
    key: Option<String>,
    /// The user on whose behalf a service key acts.
    #[arg(long, global = true, value_name = "UUID", env = "CORE314_USER")]
    user: Option<uuid::Uuid>,
    /// The configuration file.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The directory of what is kept on this machine (`data.dir`).
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<String>,
    /// The database (`store.database_url`).
    #[arg(long, global = true, value_name = "URL", hide_env_values = true)]
    database_url: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server, for production: weak or absent secrets are refused.
    Serve(server::ServeArgs),
    /// Run the server for one developer: embedded store, a user and a key made and printed.
    Dev(server::DevArgs),
    /// Flows: as files, and by name.
    #[command(subcommand)]
    Flow(FlowCommand),
    /// Runs of flows.
    #[command(subcommand)]
    Run(RunCommand),
    /// Service keys.
    #[command(subcommand)]
    Token(TokenCommand),
    /// The append-only tables.
    #[command(subcommand)]
    Log(LogCommand),
    /// The configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Load this installation's engine and print throughput and latency.
    Bench(bench::BenchArgs),
}

#[derive(Debug, Subcommand)]
enum FlowCommand {
    /// Create the flows of these files, or change the ones of their names.
    Apply(apply::ApplyArgs),
    /// Start a run of a flow.
    Run(flow::RunArgs),
    /// List flows, the newest first.
    List(flow::ListArgs),
}

#[derive(Debug, Subcommand)]
enum RunCommand {
    /// List runs, the newest first.
    List(run::ListArgs),
    /// Show a run with its executions and attempts.
    Show(run::ShowArgs),
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a key, and print it this once.
    Create(token::CreateArgs),
    /// List keys, the newest first.
    List(token::ListArgs),
    /// Revoke a key.
    Revoke(token::RevokeArgs),
}

#[derive(Debug, Subcommand)]
enum LogCommand {
    /// Recompute every hash chain and checkpoint of the append-only tables, beside a running server or without one.
    Verify,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print what is in force and where each value comes from, secrets masked.
    Show,
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // One TLS implementation for all that connect; this is the first use in the process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let printer = Printer::new(cli.global.output);
    match cli.command.perform(&cli.global, &printer) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            Printer::failure(&failure);
            failure.exit.into()
        }
    }
}

impl Command {
    fn perform(self, global: &Global, printer: &Printer) -> Result<Exit, Failure> {
        match self {
            Self::Serve(args) => server::serve(global, &args),
            Self::Dev(args) => server::dev(global, &args),
            Self::Flow(FlowCommand::Apply(args)) => apply::apply(global, printer, &args),
            Self::Flow(FlowCommand::Run(args)) => flow::run(global, printer, &args),
            Self::Flow(FlowCommand::List(args)) => flow::list(global, printer, &args),
            Self::Run(RunCommand::List(args)) => run::list(global, printer, &args),
            Self::Run(RunCommand::Show(args)) => run::show(global, printer, &args),
            Self::Token(TokenCommand::Create(args)) => token::create(global, printer, &args),
            Self::Token(TokenCommand::List(args)) => token::list(global, printer, &args),
            Self::Token(TokenCommand::Revoke(args)) => token::revoke(global, printer, &args),
            Self::Log(LogCommand::Verify) => log::verify(global, printer),
            Self::Config(ConfigCommand::Show) => show::show(global, printer),
            Self::Bench(args) => bench::bench(global, printer, &args),
        }
    }
}

impl Global {
    /// What the configuration is made from, with these flags of the command at hand.
    fn inputs(&self, flags: &[(&str, &str, Option<&String>)]) -> Inputs {
        let own = [
            ("data.dir", "--data-dir", self.data_dir.as_ref()),
            ("store.database_url", "--database-url", self.database_url.as_ref()),
        ];
        let given = own.iter().chain(flags).filter_map(|(key, flag, value)| {
            value.map(|text| Setting::new(key, text.as_str(), format!("flag {flag}")))
        });
        Inputs {
            presets: Vec::new(),
            file: self.config.clone(),
            // A variable that is not UTF-8 has no name or value that a key could have.
            environment: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
            flags: given.collect(),
        }
    }

    /// The configuration in force.
    fn load(&self) -> Result<Config, Failure> {
        Ok(Config::load(&self.inputs(&[]))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_flags_may_follow_the_command_and_become_settings() {
        let cli = Cli::try_parse_from(["core314", "run", "list", "--data-dir", "/d", "-o", "json"]).unwrap();
        assert_eq!(cli.global.output, Output::Json);
        let listen = "127.0.0.1:1".to_owned();
        let inputs = cli.global.inputs(&[("server.listen", "--listen", Some(&listen)), ("log.filter", "--log", None)]);
        assert_eq!(
            inputs.flags,
            [
                Setting::new("data.dir", "/d", "flag --data-dir"),
                Setting::new("server.listen", "127.0.0.1:1", "flag --listen")
            ]
        );
    }

    #[test]
    fn a_wrong_word_is_wrong_usage() {
        for words in [&["core314", "fly"][..], &["core314", "run", "show"], &["core314", "run", "list", "-o", "xml"]] {
            assert_eq!(Cli::try_parse_from(words).expect_err("wrong").exit_code(), 2);
        }
    }
}
