//! What a consumer signs for each use of a model: cumulative, so that one redemption pays many.

use alloc::vec::Vec;

use crate::{
    codec::{DecodeError, Reader, Wire},
    eip712::{BadSignature, Domain, EvmKey, Signature, address_word, word},
    hash::keccak,
    ids::{AccountId, Amount, Digest, EvmAddress, ModelId},
};

/// A cumulative receipt from a consumer to a serving account (EIP-712 type `Receipt`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The UsageEscrow that pays it, and no other one does.
    pub escrow: EvmAddress,
    /// The consumer, whose deposit there pays.
    pub payer: EvmAddress,
    /// The account that served.
    pub payee: AccountId,
    /// The model that was used.
    pub model: ModelId,
    /// Everything this payer has ever promised this payee there, this use included.
    pub cumulative: Amount,
    /// What this use costs: the receipt is for `(cumulative - price, cumulative]` and nothing before.
    pub price: Amount,
    /// Number of uses between the two so far, from 1.
    pub nonce: u64,
    /// Hash of the request that this use answers.
    pub request: Digest,
}

impl Receipt {
    /// What is promised for this use: all that lies above the first amount, up to the second.
    pub const fn range(&self) -> (Amount, Amount) {
        (self.cumulative.saturating_sub(self.price), self.cumulative)
    }

    /// The EIP-712 digest that the payer signs, for the escrow on the chain of `domain`.
    pub fn digest(&self, domain: &Domain) -> Digest {
        let type_hash = keccak(&[
            b"Receipt(address payer,uint64 payee,uint64 model,uint256 cumulative,uint256 price,",
            b"uint64 nonce,bytes32 request)",
        ]);
        Domain::new(domain.chain_id(), self.escrow).digest(&keccak(&[
            &type_hash.0,
            &address_word(&self.payer),
            &word(u128::from(self.payee.0)),
            &word(u128::from(self.model.0)),
            &word(self.cumulative.0),
            &word(self.price.0),
            &word(u128::from(self.nonce)),
            &self.request.0,
        ]))
    }

    /// Signs as the payer.
    ///
    /// # Errors
    /// [`BadSignature`] when the key is not the payer's.
    pub fn sign(self, domain: &Domain, key: &EvmKey) -> Result<SignedReceipt, BadSignature> {
        if key.address() != self.payer {
            return Err(BadSignature);
        }
        let signature = key.sign(&self.digest(domain))?;
        Ok(SignedReceipt { receipt: self, signature })
    }
}

/// A receipt with its payer's signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedReceipt {
    /// What is promised.
    pub receipt: Receipt,
    /// By the payer, over [`Receipt::digest`].
    pub signature: Signature,
}

impl SignedReceipt {
    /// Checks that the payer signed.
    ///
    /// # Errors
    /// [`BadSignature`] when another key did, or none.
    pub fn verify(&self, domain: &Domain) -> Result<(), BadSignature> {
        let signer = self.signature.recover(&self.receipt.digest(domain))?;
        if signer == self.receipt.payer { Ok(()) } else { Err(BadSignature) }
    }
}

impl Wire for SignedReceipt {
    fn encode(&self, out: &mut Vec<u8>) {
        let r = &self.receipt;
        r.escrow.encode(out);
        r.payer.encode(out);
        r.payee.encode(out);
        r.model.encode(out);
        r.cumulative.encode(out);
        r.price.encode(out);
        r.nonce.encode(out);
        r.request.encode(out);
        self.signature.encode(out);
    }
    fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let receipt = Receipt {
            escrow: Wire::decode(input)?,
            payer: Wire::decode(input)?,
            payee: Wire::decode(input)?,
            model: Wire::decode(input)?,
            cumulative: Wire::decode(input)?,
            price: Wire::decode(input)?,
            nonce: Wire::decode(input)?,
            request: Wire::decode(input)?,
        };
        Ok(Self { receipt, signature: Wire::decode(input)? })
    }
}
