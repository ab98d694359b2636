//! One ed25519 key, three names: NodeId, libp2p's PeerId, iroh's EndpointId.
//!
//! A PeerId of an ed25519 key is the identity multihash of that key, so the key can be read back
//! out of it; no table is needed.

use libp2p::identity::{Keypair, PublicKey, ed25519};
use libp2p::{PeerId, multihash::Multihash};
use protocol::NodeId;

/// The multihash code of "the bytes themselves".
const IDENTITY: u64 = 0;

/// The PeerId of a node; `None` when the id is no valid ed25519 key.
pub fn peer_id(node: NodeId) -> Option<PeerId> {
    let key = ed25519::PublicKey::try_from_bytes(node.as_bytes()).ok()?;
    Some(PublicKey::from(key).to_peer_id())
}

/// The node behind a PeerId; `None` when its key is not ed25519.
pub fn node_id(peer: &PeerId) -> Option<NodeId> {
    let multihash: &Multihash<64> = peer.as_ref();
    if multihash.code() != IDENTITY {
        return None;
    }
    let key = PublicKey::try_decode_protobuf(multihash.digest()).ok()?;
    Some(NodeId(key.try_into_ed25519().ok()?.to_bytes()))
}

/// The node that a secret key makes.
pub fn node_of_secret(secret: &[u8; 32]) -> NodeId {
    NodeId(*iroh::SecretKey::from_bytes(secret).public().as_bytes())
}

/// The EndpointId of a node; `None` when the id is no valid ed25519 key.
pub(crate) fn endpoint_id(node: NodeId) -> Option<iroh::EndpointId> {
    iroh::EndpointId::from_bytes(node.as_bytes()).ok()
}

/// The control plane's key pair.
pub(crate) fn keypair(mut secret: [u8; 32]) -> Keypair {
    Keypair::ed25519_from_bytes(&mut secret).expect("any 32 bytes are an ed25519 secret")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_names_derive_from_one_key() {
        let secret = [7; 32];
        let node = node_of_secret(&secret);
        let peer = keypair(secret).public().to_peer_id();
        assert_eq!(node_id(&peer), Some(node));
        assert_eq!(peer_id(node), Some(peer));
        assert_eq!(endpoint_id(node).map(|id| *id.as_bytes()), Some(node.0));
    }

    #[test]
    fn what_is_no_ed25519_key_has_no_name() {
        let hashed = PeerId::from_multihash(Multihash::wrap(0x12, &[1; 32]).unwrap()).unwrap();
        assert_eq!(node_id(&hashed), None);
        let mut bad = [0xff; 32];
        bad[31] = 0x7f;
        assert_eq!(peer_id(NodeId(bad)).is_some(), endpoint_id(NodeId(bad)).is_some());
    }
}
