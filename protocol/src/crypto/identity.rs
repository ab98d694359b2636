//! The binding of a node's ed25519 key to an account's money keys.
//!
//! The EVM cannot check ed25519 cheaply, so the chain only carries the signature; peers and
//! `settle()` ignore accounts whose binding is wrong. Anybody may register an account for another, and
//! a signature that stands in an event can be sent again by everybody: so it names every key and where
//! claims pay, and the first account that it is valid for has the node.

use alloc::vec::Vec;

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use crate::{
    codec::Wire,
    ids::{EvmAddress, NodeId},
};

/// Prefix of what is signed, so that no other ed25519 signature can be taken for a binding.
const PREFIX: &[u8] = b"openledger/v1/binding\0";

/// What the node's key signs: "this owner and operator speak for me on this chain, and what I earn is
/// paid there".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binding {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// The Registry's address.
    pub registry: EvmAddress,
    /// The cold key.
    pub owner: EvmAddress,
    /// The hot key at registration.
    pub operator: EvmAddress,
    /// Where claims pay at registration.
    pub payout: EvmAddress,
}

impl Binding {
    fn message(&self) -> Vec<u8> {
        let mut message = PREFIX.to_vec();
        self.chain_id.encode(&mut message);
        self.registry.encode(&mut message);
        self.owner.encode(&mut message);
        self.operator.encode(&mut message);
        self.payout.encode(&mut message);
        message
    }

    /// Signs with the node's 32-byte secret; gives the node's id and the signature.
    pub fn sign(&self, secret: &[u8; 32]) -> (NodeId, [u8; 64]) {
        let key = SigningKey::from_bytes(secret);
        let signature = key.sign(&self.message()).to_bytes();
        (NodeId(key.verifying_key().to_bytes()), signature)
    }

    /// Whether `node` signed this binding.
    pub fn verify(&self, node: &NodeId, signature: &[u8; 64]) -> bool {
        VerifyingKey::from_bytes(&node.0).is_ok_and(|key| {
            key.verify_strict(&self.message(), &Signature::from_bytes(signature)).is_ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_holds_for_its_keys_chain_and_registry_only() {
        let binding = Binding {
            chain_id: 7,
            registry: EvmAddress([1; 20]),
            owner: EvmAddress([2; 20]),
            operator: EvmAddress([3; 20]),
            payout: EvmAddress([5; 20]),
        };
        let (node, signature) = binding.sign(&[9; 32]);
        assert!(binding.verify(&node, &signature));
        assert!(!Binding { chain_id: 8, ..binding }.verify(&node, &signature));
        assert!(!Binding { operator: EvmAddress([4; 20]), ..binding }.verify(&node, &signature));
        assert!(!Binding { payout: EvmAddress([4; 20]), ..binding }.verify(&node, &signature));
        assert!(!binding.verify(&NodeId([0; 32]), &signature));
        assert!(!binding.verify(&node, &[0; 64]));
    }
}
