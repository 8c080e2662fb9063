//! `core314 serve` and `core314 dev`: from flags to a running server.

use clap::Args;

use super::Global;
use super::outcome::{Exit, Failure};
use crate::app::{self, Development, Ended};
use crate::config::local::DevFile;
use crate::config::{Config, Inputs, Mode, Setting};

/// What `core314 dev` prefers to the defaults; a file, the environment and flags go over it.
const DEV_PRESETS: &[(&str, &str)] = &[
    ("engine.environment", "development"),
    ("executors.outbound.allow_loopback", "true"),
    ("http.cors_origins", "localhost"),
];

#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Address and port to listen on (`server.listen`).
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Which log lines are written (`log.filter`), such as info or debug.
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
}

#[derive(Debug, Args)]
pub struct DevArgs {
    #[command(flatten)]
    serve: ServeArgs,
    /// Add sample flows, a webhook, and a receiver on this machine for what the flows send.
    #[arg(long)]
    demo: bool,
    /// The receiver's port; where it is taken, the next free one.
    #[arg(long, value_name = "PORT", default_value_t = 3141, requires = "demo")]
    receiver_port: u16,
}

pub fn serve(global: &Global, args: &ServeArgs) -> Result<Exit, Failure> {
    let config = Config::load(&args.inputs(global))?;
    app::check_safety(&config, Mode::Serve)?;
    app::check_files(&config)?;
    Ok(app::run(&config, None)?.into())
}

pub fn dev(global: &Global, args: &DevArgs) -> Result<Exit, Failure> {
    let mut inputs = args.serve.inputs(global);
    let preset = |(key, text): &(&str, &str)| Setting::new(key, *text, "core314 dev");
    inputs.presets = DEV_PRESETS.iter().map(preset).collect();
    let data_dir = Config::load(&inputs)?.data_dir();
    let credentials = match DevFile::read(&data_dir)? {
        Some(credentials) => credentials,
        None => DevFile::fresh(),
    };
    let source = format!("{}/dev.json", data_dir.display());
    inputs.presets.push(Setting::new("auth.jwt_secret", &*credentials.jwt_secret, &*source));
    inputs.presets.push(Setting::new("auth.service_key", &*credentials.key, &*source));
    inputs.presets.push(Setting::new("secrets.key", &*credentials.secret_key, &*source));
    let config = Config::load(&inputs)?;
    app::check_safety(&config, Mode::Dev)?;
    app::check_files(&config)?;
    let receiver_port = args.demo.then_some(args.receiver_port);
    Ok(app::run(&config, Some(Development { credentials, receiver_port }))?.into())
}

impl ServeArgs {
    fn inputs(&self, global: &Global) -> Inputs {
        global
            .inputs(&[("server.listen", "--listen", self.listen.as_ref()), ("log.filter", "--log", self.log.as_ref())])
    }
}

impl From<Ended> for Exit {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Drained => Self::Done,
            Ended::GaveUp => Self::Software,
            Ended::Replaced => Self::Replaced,
        }
    }
}
