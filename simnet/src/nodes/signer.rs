//! Signatures of records, which the contracts check.

use protocol::{
    Digest, EvmAddress,
    eip712::{BadSignature, Domain, Recover, Signature},
    hash::keccak,
    record::{Record, SignedRecord, VerifiedRecord},
};
use secp256k1::{All, Message, PublicKey, Secp256k1, SecretKey, ecdsa::RecoveryId};

use crate::kernel::{Purpose, Stream, Streams};

/// Signs for every node. The bytes are those of the protocol's own keys
/// (RFC 6979); the library is the EVM's, which is several times faster.
#[derive(Debug)]
pub struct Signer {
    streams: Streams,
    curve: Secp256k1<All>,
    /// Addresses by identity, as far as they were made before.
    addresses: Vec<EvmAddress>,
}

impl Signer {
    /// The signer of a run.
    pub fn new(streams: Streams) -> Self {
        Self { streams, curve: Secp256k1::new(), addresses: Vec::new() }
    }

    /// Keeps the addresses of the first identities, so that they are not made again.
    pub(crate) fn know(&mut self, addresses: Vec<EvmAddress>) {
        self.addresses = addresses;
    }

    /// The address under which a numbered identity signs.
    pub fn address(&self, identity: u32) -> EvmAddress {
        if let Some(known) = self.addresses.get(identity as usize) {
            return *known;
        }
        address_of(&self.key(identity).public_key(&self.curve))
    }

    fn key(&self, identity: u32) -> SecretKey {
        SecretKey::from_byte_array(operator_secret(&self.streams, identity))
            .expect("it was drawn to be a key")
    }

    /// Signs a record for an identity. It's verified by its making: the contracts recover the signer from
    /// the bytes.
    ///
    /// # Panics
    /// Never: the signer is the one that it names.
    pub fn sign(&self, identity: u32, record: Record, domain: &Domain) -> VerifiedRecord {
        let (by, digest) = (self.address(identity), record.id(domain));
        let signed = SignedRecord { record, signature: self.signature(identity, &digest) };
        signed.verify_with(domain, &Just(by)).expect("it was signed just now")
    }

    fn signature(&self, identity: u32, digest: &Digest) -> Signature {
        let message = Message::from_digest(digest.0);
        let signed = self.curve.sign_ecdsa_recoverable(message, &self.key(identity));
        let (parity, rs) = signed.serialize_compact();
        let mut bytes = [0u8; 65];
        bytes[..64].copy_from_slice(&rs);
        bytes[64] = if parity == RecoveryId::One { 28 } else { 27 };
        Signature(bytes)
    }
}

/// The signer of what was signed a moment ago.
struct Just(EvmAddress);

impl Recover for Just {
    fn recover(&self, _: &Signature, _: &Digest) -> Result<EvmAddress, BadSignature> {
        Ok(self.0)
    }
}

/// The hot key of an identity.
fn operator_secret(streams: &Streams, number: u32) -> [u8; 32] {
    secret(&mut streams.stream(number, Purpose::Identity))
}

/// A secp256k1 secret; all but some 2¹²⁸ of 2²⁵⁶ draws are one.
pub(super) fn secret(draws: &mut Stream) -> [u8; 32] {
    loop {
        let mut bytes = [0u8; 32];
        draws.fill(&mut bytes);
        // Below 2²⁵⁶ - 2²²⁴ and above zero is surely below the group's order.
        if bytes[..4] != [0xff; 4] && bytes != [0; 32] {
            return bytes;
        }
    }
}

fn address_of(key: &PublicKey) -> EvmAddress {
    let digest = keccak(&[&key.serialize_uncompressed()[1..]]);
    digest.0.last_chunk::<20>().map_or(EvmAddress::ZERO, |tail| EvmAddress(*tail))
}

#[cfg(test)]
mod tests {
    use protocol::eip712::EvmKey;

    use super::*;

    #[test]
    fn real_signatures_are_those_of_the_protocol_byte_for_byte() {
        let streams = Streams::new(7);
        let signer = Signer::new(streams);
        for identity in 0..64u32 {
            let digest = keccak(&[&identity.to_be_bytes()]);
            let key = EvmKey::from_bytes(&operator_secret(&streams, identity)).unwrap();
            let signature = signer.signature(identity, &digest);
            assert_eq!(signature, key.sign(&digest).unwrap());
            assert_eq!(signer.address(identity), key.address());
            assert_eq!(signature.recover(&digest), Ok(key.address()));
        }
    }
}
