//! Outbound rules: where actions may connect to.
//!
//! A URL is judged twice. Its scheme, host, port and literal address are judged before a connection is looked for; the
//! addresses of a name are judged in the resolver that the HTTP client itself connects by, so that the address that was
//! judged is the address that is used, and a name that changes its mind between the two gains nothing.
//!
//! Invariants: every hop of a redirect is judged like a first request; no proxy stands between; link-local addresses,
//! metadata services, unspecified, multicast and reserved addresses are refused whatever the configuration says.

mod address;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use core314_actors::ports::BoxFuture;
use core314_domain::log::Failure;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use serde::Deserialize;

use super::failure::Code;
use address::Place;

/// What the configuration says about targets: section `[executors.outbound]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutboundSettings {
    /// Whether actions may reach this machine itself (127.0.0.0/8, `::1`).
    pub allow_loopback: bool,
    /// Whether actions may reach private networks (10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, `fc00::/7` and the like).
    pub allow_private: bool,
    /// Schemes that URLs may have.
    pub allowed_schemes: Vec<String>,
    /// Hosts that may be reached: names, `*.name` for all below a name, or addresses. Empty: all.
    pub allowed_hosts: Vec<String>,
    /// Hosts that may not be reached, in the same notation; goes before `allowed_hosts`.
    pub denied_hosts: Vec<String>,
    /// Ports that may be reached. Empty: all.
    pub allowed_ports: Vec<u16>,
    /// Ports that may not be reached; goes before `allowed_ports`.
    pub denied_ports: Vec<u16>,
}

/// The target is not allowed: give up, or change the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Forbidden(pub String);

/// Who knows the addresses of names. Asked once for each connection: what it says is judged, and is what is connected to.
pub trait Names: std::fmt::Debug + Send + Sync + 'static {
    fn lookup<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, std::io::Result<Vec<SocketAddr>>>;
}

/// The system's resolver.
#[derive(Debug)]
pub struct SystemNames;

impl Names for SystemNames {
    fn lookup<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, std::io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}

/// The rules in force.
#[derive(Debug)]
pub struct OutboundRules {
    settings: OutboundSettings,
    names: Arc<dyn Names>,
}

impl OutboundRules {
    /// Rules from their settings; hosts are compared in lower case, without a root's dot.
    pub fn new(mut settings: OutboundSettings, names: Arc<dyn Names>) -> Self {
        for host in settings.allowed_hosts.iter_mut().chain(&mut settings.denied_hosts) {
            *host = normal(host);
        }
        Self { settings, names }
    }

    /// Judges what a URL says by itself. Notations such as `2130706433`, `0x7f.1` or `127.0.0.1.` are addresses here,
    /// because [`Url`] reads them as browsers do.
    pub fn check_url(&self, url: &Url) -> Result<(), Forbidden> {
        self.check(url.scheme(), url)
    }

    /// The same for another protocol, whose host and port stand in a URL of HTTP.
    pub fn check(&self, scheme: &str, url: &Url) -> Result<(), Forbidden> {
        let rules = &self.settings;
        if !rules.allowed_schemes.iter().any(|allowed| allowed == scheme) {
            return Err(Forbidden(format!("scheme '{scheme}' is not allowed")));
        }
        let host = url.host_str().map(normal).ok_or_else(|| Forbidden("the URL has no host".to_owned()))?;
        let is_denied = rules.denied_hosts.iter().any(|pattern| matches(pattern, &host));
        let is_allowed = rules.allowed_hosts.is_empty() || rules.allowed_hosts.iter().any(|p| matches(p, &host));
        if is_denied || !is_allowed {
            return Err(Forbidden(format!("host '{host}' is not allowed")));
        }
        let port = url.port_or_known_default().unwrap_or_default();
        let is_allowed = rules.allowed_ports.is_empty() || rules.allowed_ports.contains(&port);
        if rules.denied_ports.contains(&port) || !is_allowed {
            return Err(Forbidden(format!("port {port} is not allowed")));
        }
        host.parse().map_or(Ok(()), |address| self.check_address(address))
    }

    /// Judges an address.
    pub fn check_address(&self, address: IpAddr) -> Result<(), Forbidden> {
        let why = match address::place(address) {
            Place::Loopback if !self.settings.allow_loopback => "this machine (executors.outbound.allow_loopback)",
            Place::Private if !self.settings.allow_private => "a private network (executors.outbound.allow_private)",
            Place::Never(why) => why,
            Place::Public | Place::Private | Place::Loopback => return Ok(()),
        };
        Err(Forbidden(format!("address {address} is not allowed: {why}")))
    }

    /// The addresses of a host that may be connected to.
    pub async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
        let unknown = |error: std::io::Error| Code::Connect.failure(format!("'{host}': {error}"));
        let found = self.names.lookup(host, port).await.map_err(unknown)?;
        self.filter(host, found.into_iter()).map_err(|error| Code::ForbiddenAddress.failure(error.0))
    }

    /// Keeps the addresses that are allowed; fails when none is.
    fn filter(&self, name: &str, found: impl Iterator<Item = SocketAddr>) -> Result<Vec<SocketAddr>, Forbidden> {
        let mut refused = None;
        let mut allowed = Vec::new();
        for address in found {
            match self.check_address(address.ip()) {
                Ok(()) => allowed.push(address),
                Err(Forbidden(why)) => refused = Some(Forbidden(format!("{name}: {why}"))),
            }
        }
        match refused {
            Some(refused) if allowed.is_empty() => Err(refused),
            _ => Ok(allowed),
        }
    }
}

/// A host as it is compared: without the brackets of IPv6 and the dot of the root.
fn normal(host: &str) -> String {
    host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase()
}

/// Whether a host is what a pattern names.
fn matches(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(parent) => host.strip_suffix(parent).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
        None => pattern == host,
    }
}

/// Hands out allowed addresses alone, of those that are known of a name.
#[derive(Debug, Clone)]
pub struct CheckedResolver(pub Arc<OutboundRules>);

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let rules = self.0.clone();
        Box::pin(async move {
            let found = rules.names.lookup(name.as_str(), 0).await?;
            let allowed = rules.filter(name.as_str(), found.into_iter())?;
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(change: impl FnOnce(&mut OutboundSettings)) -> OutboundRules {
        let mut settings = OutboundSettings {
            allow_loopback: false,
            allow_private: true,
            allowed_schemes: vec!["http".to_owned(), "https".to_owned()],
            allowed_hosts: vec![],
            denied_hosts: vec![],
            allowed_ports: vec![],
            denied_ports: vec![],
        };
        change(&mut settings);
        OutboundRules::new(settings, Arc::new(SystemNames))
    }

    fn allows(rules: &OutboundRules, url: &str) -> bool {
        rules.check_url(&Url::parse(url).unwrap_or_else(|e| panic!("{url}: {e}"))).is_ok()
    }

    #[test]
    fn every_notation_of_an_address_is_that_address() {
        let rules = rules(|_| {});
        for host in [
            "127.0.0.1",
            "127.0.0.1.",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "0177.0.0.1",
            "017700000001",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[0:0:0:0:0:ffff:7f00:1]",
            "%31%32%37.0.0.1",
            "１２７.0.0.1",
            "169.254.169.254",
            "0xa9fea9fe",
            "2852039166",
            "0251.0376.0251.0376",
            "[::ffff:a9fe:a9fe]",
            "[64:ff9b::a9fe:a9fe]",
            "[fe80::1]",
            "0.0.0.0",
            "0",
            "[::]",
            "224.0.0.1",
        ] {
            assert!(!allows(&rules, &format!("http://{host}/")), "{host}");
        }
        assert!(allows(&rules, "http://8.8.8.8/"));
        assert!(allows(&rules, "http://192.168.1.1:8080/"));
        assert!(allows(&rules, "https://example.com./x"));
    }

    #[test]
    fn configuration_opens_loopback_and_closes_private_networks_but_never_opens_link_local() {
        let rules = rules(|s| (s.allow_loopback, s.allow_private) = (true, false));
        assert!(allows(&rules, "http://127.0.0.1:9/"));
        assert!(!allows(&rules, "http://10.0.0.1/"));
        assert!(!allows(&rules, "http://[fd00::1]/"));
        assert!(!allows(&rules, "http://169.254.169.254/"));
        assert!(!allows(&rules, "http://[fd00:ec2::254]/"));
    }

    #[test]
    fn lists_of_schemes_hosts_and_ports() {
        let rules = rules(|s| {
            s.allowed_schemes = vec!["https".to_owned()];
            s.allowed_hosts = vec!["*.Example.com".to_owned(), "example.org".to_owned(), "10.0.0.1".to_owned()];
            s.denied_hosts = vec!["bad.example.com.".to_owned()];
            s.allowed_ports = vec![443, 8443];
            s.denied_ports = vec![8443];
        });
        for url in ["https://a.example.com/", "https://EXAMPLE.org./", "https://10.0.0.1/", "https://a.b.example.com/"]
        {
            assert!(allows(&rules, url), "{url}");
        }
        for url in [
            "http://a.example.com/",
            "https://example.com/",
            "https://badexample.com/",
            "https://bad.example.com/",
            "https://BAD.example.com./",
            "https://a.example.org/",
            "https://example.org:444/",
            "https://example.org:8443/",
            "https://10.0.0.2/",
        ] {
            assert!(!allows(&rules, url), "{url}");
        }
    }

    #[test]
    fn of_a_names_addresses_the_allowed_ones_remain() {
        let found = |text: &[&str]| -> Vec<SocketAddr> { text.iter().map(|a| a.parse().expect("address")).collect() };
        let rules = rules(|_| {});
        let kept = rules.filter("x", found(&["169.254.169.254:0", "8.8.8.8:0"]).into_iter());
        assert_eq!(kept, Ok(found(&["8.8.8.8:0"])));
        let refused = rules.filter("x", found(&["127.0.0.1:0", "[::1]:0"]).into_iter()).expect_err("all are loopback");
        assert!(refused.0.starts_with("x: address ::1 is not allowed: this machine"), "{refused}");
    }
}
