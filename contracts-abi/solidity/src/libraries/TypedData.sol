// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Receipt, Record} from "../Types.sol";

/// @title EIP-712 digests of records and receipts
/// @notice Their domains have the name "openledger" and the version "1". A record is for the Coordinator, a
/// receipt for the UsageEscrow that pays it: of two escrows each pays its own receipts and no others.
library TypedData {
    bytes32 private constant DOMAIN_TYPE = keccak256(
        "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    );
    bytes32 internal constant RECORD_TYPE = keccak256(
        "Record(uint8 kind,uint64 epoch,uint64 account,bytes32 subject,bytes32 body)"
    );
    bytes32 private constant RECEIPT_TYPE = keccak256(
        "Receipt(address payer,uint64 payee,uint64 model,uint256 cumulative,uint256 price,uint64 nonce,bytes32 request)"
    );
    bytes32 private constant NAME = keccak256("openledger");
    bytes32 private constant VERSION = keccak256("1");

    /// @notice The domain separator on this chain.
    function separator(address verifier) internal view returns (bytes32) {
        return keccak256(abi.encode(DOMAIN_TYPE, NAME, VERSION, block.chainid, verifier));
    }

    /// @notice The digest that an operator signs: the record's id.
    function digest(Record calldata r, bytes32 domain) internal pure returns (bytes32) {
        return _digest(
            domain,
            keccak256(abi.encode(RECORD_TYPE, r.kind, r.epoch, r.account, r.subject, r.body))
        );
    }

    /// @notice The digest that a consumer signs.
    function digest(Receipt calldata r, bytes32 domain) internal pure returns (bytes32) {
        return _digest(
            domain,
            keccak256(
                abi.encode(
                    RECEIPT_TYPE,
                    r.payer,
                    r.payee,
                    r.model,
                    r.cumulative,
                    r.price,
                    r.nonce,
                    r.request
                )
            )
        );
    }

    function _digest(bytes32 domain, bytes32 structHash) private pure returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", domain, structHash));
    }
}
