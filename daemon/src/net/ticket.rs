//! The join ticket: one copy-paste string by which two machines form a network.
//!
//! `openledger1` followed by hexadecimal of: node id (32), `u8 n`, n × (`u16` length, multiaddr),
//! the data address (see [`address`](super::address)), and 4 bytes of BLAKE3 over all before. The
//! checksum is against slips of the hand; the transport authenticates the node by its key.

use std::fmt;
use std::str::FromStr;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use protocol::NodeId;

use super::address::{DataAddress, take};
use super::identity::peer_id;

/// The prefix, with the format's version.
const PREFIX: &str = "openledger1";
/// The most control addresses of a ticket.
const MAX_ADDRESSES: usize = 16;
/// The longest multiaddr.
const MAX_ADDRESS: usize = 512;

/// Why a ticket cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// It does not begin as tickets do.
    #[error("a join ticket begins with {PREFIX}: copy the whole string that `status` prints")]
    Prefix,
    /// It contains something else than hexadecimal digits.
    #[error("the ticket contains a character that is not a hexadecimal digit")]
    Digit,
    /// The checksum is wrong.
    #[error("the ticket is damaged or incomplete: copy it again")]
    Checksum,
    /// The content is malformed.
    #[error("the ticket has another version; update openledger on both machines")]
    Content,
}

/// Where a node can be reached: all that another needs to join its network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinTicket {
    node: NodeId,
    control: Vec<Multiaddr>,
    data: DataAddress,
}

impl JoinTicket {
    pub(crate) fn new(node: NodeId, mut control: Vec<Multiaddr>, data: DataAddress) -> Self {
        control.retain(|address| address.len() <= MAX_ADDRESS);
        control.truncate(MAX_ADDRESSES);
        Self { node, control, data }
    }

    /// The node that it leads to.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Multiaddrs for the option `bootstrap`, peer id included.
    pub fn bootstrap(&self) -> Vec<String> {
        let Some(peer) = peer_id(self.node) else { return Vec::new() };
        let with_peer = |a: &Multiaddr| a.clone().with(Protocol::P2p(peer)).to_string();
        self.control.iter().map(with_peer).collect()
    }

    /// The sockets of its data plane.
    pub fn data_addresses(&self) -> Vec<std::net::SocketAddr> {
        self.data.sockets.clone()
    }

    fn decode(mut body: &[u8]) -> Option<Self> {
        let input = &mut body;
        let node = NodeId(take::<32>(input)?);
        peer_id(node)?;
        let count = usize::from(take::<1>(input)?[0]);
        if count > MAX_ADDRESSES {
            return None;
        }
        let mut control = Vec::with_capacity(count);
        for _ in 0..count {
            let len = usize::from(u16::from_be_bytes(take::<2>(input)?));
            let (address, rest) = input.split_at_checked(len)?;
            *input = rest;
            control.push(Multiaddr::try_from(address.to_vec()).ok()?);
        }
        let data = DataAddress::from_bytes(input)?;
        Some(Self { node, control, data })
    }
}

impl fmt::Display for JoinTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut body = self.node.0.to_vec();
        body.push(u8::try_from(self.control.len()).expect("MAX_ADDRESSES fits in a byte"));
        for address in &self.control {
            let len = u16::try_from(address.len()).expect("MAX_ADDRESS fits in two bytes");
            body.extend_from_slice(&len.to_be_bytes());
            body.extend_from_slice(address.as_ref());
        }
        self.data.encode(&mut body);
        let checksum = blake3::hash(&body);
        body.extend_from_slice(&checksum.as_bytes()[..4]);
        write!(f, "{PREFIX}{}", hex::encode(body))
    }
}

impl FromStr for JoinTicket {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, TicketError> {
        let digits = text.trim().strip_prefix(PREFIX).ok_or(TicketError::Prefix)?;
        let bytes = match hex::decode(digits) {
            Ok(bytes) => bytes,
            Err(hex::FromHexError::InvalidHexCharacter { .. }) => return Err(TicketError::Digit),
            Err(_) => return Err(TicketError::Checksum),
        };
        let (body, checksum) = bytes.split_last_chunk::<4>().ok_or(TicketError::Checksum)?;
        if blake3::hash(body).as_bytes()[..4] != checksum[..] {
            return Err(TicketError::Checksum);
        }
        Self::decode(body).ok_or(TicketError::Content)
    }
}

#[cfg(test)]
mod tests {
    use super::super::identity::node_of_secret;
    use super::*;

    fn sample() -> JoinTicket {
        let data = DataAddress {
            sockets: vec!["127.0.0.1:4002".parse().unwrap()],
            ..DataAddress::default()
        };
        let control = vec!["/ip4/127.0.0.1/udp/4001/quic-v1".parse().unwrap()];
        JoinTicket::new(node_of_secret(&[3; 32]), control, data)
    }

    #[test]
    fn round_trips_with_spaces_around() {
        assert_eq!(format!("  {}\n", sample()).parse(), Ok(sample()));
        assert!(sample().bootstrap()[0].starts_with("/ip4/127.0.0.1/udp/4001/quic-v1/p2p/12D3"));
    }

    #[test]
    fn slips_of_the_hand_are_named() {
        let text = sample().to_string();
        assert_eq!("hello".parse::<JoinTicket>(), Err(TicketError::Prefix));
        assert_eq!(text[..text.len() - 1].parse::<JoinTicket>(), Err(TicketError::Checksum));
        assert_eq!(text[..text.len() - 2].parse::<JoinTicket>(), Err(TicketError::Checksum));
        assert_eq!(text.replace('0', "x").parse::<JoinTicket>(), Err(TicketError::Digit));
        assert_eq!("openledger1".parse::<JoinTicket>(), Err(TicketError::Checksum));
    }

    #[test]
    fn hostile_content_is_refused() {
        let mut body = sample().node.0.to_vec();
        body.push(255);
        let checksum = blake3::hash(&body);
        body.extend_from_slice(&checksum.as_bytes()[..4]);
        let text = format!("{PREFIX}{}", hex::encode(body));
        assert_eq!(text.parse::<JoinTicket>(), Err(TicketError::Content));
    }
}
