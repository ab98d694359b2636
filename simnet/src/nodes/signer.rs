//! Signatures of records: real ones, or a keyed hash where their cost is of no interest.

use std::{cell::RefCell, collections::BTreeMap};

use protocol::{
    Digest, EvmAddress,
    eip712::{BadSignature, Domain, EvmKey, Recover, Signature},
    hash::keccak,
    record::{Record, SignedRecord},
};

use super::population::operator_key;
use crate::{chain::named_address, kernel::Streams, scenario::Signatures};

/// Keys that were derived before are kept up to this many.
const KEPT_KEYS: usize = 20_000;

/// Signs for every node, and finds out who signed.
#[derive(Debug)]
pub struct Signer {
    kind: Signatures,
    streams: Streams,
    secret: Digest,
    keys: RefCell<BTreeMap<u32, EvmKey>>,
}

impl Signer {
    /// The signer of a run.
    pub fn new(kind: Signatures, streams: Streams, seed: u64) -> Self {
        let secret = keccak(&[b"openledger simnet signer", &seed.to_be_bytes()]);
        Self { kind, streams, secret, keys: RefCell::default() }
    }

    /// The address under which a numbered identity signs.
    pub fn address(&self, identity: u32) -> EvmAddress {
        match self.kind {
            Signatures::Real => operator_key(&self.streams, identity).address(),
            Signatures::Modelled => named_address(b"operator", identity),
        }
    }

    /// Signs a record for an identity.
    ///
    /// # Panics
    /// Never: RFC 6979 finds a nonce for every message.
    pub fn sign(&self, identity: u32, record: Record, domain: &Domain) -> SignedRecord {
        match self.kind {
            Signatures::Real => {
                let mut keys = self.keys.borrow_mut();
                if keys.len() >= KEPT_KEYS {
                    keys.clear();
                }
                let derive = || operator_key(&self.streams, identity);
                let key = keys.entry(identity).or_insert_with(derive);
                record.sign(domain, key).expect("RFC 6979 finds a nonce")
            }
            Signatures::Modelled => {
                let signature = self.modelled(&self.address(identity), &record.id(domain));
                SignedRecord { record, signature, anchor: None }
            }
        }
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
            return signature.recover(digest);
        }
        let by = signature.0.first_chunk::<20>().copied().map(EvmAddress).ok_or(BadSignature)?;
        if self.modelled(&by, digest) == *signature { Ok(by) } else { Err(BadSignature) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
