// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {ERC20Votes} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Votes.sol";
import {Nonces} from "@openzeppelin/contracts/utils/Nonces.sol";

/// @title OPEN, the token of openledger
/// @notice 1,000,000,000 OPEN are minted once, to the genesis list. There is no mint function.
contract Open is ERC20, ERC20Permit, ERC20Votes {
    /// @notice Everything there will ever be.
    uint256 public constant SUPPLY = 1_000_000_000e18;

    /// @notice The genesis lists differ in length.
    error GenesisLengths(uint256 holders, uint256 amounts);
    /// @notice The genesis amounts do not add up to the supply.
    error GenesisSum(uint256 found);

    constructor(
        address[] memory holders,
        uint256[] memory amounts
    ) ERC20("openledger", "OPEN") ERC20Permit("openledger") {
        if (holders.length != amounts.length) revert GenesisLengths(holders.length, amounts.length);
        for (uint256 i = 0; i < holders.length; ++i) {
            _mint(holders[i], amounts[i]);
        }
        if (totalSupply() != SUPPLY) revert GenesisSum(totalSupply());
    }

    /// @inheritdoc ERC20Permit
    function nonces(address owner) public view override(ERC20Permit, Nonces) returns (uint256) {
        return super.nonces(owner);
    }

    function _update(
        address from,
        address to,
        uint256 value
    ) internal override(ERC20, ERC20Votes) {
        super._update(from, to, value);
    }
}
