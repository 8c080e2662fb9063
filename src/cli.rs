//! The command line: what can be said, and what comes of it.
//!
//! Commands that concern a running server speak to its HTTP API like any other client (`cli/client.rs`); those that start
//! one, or open the store, go through the composition root. Exit codes are a contract: see [`outcome::Exit`].

mod actors;
mod applied;
mod args;
mod bench;
mod bulk;
mod client;
mod dead_letters;
mod decision;
mod doctor;
mod escalation;
mod event;
mod execution;
mod export;
mod flow;
mod init;
mod integration;
mod log;
mod notification;
mod on_call;
mod outcome;
mod people;
mod phase;
mod print;
mod progress;
mod reference;
mod replay;
mod retention;
mod run;
mod secret;
mod server;
mod session;
mod show;
mod silence;
mod store;
mod sync;
#[cfg(test)]
mod tests;
mod token;
mod wait;
mod webhook;
mod written;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, Inputs, Setting};
use outcome::{Exit, Failure};
use print::{Output, Printer};
use session::online;

/// A self-hosted automation runtime that heals itself.
///
/// You write flows: when this happens, under these conditions, do these things. A server runs them durably and in order,
/// tries again what failed, and logs every attempt. These commands start a server, and talk with a running one.
#[derive(Debug, Parser)]
#[command(name = "core314", version, propagate_version = true, arg_required_else_help = true, after_help = FIRST_STEPS)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const FIRST_STEPS: &str = "\
First steps:
  core314 dev --demo               start a server with sample flows on this machine
  core314 flow list                in a second terminal: what there is
  core314 flow run NAME --follow   start a flow and watch its steps
  core314 run list                 what ran; `run show ID` has every attempt, `run why ID` what it waits for
  core314 flow apply FILE          save a flow of your own
  core314 doctor                   when something is wrong

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 not allowed, 5 the server cannot be reached.
`core314 COMMAND --help` explains a command.";

/// Headings of `--help`.
const SERVER: &str = "Which server, and how results are printed";
const SET_UP: &str = "Configuration";

/// What every command takes.
#[derive(Debug, Args)]
struct Global {
    /// How results are printed.
    #[arg(long, short, global = true, value_enum, default_value = "table", env = "CORE314_OUTPUT", help_heading = SERVER)]
    output: Output,
    /// The server to talk to; without it (and a key) the one that runs on the data directory, else
    /// `http://127.0.0.1:3140`.
    #[arg(long, global = true, value_name = "URL", env = "CORE314_SERVER", help_heading = SERVER)]
    server: Option<String>,
    /// A service key or user token; without it (and a server) the socket in the data directory needs none.
    #[arg(long, global = true, value_name = "KEY", env = "CORE314_KEY", hide_env_values = true, help_heading = SERVER)]
    key: Option<String>,
    /// The user on whose behalf a service key acts.
    #[arg(long, global = true, value_name = "UUID", env = "CORE314_USER", help_heading = SERVER)]
    user: Option<uuid::Uuid>,
    /// The organization in which it acts; without it in the user's own tenant.
    #[arg(long, global = true, value_name = "UUID", env = "CORE314_ORGANIZATION", help_heading = SERVER)]
    organization: Option<uuid::Uuid>,
    /// The configuration file.
    #[arg(long, global = true, value_name = "FILE", help_heading = SET_UP)]
    config: Option<PathBuf>,
    /// The directory of what is kept on this machine (`data.dir`).
    #[arg(long, global = true, value_name = "DIR", help_heading = SET_UP)]
    data_dir: Option<String>,
    /// The database (`store.database_url`).
    #[arg(long, global = true, value_name = "URL", hide_env_values = true, help_heading = SET_UP)]
    database_url: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a configuration for `core314 serve` with fresh secrets; never over another file.
    Init,
    /// Run the server for one developer: embedded store, a user and a key made and printed.
    Dev(server::DevArgs),
    /// Run the server, for production: weak or absent secrets are refused.
    Serve(server::ServeArgs),
    /// Flows: as files, and by name.
    #[command(subcommand)]
    Flow(flow::FlowCommand),
    /// Runs of flows: what happened, what they wait for; cancel, pause, retry.
    #[command(subcommand)]
    Run(run::RunCommand),
    /// Steps of runs, and single actions without a flow.
    #[command(subcommand)]
    Execution(execution::ExecutionCommand),
    /// List what waits for a person's decision.
    Approvals(args::Limit),
    /// Let an execution, or a run that has yet to begin, go on that waits for a decision.
    Approve(execution::DecideArgs),
    /// Refuse an execution, or a run that has yet to begin, that waits for a decision.
    Reject(execution::DecideArgs),
    /// Escalations: what has failed, and who was told.
    #[command(subcommand)]
    Escalation(escalation::EscalationCommand),
    /// Acknowledge an escalation: nobody else is told.
    Ack(escalation::AckArgs),
    /// End an escalation.
    Resolve(escalation::ResolveArgs),
    /// On-call schedules: who is on call, and who stands in.
    #[command(subcommand)]
    OnCall(on_call::OnCallCommand),
    /// Times in which failures are recorded and nobody is told.
    #[command(subcommand)]
    Silence(silence::SilenceCommand),
    /// Your inbox.
    #[command(subcommand)]
    Notification(notification::NotificationCommand),
    /// Phases of runs: how they go, and where the slow ones lose their time.
    #[command(subcommand)]
    Phase(phase::PhaseCommand),
    /// The execution log: every attempt, in rows and figures, and the proof that nobody has changed it.
    #[command(subcommand)]
    Log(log::LogCommand),
    /// Addresses at which others start flows.
    #[command(subcommand)]
    Webhook(webhook::WebhookCommand),
    /// Events that start flows.
    #[command(subcommand)]
    Event(event::EventCommand),
    /// Decisions of engines outside.
    #[command(subcommand)]
    Decision(decision::DecisionCommand),
    /// Actions that engines outside recommend.
    #[command(subcommand)]
    Recommendation(decision::RecommendationCommand),
    /// Named connections to services outside, which actions use.
    #[command(subcommand)]
    Integration(integration::IntegrationCommand),
    /// How far each `data_sync` has come.
    #[command(subcommand)]
    Sync(sync::SyncCommand),
    /// Values that actions need and nobody reads back.
    #[command(subcommand)]
    Secret(secret::SecretCommand),
    /// The directory: who is in the tenant, with which role.
    #[command(subcommand)]
    User(people::UserCommand),
    /// How you are reached: addresses that you have proven to be yours.
    #[command(subcommand)]
    Contact(people::ContactCommand),
    /// How you want to be told: by what, when, and when not.
    #[command(subcommand)]
    Preference(people::PreferenceCommand),
    /// Keys with which programs reach the server.
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// What could not be processed and was set aside.
    #[command(subcommand)]
    DeadLetters(dead_letters::DeadLettersCommand),
    /// The live supervision tree, for those who run the platform.
    Actors(actors::ActorsArgs),
    /// Check configuration, secrets, data directory, store, clock, server and key, and say what to mend.
    Doctor,
    /// The database: moved, looked through, backed up, restored.
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// What is kept for a time and no longer.
    #[command(subcommand)]
    Retention(retention::RetentionCommand),
    /// Write everything that the API lists of a tenant into a file, as lines of JSON, beside a running server or without one.
    Export(export::ExportArgs),
    /// The configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Load this installation's engine and print throughput and latency.
    Bench(bench::BenchArgs),
    /// Print the completion script for a shell.
    Completions(reference::CompletionsArgs),
    /// Print the manual page, or write one for each command.
    Man(reference::ManArgs),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print what is in force and where each value comes from, secrets masked.
    Show(show::ShowArgs),
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
            Self::Init => init::init(global, printer),
            Self::Serve(args) => server::serve(global, &args),
            Self::Dev(args) => server::dev(global, &args),
            Self::Flow(command) => online(global, printer, async |session| command.perform(&session).await),
            Self::Run(command) => online(global, printer, async |session| command.perform(&session).await),
            Self::Execution(command) => online(global, printer, async |session| command.perform(&session).await),
            Self::Approvals(page) => {
                online(global, printer, async |session| execution::approvals(&session, &page).await)
            }
            Self::Approve(args) => decide(global, printer, "approve", args),
            Self::Reject(args) => decide(global, printer, "reject", args),
            Self::Escalation(escalation::EscalationCommand::Test(args)) => escalation::test(printer, &args),
            Self::Escalation(command) => online(global, printer, async |session| command.perform(&session).await),
            Self::Ack(args) => online(global, printer, async |session| escalation::acknowledge(&session, args).await),
            Self::Resolve(args) => online(global, printer, async |session| escalation::resolve(&session, args).await),
            Self::OnCall(command) => online(global, printer, async |session| command.perform(&session).await),
            Self::Silence(command) => online(global, printer, async |session| command.perform(&session).await),
            Self::Notification(command) => online(global, printer, async |session| command.perform(&session).await),
            Self::Phase(command) => online(global, printer, async |session| command.perform(&session).await),
            Self::Log(log::LogCommand::Verify) => log::verify(global, printer),
            Self::Log(log::LogCommand::Online(command)) => {
                online(global, printer, async |session| command.perform(&session).await)
            }
            Self::Webhook(command) => online(global, printer, async |session| command.perform(&session).await),
            Self::Event(command) => online(global, printer, async |session| command.perform(&session).await),
            Self::Decision(command) => online(global, printer, async |session| command.perform(&session).await),
            Self::Recommendation(command) => online(global, printer, async |session| command.perform(&session).await),
            Self::Integration(command) => online(global, printer, async |session| command.perform(&session).await),
            Self::Sync(command) => online(global, printer, async |session| command.perform(&session).await),
            Self::Secret(command) => online(global, printer, async |session| command.perform(session).await),
            Self::User(command) => online(global, printer, async |session| command.perform(&session).await),
            Self::Contact(command) => online(global, printer, async |session| command.perform(&session).await),
            Self::Preference(command) => online(global, printer, async |session| command.perform(&session).await),
            Self::Token(command) => online(global, printer, async |session| command.perform(session).await),
            Self::DeadLetters(command) => online(global, printer, async |session| command.perform(&session).await),
            Self::Actors(args) => online(global, printer, async |session| actors::perform(session, args).await),
            Self::Doctor => doctor::doctor(global, printer),
            Self::Store(command) => command.perform(global, printer),
            Self::Retention(retention::RetentionCommand::Run) => retention::run(global, printer),
            Self::Export(args) => export::export(global, printer, &args),
            Self::Config(ConfigCommand::Show(args)) => show::show(global, printer, &args),
            Self::Bench(args) => bench::bench(global, printer, &args),
            Self::Completions(args) => reference::completions(&args),
            Self::Man(args) => reference::man(&args),
        }
    }
}

fn decide(global: &Global, printer: &Printer, verb: &str, args: execution::DecideArgs) -> Result<Exit, Failure> {
    online(global, printer, async |session| execution::decide(&session, verb, args).await)
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
