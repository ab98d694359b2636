//! Typed-data signatures (EIP-712) that a contract can check with `ecrecover`.

use k256::ecdsa::{RecoveryId, Signature as EcdsaSignature, SigningKey, VerifyingKey};

use crate::{
    codec::{DecodeError, Reader, Wire},
    hash::keccak,
    ids::{Digest, EvmAddress},
};

/// The domain of a signature: it names chain and contract, so nothing replays across them. A record is for the
/// Coordinator, a receipt for the UsageEscrow that pays it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Domain {
    chain_id: u64,
    contract: EvmAddress,
    /// Every record's id needs it.
    separator: Digest,
}

impl Domain {
    /// The domain of a chain (EIP-155 id) and a contract: name `openledger`, version `1`.
    pub fn new(chain_id: u64, contract: EvmAddress) -> Self {
        let type_hash = keccak(&[
            b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)",
        ]);
        let separator = keccak(&[
            &type_hash.0,
            &keccak(&[b"openledger"]).0,
            &keccak(&[b"1"]).0,
            &word(u128::from(chain_id)),
            &address_word(&contract),
        ]);
        Self { chain_id, contract, separator }
    }

    /// The EIP-155 chain id.
    pub const fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// The contract that checks it.
    pub const fn contract(&self) -> &EvmAddress {
        &self.contract
    }

    /// The domain separator.
    pub const fn separator(&self) -> &Digest {
        &self.separator
    }

    /// The digest that is signed: `keccak(0x1901 ‖ separator ‖ struct hash)`.
    pub fn digest(&self, struct_hash: &Digest) -> Digest {
        keccak(&[&[0x19, 0x01], &self.separator.0, &struct_hash.0])
    }
}

/// An unsigned integer as a 32-byte ABI word.
pub fn word(value: u128) -> [u8; 32] {
    let mut out = [0u8; 32];
    if let Some(tail) = out.last_chunk_mut::<16>() {
        *tail = value.to_be_bytes();
    }
    out
}

/// An address as a 32-byte ABI word.
pub(crate) fn address_word(address: &EvmAddress) -> [u8; 32] {
    let mut out = [0u8; 32];
    if let Some(tail) = out.last_chunk_mut::<20>() {
        *tail = address.0;
    }
    out
}

/// A recoverable secp256k1 signature: r (32 bytes), s (32 bytes, low half), v (27 or 28).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 65]);

impl core::fmt::Debug for Signature {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Signature({})", keccak(&[&self.0]))
    }
}

impl Wire for Signature {
    fn encode(&self, out: &mut alloc::vec::Vec<u8>) {
        self.0.encode(out);
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        input.array().map(Self)
    }
}

/// A signature from which no address can be recovered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature is malformed or recovers no key")]
pub struct BadSignature;

impl Signature {
    /// Recovers the address that signed `digest`, as `ecrecover` does, refusing the malleable half.
    ///
    /// # Errors
    /// [`BadSignature`] when r, s or v are out of range or no key results.
    pub fn recover(&self, digest: &Digest) -> Result<EvmAddress, BadSignature> {
        let (rs, v) = self.0.split_first_chunk::<64>().ok_or(BadSignature)?;
        let parity = match v {
            [27] => 0,
            [28] => 1,
            _ => return Err(BadSignature),
        };
        let signature = EcdsaSignature::from_slice(rs).map_err(|_| BadSignature)?;
        if signature.normalize_s().is_some() {
            return Err(BadSignature);
        }
        let recovery = RecoveryId::from_byte(parity).ok_or(BadSignature)?;
        VerifyingKey::recover_from_prehash(&digest.0, &signature, recovery)
            .map(|key| address_of(&key))
            .map_err(|_| BadSignature)
    }
}

/// Finds out who signed. [`Ecrecover`] is the answer of every real network; a simulation may have
/// another, at a modelled cost.
pub trait Recover {
    /// The signer of a digest.
    ///
    /// # Errors
    /// [`BadSignature`] when nobody signed.
    fn recover(&self, signature: &Signature, digest: &Digest) -> Result<EvmAddress, BadSignature>;
}

/// Secp256k1 signatures, as the EVM's `ecrecover` reads them.
#[derive(Debug, Clone, Copy)]
pub struct Ecrecover;

impl Recover for Ecrecover {
    fn recover(&self, signature: &Signature, digest: &Digest) -> Result<EvmAddress, BadSignature> {
        signature.recover(digest)
    }
}

/// A secp256k1 key that signs records or receipts.
#[derive(Clone)]
pub struct EvmKey(SigningKey);

impl core::fmt::Debug for EvmKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "EvmKey({})", self.address())
    }
}

impl EvmKey {
    /// Reads a 32-byte secret; `None` when it is zero or not below the group order.
    pub fn from_bytes(secret: &[u8; 32]) -> Option<Self> {
        SigningKey::from_slice(secret).ok().map(Self)
    }

    /// The 32 bytes of the secret, for a keystore to encrypt.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes().into()
    }

    /// The address of the key.
    pub fn address(&self) -> EvmAddress {
        address_of(self.0.verifying_key())
    }

    /// Signs a digest deterministically (RFC 6979).
    ///
    /// # Errors
    /// [`BadSignature`] in the astronomically rare case that no signature exists for the digest.
    pub fn sign(&self, digest: &Digest) -> Result<Signature, BadSignature> {
        let (signature, recovery) =
            self.0.sign_prehash_recoverable(&digest.0).map_err(|_| BadSignature)?;
        let mut out = [0u8; 65];
        if let Some((rs, v)) = out.split_first_chunk_mut::<64>() {
            *rs = signature.to_bytes().into();
            v.fill(recovery.to_byte().saturating_add(27));
        }
        Ok(Signature(out))
    }
}

fn address_of(key: &VerifyingKey) -> EvmAddress {
    let point = key.to_encoded_point(false);
    let coordinates = point.as_bytes().get(1..).unwrap_or_default();
    let digest = keccak(&[coordinates]);
    digest.0.last_chunk::<20>().map_or(EvmAddress::ZERO, |tail| EvmAddress(*tail))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_address_of_the_well_known_first_key() {
        let mut secret = [0u8; 32];
        secret[31] = 1;
        let expected = "0x7e5f4552091a69125d5dfcb7b8c2659029395bdf";
        assert_eq!(EvmKey::from_bytes(&secret).unwrap().address(), expected.parse().unwrap());
        assert!(EvmKey::from_bytes(&[0; 32]).is_none());
    }

    proptest! {
        #[test]
        fn a_signature_recovers_its_signer_and_nobody_elses(secret in 1u64.., digest: [u8; 32]) {
            let mut bytes = [7u8; 32];
            bytes[24..].copy_from_slice(&secret.to_be_bytes());
            let key = EvmKey::from_bytes(&bytes).unwrap();
            let signature = key.sign(&Digest(digest)).unwrap();
            prop_assert_eq!(signature.recover(&Digest(digest)), Ok(key.address()));
            let mut other = digest;
            other[0] ^= 1;
            prop_assert_ne!(signature.recover(&Digest(other)), Ok(key.address()));
        }

        #[test]
        fn hostile_signatures_never_panic(bytes: [u8; 32], v: u8) {
            let mut raw = [0u8; 65];
            raw[..32].copy_from_slice(&bytes);
            raw[32..64].copy_from_slice(&bytes);
            raw[64] = v;
            let _ = Signature(raw).recover(&Digest(bytes));
        }
    }
}
