//! Signatures of records: real ones, or a keyed hash where their cost is of no interest.

use protocol::{
    Digest, EvmAddress,
    eip712::{BadSignature, Domain, Recover, Signature},
    hash::keccak,
    record::{Record, SignedRecord, VerifiedRecord},
};
use secp256k1::{
    All, Message, PublicKey, Secp256k1, SecretKey,
    ecdsa::{RecoverableSignature, RecoveryId},
};

use super::population::operator_secret;
use crate::{chain::named_address, kernel::Streams, scenario::Signatures};

/// Signs for every node, and finds out who signed. The bytes are those of the protocol's own keys
/// (RFC 6979); the library is the EVM's, which is several times faster.
#[derive(Debug)]
pub struct Signer {
    kind: Signatures,
    streams: Streams,
    secret: Digest,
    curve: Secp256k1<All>,
    /// Addresses by identity, as far as they were made before.
    addresses: Vec<EvmAddress>,
}

impl Signer {
    /// The signer of a run.
    pub fn new(kind: Signatures, streams: Streams, seed: u64) -> Self {
        let secret = keccak(&[b"openledger simnet signer", &seed.to_be_bytes()]);
        Self { kind, streams, secret, curve: Secp256k1::new(), addresses: Vec::new() }
    }

    /// Keeps the addresses of the first identities, so that they are not made again.
    pub fn know(&mut self, addresses: Vec<EvmAddress>) {
        self.addresses = addresses;
    }

    /// The address under which a numbered identity signs.
    pub fn address(&self, identity: u32) -> EvmAddress {
        if let Some(known) = self.addresses.get(identity as usize) {
            return *known;
        }
        match self.kind {
            Signatures::Real => address_of(&self.key(identity).public_key(&self.curve)),
            Signatures::Modelled => named_address(b"operator", identity),
        }
    }

    fn key(&self, identity: u32) -> SecretKey {
        SecretKey::from_byte_array(operator_secret(&self.streams, identity))
            .expect("it was drawn to be a key")
    }

    /// Signs a record for an identity. It's verified by its making: whoever recomputes a settlement
    /// recovers the signer from the bytes.
    ///
    /// # Panics
    /// Never: the signer is the one that it names.
    pub fn sign(&self, identity: u32, record: Record, domain: &Domain) -> VerifiedRecord {
        let (by, digest) = (self.address(identity), record.id(domain));
        let signature = match self.kind {
            Signatures::Real => self.real(identity, &digest),
            Signatures::Modelled => self.modelled(&by, &digest),
        };
        let signed = SignedRecord { record, signature, anchor: None };
        signed.verify_with(domain, &Just(by)).expect("it was signed just now")
    }

    fn real(&self, identity: u32, digest: &Digest) -> Signature {
        let message = Message::from_digest(digest.0);
        let signed = self.curve.sign_ecdsa_recoverable(message, &self.key(identity));
        let (parity, rs) = signed.serialize_compact();
        let mut bytes = [0u8; 65];
        bytes[..64].copy_from_slice(&rs);
        bytes[64] = if parity == RecoveryId::One { 28 } else { 27 };
        Signature(bytes)
    }

    /// The signer's address and a keyed hash over it and the message.
    fn modelled(&self, by: &EvmAddress, digest: &Digest) -> Signature {
        let mac = keccak(&[&self.secret.0, &by.0, &digest.0]);
        let mut bytes = [0u8; 65];
        bytes[..20].copy_from_slice(&by.0);
        bytes[20..52].copy_from_slice(&mac.0);
        Signature(bytes)
    }
}

impl Recover for Signer {
    fn recover(&self, signature: &Signature, digest: &Digest) -> Result<EvmAddress, BadSignature> {
        if self.kind == Signatures::Real {
            return recover(signature, digest).ok_or(BadSignature);
        }
        let by = signature.0.first_chunk::<20>().copied().map(EvmAddress).ok_or(BadSignature)?;
        if self.modelled(&by, digest) == *signature { Ok(by) } else { Err(BadSignature) }
    }
}

/// The signer of what was signed a moment ago.
struct Just(EvmAddress);

impl Recover for Just {
    fn recover(&self, _: &Signature, _: &Digest) -> Result<EvmAddress, BadSignature> {
        Ok(self.0)
    }
}

/// As `ecrecover` does, refusing the malleable half.
fn recover(signature: &Signature, digest: &Digest) -> Option<EvmAddress> {
    let (rs, v) = signature.0.split_first_chunk::<64>()?;
    let parity = match v {
        [27] => RecoveryId::Zero,
        [28] => RecoveryId::One,
        _ => return None,
    };
    let signature = RecoverableSignature::from_compact(rs, parity).ok()?;
    let standard = signature.to_standard();
    let mut low = standard;
    low.normalize_s();
    if low != standard {
        return None;
    }
    signature.recover(Message::from_digest(digest.0)).ok().map(|key| address_of(&key))
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
        let signer = Signer::new(Signatures::Real, streams, 7);
        for identity in 0..64u32 {
            let digest = keccak(&[&identity.to_be_bytes()]);
            let key = EvmKey::from_bytes(&operator_secret(&streams, identity)).unwrap();
            let signature = signer.real(identity, &digest);
            assert_eq!(signature, key.sign(&digest).unwrap());
            assert_eq!(signer.address(identity), key.address());
            assert_eq!(signer.recover(&signature, &digest), Ok(key.address()));
            for (place, byte) in [(64, 29), (64, 0), (0, 0xff), (40, signature.0[40] ^ 1)] {
                let mut forged = signature;
                forged.0[place] = byte;
                assert_eq!(signer.recover(&forged, &digest), forged.recover(&digest));
            }
        }
    }

    #[test]
    fn a_modelled_signature_names_its_signer_and_no_other_message() {
        let signer = Signer::new(Signatures::Modelled, Streams::new(7), 7);
        let (by, message) = (signer.address(3), Digest([5; 32]));
        let signature = signer.modelled(&by, &message);
        assert_eq!(signer.recover(&signature, &message), Ok(by));
        assert!(signer.recover(&signature, &Digest([6; 32])).is_err());
        let mut forged = signature;
        forged.0[..20].copy_from_slice(&signer.address(4).0);
        assert!(signer.recover(&forged, &message).is_err());
    }
}
