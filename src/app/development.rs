//! What `core314 dev` adds to a server: credentials that the command line finds, the demonstration, and words about both.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::Context;
use core314_actors::engine::Engine;
use core314_domain::ids::{Owner, UserId, WebhookId};

use crate::config::Config;
use crate::config::local::DevFile;
use crate::demo;
use crate::receiver::{self, Receiver};

/// How many requests the receiver remembers.
const KEPT_REQUESTS: usize = 1_000;
/// How many ports are tried for the receiver.
const PORTS_TRIED: u16 = 20;

/// What a development server is told.
pub struct Development {
    pub credentials: DevFile,
    /// Present with `--demo`.
    pub receiver_port: Option<u16>,
}

impl Development {
    /// Writes the credentials down, sets the demonstration up and says where everything is. The receiver stops when it is
    /// dropped.
    pub async fn set_up(
        mut self,
        config: &Config,
        engine: &Engine,
        scheme: &str,
        address: SocketAddr,
    ) -> anyhow::Result<Option<Receiver>> {
        let credentials = &mut self.credentials;
        credentials.server = format!("{scheme}://{}", reachable(address));
        credentials.webhook_url =
            format!("{}/hooks/{}/{}", credentials.server, credentials.webhook_id, credentials.webhook_secret);
        // What is in force: the environment may have said another key.
        config.secret("auth.service_key").unwrap_or_default().clone_into(&mut credentials.key);
        credentials.write(&config.data_dir()).context("dev.json cannot be written into the data directory")?;
        let Some(port) = self.receiver_port else {
            println!("{}\nready", self.words(config));
            return Ok(None);
        };
        let receiver = start_receiver(port)?;
        let owner = Owner::new(UserId(self.credentials.user_id), None);
        let webhook = (WebhookId(self.credentials.webhook_id), self.credentials.webhook_secret.as_str());
        demo::set_up(engine, owner, receiver.url(), webhook).await?;
        println!("{}{}\nready", self.words(config), self.demo_words(receiver.url()));
        Ok(Some(receiver))
    }

    fn words(&self, config: &Config) -> String {
        let DevFile { server, user_id, key, .. } = &self.credentials;
        format!(
            "\nCore314 {version}, for development\n\n  \
             API    {server}/api/v1\n  \
             user   {user_id}\n  \
             key    {key}\n  \
             data   {data}\n\n\
             The command line finds user and key by itself:\n  \
             {program} flow list\n\
             Other clients name both:\n  \
             curl -H 'Authorization: Bearer {key}' -H 'X-User-Id: {user_id}' {server}/api/v1/flows\n",
            version = env!("CARGO_PKG_VERSION"),
            data = config.data_dir().display(),
            program = program(),
        )
    }

    fn demo_words(&self, receiver: &str) -> String {
        let program = program();
        format!(
            "\nThe demonstration has flows that act on a receiver on this machine. Send the webhook of one:\n  \
             curl {hook} -H 'Content-Type: application/json' -d '{{\"host\": \"web-1\", \"severity\": \"high\"}}'\n\
             See what the receiver got, and the run:\n  \
             curl {receiver}/received\n  \
             {program} run list\n\
             Start others, one of them bound to fail:\n  \
             {program} flow run nightly-checks --wait\n  \
             {program} flow run unreliable-target --wait\n",
            hook = self.credentials.webhook_url,
        )
    }
}

/// How this program was called, so that what is printed can be pasted.
fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "core314".to_owned())
}

/// The receiver on this port or one of the next.
fn start_receiver(port: u16) -> anyhow::Result<Receiver> {
    let mut failure = None;
    for port in port..=port.saturating_add(PORTS_TRIED) {
        match receiver::start(port, KEPT_REQUESTS) {
            Ok(receiver) => return Ok(receiver),
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.expect("at least one port was tried"))
}

/// Where this machine itself reaches the server.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn the_command_line_is_told_an_address_that_it_can_reach() {
        assert_eq!(reachable("0.0.0.0:3140".parse().unwrap()).to_string(), "127.0.0.1:3140");
        assert_eq!(reachable("[::]:3140".parse().unwrap()).to_string(), "127.0.0.1:3140");
        assert_eq!(reachable("[::1]:3140".parse().unwrap()).to_string(), "[::1]:3140");
    }

    #[test]
    fn the_receiver_takes_the_next_port_when_its_own_is_taken() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        actix::System::new().block_on(async {
            let receiver = start_receiver(port).unwrap();
            assert!(!receiver.url().ends_with(&format!(":{port}")), "{}", receiver.url());
        });
    }

    #[test]
    fn what_is_printed_can_be_pasted() {
        let mut credentials = DevFile::fresh();
        credentials.server = "http://127.0.0.1:3140".to_owned();
        credentials.webhook_url = "http://127.0.0.1:3140/hooks/ID/SECRET".to_owned();
        let development = Development { credentials: credentials.clone(), receiver_port: Some(3141) };
        let config = Config::load(&crate::config::Inputs::default()).unwrap();
        let words = development.words(&config) + &development.demo_words("http://127.0.0.1:3141");
        for part in [
            format!(
                "-H 'Authorization: Bearer {}' -H 'X-User-Id: {}' http://127.0.0.1:3140/api/v1/flows",
                credentials.key, credentials.user_id
            ),
            "curl http://127.0.0.1:3140/hooks/ID/SECRET -H".to_owned(),
            "-d '{\"host\": \"web-1\", \"severity\": \"high\"}'".to_owned(),
            "curl http://127.0.0.1:3141/received".to_owned(),
        ] {
            assert!(words.contains(&part), "'{part}' is missing in: {words}");
        }
    }
}
