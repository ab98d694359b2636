//! Where the data plane of a node can be reached, as peers tell each other on connecting.
//!
//! Wire form: `u8 n`, then n sockets (`u8` 4 or 6, the address, `u16` port, big-endian), then
//! `u16` length and the UTF-8 text of a relay URL (0: none). Nothing may follow.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use iroh::{EndpointAddr, EndpointId, RelayUrl};

/// The most sockets that one node may announce; each costs a fetching peer a few datagrams.
pub(crate) const MAX_SOCKETS: usize = 16;
/// The longest relay URL.
const MAX_URL: usize = 256;

/// The sockets and the relay at which a data plane listens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DataAddress {
    pub(crate) sockets: Vec<SocketAddr>,
    pub(crate) relay: Option<RelayUrl>,
}

impl DataAddress {
    /// What iroh says of itself, cut to the limits.
    pub(crate) fn of(address: &EndpointAddr) -> Self {
        Self {
            sockets: address.ip_addrs().take(MAX_SOCKETS).copied().collect(),
            relay: address.relay_urls().find(|url| url.as_str().len() <= MAX_URL).cloned(),
        }
    }

    /// The same for iroh.
    pub(crate) fn with_id(&self, id: EndpointId) -> EndpointAddr {
        let address = self.sockets.iter().fold(EndpointAddr::new(id), |a, s| a.with_ip_addr(*s));
        self.relay.iter().fold(address, |a, url| a.with_relay_url(url.clone()))
    }

    /// Adds `ip`, at which the control plane sees the peer, with the ports that it announced: its
    /// own idea of its address ends at its router.
    pub(crate) fn seen_at(mut self, ip: IpAddr) -> Self {
        let mut ports: Vec<u16> = self.sockets.iter().map(SocketAddr::port).collect();
        ports.sort_unstable();
        ports.dedup();
        for port in ports {
            let socket = SocketAddr::new(ip, port);
            if self.sockets.len() < MAX_SOCKETS && !self.sockets.contains(&socket) {
                self.sockets.push(socket);
            }
        }
        self
    }

    /// Appends the wire form.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let count = self.sockets.len().min(MAX_SOCKETS);
        out.push(u8::try_from(count).expect("MAX_SOCKETS fits in a byte"));
        for socket in &self.sockets[..count] {
            match socket.ip() {
                IpAddr::V4(ip) => {
                    out.push(4);
                    out.extend_from_slice(&ip.octets());
                }
                IpAddr::V6(ip) => {
                    out.push(6);
                    out.extend_from_slice(&ip.octets());
                }
            }
            out.extend_from_slice(&socket.port().to_be_bytes());
        }
        let url = self.relay.as_ref().map_or("", |url| url.as_str());
        let len = u16::try_from(url.len()).expect("MAX_URL fits in two bytes");
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(url.as_bytes());
    }

    /// Reads the wire form off the front; `None` for anything malformed or beyond a limit.
    pub(crate) fn decode(input: &mut &[u8]) -> Option<Self> {
        let count = usize::from(take::<1>(input)?[0]);
        if count > MAX_SOCKETS {
            return None;
        }
        let mut sockets = Vec::with_capacity(count);
        for _ in 0..count {
            let ip = match take::<1>(input)?[0] {
                4 => IpAddr::V4(Ipv4Addr::from(take::<4>(input)?)),
                6 => IpAddr::V6(Ipv6Addr::from(take::<16>(input)?)),
                _ => return None,
            };
            sockets.push(SocketAddr::new(ip, u16::from_be_bytes(take::<2>(input)?)));
        }
        let len = usize::from(u16::from_be_bytes(take::<2>(input)?));
        if len > MAX_URL {
            return None;
        }
        let (url, rest) = input.split_at_checked(len)?;
        *input = rest;
        let relay = match std::str::from_utf8(url).ok()? {
            "" => None,
            text => Some(text.parse().ok()?),
        };
        Some(Self { sockets, relay })
    }

    /// Reads a message that is one address and nothing else.
    pub(crate) fn from_bytes(mut bytes: &[u8]) -> Option<Self> {
        let address = Self::decode(&mut bytes)?;
        bytes.is_empty().then_some(address)
    }
}

/// Splits an array off the front.
pub(crate) fn take<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = input.split_first_chunk::<N>()?;
    *input = rest;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> DataAddress {
        DataAddress {
            sockets: vec!["127.0.0.1:4001".parse().unwrap(), "[::1]:9".parse().unwrap()],
            relay: Some("https://relay.example/".parse().unwrap()),
        }
    }

    #[test]
    fn round_trips_and_has_the_written_layout() {
        let mut bytes = Vec::new();
        sample().encode(&mut bytes);
        assert_eq!(bytes[..8], [2, 4, 127, 0, 0, 1, 0x0f, 0xa1]);
        assert_eq!(DataAddress::from_bytes(&bytes), Some(sample()));
    }

    #[test]
    fn every_truncation_and_extension_is_refused() {
        let mut bytes = Vec::new();
        sample().encode(&mut bytes);
        for end in 0..bytes.len() {
            assert_eq!(DataAddress::from_bytes(&bytes[..end]), None, "cut at {end}");
        }
        bytes.push(0);
        assert_eq!(DataAddress::from_bytes(&bytes), None);
        assert_eq!(DataAddress::from_bytes(&[17]), None);
        assert_eq!(DataAddress::from_bytes(&[1, 5, 0, 0]), None);
    }

    #[test]
    fn the_observed_address_is_added_once_per_port() {
        let seen = sample().seen_at("192.0.2.7".parse().unwrap());
        assert!(seen.sockets.contains(&"192.0.2.7:4001".parse().unwrap()));
        assert_eq!(seen.sockets.len(), 4);
        assert_eq!(seen.clone().seen_at("192.0.2.7".parse().unwrap()), seen);
    }
}
