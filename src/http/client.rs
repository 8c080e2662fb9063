//! Who is at the other end: the client's address, and how it addressed us, where proxies stand between.
//!
//! ```text
//! client ── proxy (trusted) ── proxy (trusted) ── this server: X-Forwarded-For: client, proxy
//! ```
//! Anybody can send a forwarding header. It is believed from connections of trusted networks alone, and of its entries
//! the last one that a trusted proxy wrote names the client: what stands before it, the client may have made up. Which
//! of the two families of headers the proxies write is configured, because a proxy that writes one passes the other on
//! as it came.
//!
//! Sources: RFC 7239 (`Forwarded`); the `X-Forwarded-*` headers have no standard but the same order.

use std::net::IpAddr;

use actix_web::dev::ServiceRequest;
use actix_web::http::header::{FORWARDED, HOST, HeaderMap, HeaderName, X_FORWARDED_FOR};
use actix_web::{HttpMessage, HttpRequest};
use ipnet::IpNet;
use serde::Deserialize;

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// More proxies than this do not stand in a row.
const MAX_HOPS: usize = 32;
const MAX_HOST_BYTES: usize = 255;

/// Which headers the trusted proxies write.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedBy {
    /// `X-Forwarded-For`, `X-Forwarded-Proto`, `X-Forwarded-Host`.
    #[default]
    XForwarded,
    /// `Forwarded` of RFC 7239.
    Forwarded,
}

/// The other end of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Absent where there is no network between.
    pub address: Option<IpAddr>,
    /// Whether the client itself speaks TLS, with us or with a trusted proxy.
    pub is_secure: bool,
    /// The name by which the client reached us; absent where it sent none that can be one.
    pub host: Option<String>,
    /// Whether somebody on this machine asks for themselves, with no proxy between.
    pub is_local: bool,
}

impl Client {
    /// Reads it from a request and leaves it there, for [`Client::of`].
    pub fn find(req: &ServiceRequest, trusted: &[IpNet], by: ForwardedBy) -> Self {
        let peer = req.peer_addr().map(|peer| peer.ip());
        // HTTP/2 has no Host header: the authority of the URI stands for it.
        let authority = req.uri().authority().and_then(|authority| host_name(authority.as_str()));
        let mut client = Self::read(peer, req.app_config().secure(), req.headers(), trusted, by);
        client.host = client.host.or(authority);
        req.extensions_mut().insert(client.clone());
        client
    }

    /// The other end of a request that went through the envelope.
    pub fn of(req: &HttpRequest) -> Option<Self> {
        req.extensions().get::<Self>().cloned()
    }

    fn read(peer: Option<IpAddr>, is_tls: bool, headers: &HeaderMap, trusted: &[IpNet], by: ForwardedBy) -> Self {
        let peer = peer.map(|peer| peer.to_canonical());
        let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
        let is_forwarded = headers.contains_key(FORWARDED) || headers.contains_key(X_FORWARDED_FOR);
        let direct = Self {
            address: peer,
            is_secure: is_tls,
            host: headers.get(HOST).and_then(|host| host.to_str().ok()).and_then(host_name),
            is_local: !is_forwarded && peer.is_some_and(|peer| peer.is_loopback()),
        };
        let Some(peer) = peer.filter(|peer| is_trusted(*peer)) else {
            return direct;
        };
        let hop = nearest(peer, &hops(headers, by), is_trusted);
        Self {
            address: Some(hop.address.unwrap_or(peer)),
            is_secure: hop.proto.map_or(is_tls, |proto| proto.eq_ignore_ascii_case("https")),
            host: hop.host.as_deref().and_then(host_name).or(direct.host),
            is_local: false,
        }
    }
}

/// What one proxy wrote of whom it serves.
#[derive(Debug, Clone, Default)]
struct Hop {
    /// Absent where the proxy hides it, or wrote something else than an address.
    address: Option<IpAddr>,
    proto: Option<String>,
    host: Option<String>,
}

/// What the farthest of the trusted proxies in a row wrote: the one whose client is not one of them.
fn nearest(peer: IpAddr, hops: &[Hop], is_trusted: impl Fn(IpAddr) -> bool) -> Hop {
    let mut found = Hop { address: Some(peer), ..Hop::default() };
    for hop in hops.iter().rev() {
        let before = found.address;
        found = hop.clone();
        if !hop.address.is_some_and(&is_trusted) {
            found.address = hop.address.or(before);
            break;
        }
    }
    found
}

/// The entries in the order in which they were written.
fn hops(headers: &HeaderMap, by: ForwardedBy) -> Vec<Hop> {
    let mut hops = match by {
        ForwardedBy::XForwarded => x_forwarded(headers),
        ForwardedBy::Forwarded => list(headers, &FORWARDED).iter().map(|element| forwarded(element)).collect(),
    };
    let surplus = hops.len().saturating_sub(MAX_HOPS);
    hops.drain(..surplus);
    hops
}

/// Proxies that append to one list may replace another: entries belong together where the lists are equally long, else
/// the last one holds for all.
fn x_forwarded(headers: &HeaderMap) -> Vec<Hop> {
    let addresses = list(headers, &X_FORWARDED_FOR);
    let (protos, hosts) = (list(headers, &X_FORWARDED_PROTO), list(headers, &X_FORWARDED_HOST));
    let count = addresses.len().max(1);
    let at = |values: &[String], n: usize| if values.len() == count { values.get(n) } else { values.last() }.cloned();
    let hop = |n: usize| Hop {
        address: addresses.get(n).and_then(|text| address(text)),
        proto: at(&protos, n),
        host: at(&hosts, n),
    };
    (0..count).map(hop).collect()
}

/// One element: `for=192.0.2.60;proto=https;host="a.example"`. Parameters in any order, names in any case.
fn forwarded(element: &str) -> Hop {
    let mut hop = Hop::default();
    for pair in split(element, ';') {
        let Some((name, value)) = pair.split_once('=') else {
            continue;
        };
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            "for" => hop.address = address(value),
            "proto" => hop.proto = Some(value.to_owned()),
            "host" => hop.host = Some(value.to_owned()),
            _ => {}
        }
    }
    hop
}

/// The elements of a header that is a list, over all its lines.
fn list(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let lines = headers.get_all(name).filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| split(line, ',')).map(str::to_owned).collect()
}

/// Parts between separators that do not stand between quotation marks, trimmed.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    let parts = text.split(move |c| {
        is_quoted ^= c == '"';
        c == separator && !is_quoted
    });
    parts.map(str::trim).filter(|part| !part.is_empty())
}

/// An address, with or without a port; IPv6 with one stands in brackets.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    if let Some((inside, _)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return inside.parse().ok().map(|address: IpAddr| address.to_canonical());
    }
    let bare = text.parse::<IpAddr>().ok();
    let with_port = || text.parse::<std::net::SocketAddr>().ok().map(|address| address.ip());
    bare.or_else(with_port).map(|address| address.to_canonical())
}

/// What can be a host with or without a port, and can stand in a URL.
fn host_name(text: &str) -> Option<String> {
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    ((1..=MAX_HOST_BYTES).contains(&text.len()) && text.bytes().all(is_host)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn client(peer: &str, by: ForwardedBy, pairs: &[(&str, &str)]) -> Client {
        let trusted = ["10.0.0.0/8".parse().unwrap(), "127.0.0.2/32".parse().unwrap()];
        Client::read(Some(peer.parse().unwrap()), false, &headers(pairs), &trusted, by)
    }

    fn address_of(peer: &str, by: ForwardedBy, pairs: &[(&str, &str)]) -> String {
        client(peer, by, pairs).address.unwrap().to_string()
    }

    #[test]
    fn a_stranger_is_not_believed() {
        let forged = [
            ("x-forwarded-for", "192.0.2.9"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.example"),
            ("forwarded", "for=192.0.2.9;proto=https;host=evil.example"),
            ("host", "core.example"),
        ];
        for by in [ForwardedBy::XForwarded, ForwardedBy::Forwarded] {
            let found = client("203.0.113.1", by, &forged);
            assert_eq!(found.address.unwrap().to_string(), "203.0.113.1");
            assert_eq!((found.is_secure, found.host.as_deref()), (false, Some("core.example")));
        }
    }

    #[test]
    fn of_a_trusted_proxy_the_last_entry_that_is_no_proxy_is_the_client() {
        let by = ForwardedBy::XForwarded;
        assert_eq!(address_of("10.0.0.1", by, &[("x-forwarded-for", "192.0.2.9")]), "192.0.2.9");
        assert_eq!(address_of("10.0.0.1", by, &[("x-forwarded-for", "6.6.6.6, 192.0.2.9, 10.0.0.7")]), "192.0.2.9");
        let lines = [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "192.0.2.9:4711")];
        assert_eq!(address_of("10.0.0.1", by, &lines), "192.0.2.9");
        assert_eq!(address_of("::ffff:10.0.0.1", by, &[("x-forwarded-for", "[2001:db8::1]:80")]), "2001:db8::1");
        assert_eq!(address_of("10.0.0.1", by, &[("x-forwarded-for", "6.6.6.6, unknown")]), "10.0.0.1");
        assert_eq!(address_of("10.0.0.1", by, &[("x-forwarded-for", "10.0.0.9, 10.0.0.8")]), "10.0.0.9");
        assert_eq!(address_of("10.0.0.1", by, &[]), "10.0.0.1");
        let many = vec!["10.0.0.2"; 100].join(",");
        assert_eq!(address_of("10.0.0.1", by, &[("x-forwarded-for", &format!("6.6.6.6,{many}"))]), "10.0.0.2");
    }

    #[test]
    fn only_the_configured_family_of_headers_counts() {
        let both = [("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=192.0.2.2")];
        assert_eq!(address_of("10.0.0.1", ForwardedBy::XForwarded, &both), "192.0.2.1");
        assert_eq!(address_of("10.0.0.1", ForwardedBy::Forwarded, &both), "192.0.2.2");
    }

    #[test]
    fn the_standard_header_is_read_with_its_quotation_marks() {
        let header = r#"for=6.6.6.6;host="a,b", For="[2001:db8:cafe::17]:4711";Proto=HTTPS;host="core.example:8443", for=10.0.0.2"#;
        let found = client("10.0.0.1", ForwardedBy::Forwarded, &[("forwarded", header), ("host", "inner")]);
        assert_eq!(found.address.unwrap().to_string(), "2001:db8:cafe::17");
        assert_eq!((found.is_secure, found.host.as_deref()), (true, Some("core.example:8443")));
        let hidden = client("10.0.0.1", ForwardedBy::Forwarded, &[("forwarded", "for=_secret;proto=https")]);
        assert_eq!((hidden.address.unwrap().to_string().as_str(), hidden.is_secure), ("10.0.0.1", true));
    }

    #[test]
    fn scheme_and_host_are_those_that_the_client_used() {
        let by = ForwardedBy::XForwarded;
        let chain = [
            ("x-forwarded-for", "192.0.2.9, 10.0.0.7"),
            ("x-forwarded-proto", "https, http"),
            ("x-forwarded-host", "core.example"),
        ];
        let found = client("10.0.0.1", by, &chain);
        assert_eq!((found.is_secure, found.host.as_deref()), (true, Some("core.example")));
        let without_address = client("10.0.0.1", by, &[("x-forwarded-proto", "https")]);
        assert!(without_address.is_secure);
        let odd = client("10.0.0.1", by, &[("x-forwarded-host", "a/b?c"), ("host", "inner")]);
        assert_eq!(odd.host.as_deref(), Some("inner"), "what cannot be a host is passed over");
    }

    #[test]
    fn only_this_machine_itself_is_local() {
        let is_local = |peer: &str, pairs: &[(&str, &str)]| client(peer, ForwardedBy::XForwarded, pairs).is_local;
        assert!(is_local("127.0.0.1", &[]) && is_local("::1", &[]) && is_local("::ffff:127.0.0.1", &[]));
        assert!(!is_local("192.0.2.1", &[]));
        assert!(!is_local("127.0.0.1", &[("x-forwarded-for", "192.0.2.1")]), "a proxy that nobody has declared");
        assert!(!is_local("127.0.0.1", &[("forwarded", "for=192.0.2.1")]));
        assert!(!is_local("127.0.0.2", &[]), "a proxy speaks for others even where it does not say so");
        assert!(!is_local("127.0.0.2", &[("x-forwarded-for", "127.0.0.1")]));
    }
}
