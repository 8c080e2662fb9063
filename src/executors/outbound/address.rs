//! What kind of place an IP address is.
//!
//! An IPv6 address may carry an IPv4 address inside; it is judged as that one, because that is where the packet ends
//! up. The lists are those of the IANA special-purpose registries, plus the metadata services that clouds put outside
//! the link-local range.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How an address is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Anywhere on the Internet.
    Public,
    /// A network of one's own.
    Private,
    /// This machine.
    Loopback,
    /// Never a target; the text says what it is.
    Never(&'static str),
}

/// Metadata services outside the link-local range: Azure, Alibaba Cloud, Oracle Cloud.
const METADATA_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(168, 63, 129, 16), Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192)];
/// The same for IPv6: AWS, Google Cloud, Scaleway.
const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),
];

const METADATA: Place = Place::Never("a cloud's metadata service");
const LINK_LOCAL: Place = Place::Never("link-local, where clouds keep their metadata services");
const UNSPECIFIED: Place = Place::Never("unspecified");
const MULTICAST: Place = Place::Never("multicast");
const RESERVED: Place = Place::Never("reserved");

/// The kind of place of an address.
pub fn place(address: IpAddr) -> Place {
    match address {
        IpAddr::V4(address) => v4(address),
        IpAddr::V6(address) => v6(address),
    }
}

fn v4(address: Ipv4Addr) -> Place {
    if METADATA_V4.contains(&address) {
        return METADATA;
    }
    match address.octets() {
        // All of 0.0.0.0/8: some systems take it for themselves.
        [0, ..] => UNSPECIFIED,
        [127, ..] => Place::Loopback,
        [169, 254, ..] => LINK_LOCAL,
        [224..=239, ..] => MULTICAST,
        [240..=255, ..] => RESERVED,
        [10, ..]
        | [172, 16..=31, ..]
        | [192, 168, ..]
        // Shared by a provider's customers; protocol assignments; benchmarks; documentation.
        | [100, 64..=127, ..]
        | [192, 0, 0 | 2, _]
        | [198, 18 | 19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _] => Place::Private,
        _ => Place::Public,
    }
}

fn v6(address: Ipv6Addr) -> Place {
    if METADATA_V6.contains(&address) {
        return METADATA;
    }
    if address.is_unspecified() {
        return UNSPECIFIED;
    }
    if address.is_loopback() {
        return Place::Loopback;
    }
    if let Some(inner) = embedded(address) {
        return v4(inner);
    }
    match address.segments() {
        [0xff00..=0xffff, ..] => MULTICAST,
        [0xfe80..=0xfebf, ..] => LINK_LOCAL,
        // Unique local; site-local of old; documentation; discarded.
        [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] | [0x2001, 0xdb8, ..] | [0x100, 0, 0, 0, ..] => Place::Private,
        _ => Place::Public,
    }
}

/// The IPv4 address that an IPv6 address stands for.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        // Mapped, compatible, translated (SIIT), and translated by a NAT64, whether well-known or local.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x64, 0xff9b, 1, _, _, _, high, low]
        // 6to4.
        | [0x2002, high, low, ..] => Some(join(high, low)),
        // Teredo keeps its client's address inverted.
        [0x2001, 0, _, _, _, _, high, low] => Some(join(!high, !low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Place {
        place(text.parse().expect("an address"))
    }

    #[test]
    fn places_of_ipv4() {
        for (text, expected) in [
            ("8.8.8.8", Place::Public),
            ("172.15.255.255", Place::Public),
            ("172.16.0.1", Place::Private),
            ("172.31.255.255", Place::Private),
            ("172.32.0.0", Place::Public),
            ("10.1.2.3", Place::Private),
            ("192.168.0.1", Place::Private),
            ("100.64.0.1", Place::Private),
            ("100.128.0.1", Place::Public),
            ("127.0.0.1", Place::Loopback),
            ("127.255.255.254", Place::Loopback),
            ("169.254.169.254", LINK_LOCAL),
            ("168.63.129.16", METADATA),
            ("100.100.100.200", METADATA),
            ("0.0.0.0", UNSPECIFIED),
            ("0.1.2.3", UNSPECIFIED),
            ("224.0.0.1", MULTICAST),
            ("255.255.255.255", RESERVED),
        ] {
            assert_eq!(of(text), expected, "{text}");
        }
    }

    #[test]
    fn places_of_ipv6() {
        for (text, expected) in [
            ("2606:4700::1111", Place::Public),
            ("::", UNSPECIFIED),
            ("::1", Place::Loopback),
            ("fe80::1", LINK_LOCAL),
            ("febf::1", LINK_LOCAL),
            ("fec0::1", Place::Private),
            ("fd12:3456::1", Place::Private),
            ("fd00:ec2::254", METADATA),
            ("ff02::1", MULTICAST),
            ("2001:db8::1", Place::Private),
        ] {
            assert_eq!(of(text), expected, "{text}");
        }
    }

    #[test]
    fn an_address_inside_an_address_counts() {
        for text in [
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "::ffff:0:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::169.254.169.254",
            "2002:a9fe:a9fe::1",
            "2001:0:1234::5601:5601",
        ] {
            assert_eq!(of(text), LINK_LOCAL, "{text}");
        }
        assert_eq!(of("::ffff:127.0.0.1"), Place::Loopback);
        assert_eq!(of("64:ff9b::8.8.8.8"), Place::Public);
    }
}
