// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {AccessControl} from "@openzeppelin/contracts/access/AccessControl.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IDatanetRegistry} from "./interfaces/IDatanetRegistry.sol";
import {IRegistry} from "./interfaces/IRegistry.sol";
import {DatanetUse} from "./Types.sol";

/// @title Datanets and what is admitted to them
/// @dev Contents live off chain: the chain keeps order, owners and counters, events the rest.
contract DatanetRegistry is IDatanetRegistry, AccessControl {
    using SafeERC20 for IERC20;

    struct Datanet {
        uint64 owner;
        uint32 licence;
        Policy policy;
        uint64 shards;
        uint64 outputs;
    }

    /// Locked for bytes that others have to store.
    struct Deposit {
        address payer;
        /// The first block in which it may be taken back; zero for a submission, at any time.
        uint48 until;
        /// Of its packs together, none of them counted as shorter than LEAST_PACK.
        uint48 length;
    }

    /// @notice May count uses: Settlements.
    bytes32 public constant COUNTER_ROLE = keccak256("COUNTER_ROLE");
    /// @notice Most packs of one contribution.
    uint256 public constant MAX_PACKS = 256;
    /// @inheritdoc IDatanetRegistry
    uint64 public constant LEAST_PACK = 4096;
    /// @notice Longest name or domain, in bytes.
    uint256 public constant MAX_NAME = 128;
    /// @notice Who controls an account.
    IRegistry public immutable REGISTRY;
    /// @notice Stake that contributors to a Datanet of policy Staked must have.
    uint128 public immutable MIN_STAKE;

    /// @notice Longest pack, in bytes: nobody may claim to have what no node could hold or prove.
    uint64 public immutable MAX_PACK;

    /// @inheritdoc IDatanetRegistry
    IERC20 public immutable OPEN;
    /// @inheritdoc IDatanetRegistry
    uint128 public immutable DEPOSIT_PER_BYTE;
    /// @inheritdoc IDatanetRegistry
    uint64 public immutable DEPOSIT_BLOCKS;

    /// @inheritdoc IDatanetRegistry
    uint64 public datanets;
    /// @notice The number of admitted contributions, over all Datanets.
    uint64 public contributions;
    /// @notice The number of submissions to reviewed Datanets.
    uint64 public submissions;
    mapping(uint64 id => Datanet) private _datanets;
    mapping(uint64 submission => bytes32) private _submitted;
    mapping(uint64 submission => Deposit) private _ofSubmission;
    mapping(uint64 contribution => Deposit) private _deposits;

    constructor(
        IERC20 open,
        IRegistry registry,
        uint128 minStake,
        uint64 maxPack,
        uint128 depositPerByte,
        uint64 depositBlocks,
        address admin,
        address counter
    ) {
        // Neither a sum of packs nor a block is beyond what a deposit notes.
        if (maxPack >= 1 << 40) revert BadPack(maxPack, (1 << 40) - 1);
        if (depositBlocks >= 1 << 40) revert BadDeposit(depositBlocks, (1 << 40) - 1);
        (OPEN, DEPOSIT_PER_BYTE, DEPOSIT_BLOCKS) = (open, depositPerByte, depositBlocks);
        REGISTRY = registry;
        MIN_STAKE = minStake;
        MAX_PACK = maxPack;
        _grantRole(DEFAULT_ADMIN_ROLE, admin);
        _grantRole(COUNTER_ROLE, counter);
    }

    /// @inheritdoc IDatanetRegistry
    function createDatanet(
        string calldata name,
        string calldata domain,
        uint32 licence,
        Policy policy,
        uint64 owner
    ) external returns (uint64 id) {
        _requireController(owner);
        if (bytes(name).length == 0 || bytes(name).length > MAX_NAME) {
            revert BadName(bytes(name).length);
        }
        if (bytes(domain).length > MAX_NAME) revert BadName(bytes(domain).length);
        id = ++datanets;
        Datanet storage d = _datanets[id];
        (d.owner, d.licence, d.policy) = (owner, licence, policy);
        emit DatanetCreated(id, owner, name, domain, licence, policy);
    }

    /// @inheritdoc IDatanetRegistry
    function contribute(
        uint64 id,
        uint64 account,
        bytes32 manifest,
        bytes32[] calldata packs,
        uint64[] calldata lengths,
        uint32 units
    ) external returns (uint64 number) {
        Policy policy = _existing(id).policy;
        _requireController(account);
        Deposit memory deposit = Deposit(msg.sender, 0, _checkPacks(packs, lengths, units));
        if (policy == Policy.Staked) {
            (uint128 stake, , uint128 leaving, ) = REGISTRY.stakeOf(account);
            if (stake - leaving < MIN_STAKE) revert StakeTooLow(stake - leaving, MIN_STAKE);
        }
        if (policy == Policy.Reviewed) {
            number = ++submissions;
            _submitted[number] =
                keccak256(abi.encode(id, account, manifest, packs, lengths, units));
            _ofSubmission[number] = deposit;
            emit ContributionSubmitted(number, id, account, manifest);
        } else {
            number = ++contributions;
            _lock(number, deposit);
            emit ContributionAdmitted(number, id, account, manifest, packs, lengths, units);
        }
        OPEN.safeTransferFrom(msg.sender, address(this), _amountOf(deposit));
    }

    /// @inheritdoc IDatanetRegistry
    function admit(
        uint64 submission,
        uint64 id,
        uint64 account,
        bytes32 manifest,
        bytes32[] calldata packs,
        uint64[] calldata lengths,
        uint32 units
    ) external returns (uint64 contribution) {
        _requireController(_existing(id).owner);
        bytes32 offered = keccak256(abi.encode(id, account, manifest, packs, lengths, units));
        if (_submitted[submission] != offered) revert NotSubmitted(submission);
        delete _submitted[submission];
        contribution = ++contributions;
        _lock(contribution, _ofSubmission[submission]);
        delete _ofSubmission[submission];
        emit ContributionAdmitted(contribution, id, account, manifest, packs, lengths, units);
    }

    /// @inheritdoc IDatanetRegistry
    function takeBack(uint64 contribution) external {
        Deposit memory deposit = _deposits[contribution];
        if (deposit.payer == address(0)) revert NoDeposit(contribution);
        if (block.number < deposit.until) revert DepositLocked(contribution, deposit.until);
        delete _deposits[contribution];
        _pay(deposit);
    }

    /// @inheritdoc IDatanetRegistry
    function withdrawSubmission(uint64 submission) external {
        Deposit memory deposit = _ofSubmission[submission];
        if (deposit.payer != msg.sender) revert NoDeposit(submission);
        delete _submitted[submission];
        delete _ofSubmission[submission];
        _pay(deposit);
    }

    /// @inheritdoc IDatanetRegistry
    function publishSnapshot(uint64 id, bytes32 root, uint64 units) external {
        _requireController(_existing(id).owner);
        emit SnapshotPublished(id, root, units);
    }

    /// @inheritdoc IDatanetRegistry
    function addUses(DatanetUse[] calldata uses) external onlyRole(COUNTER_ROLE) {
        for (uint256 i = 0; i < uses.length; ++i) {
            Datanet storage d = _datanets[uses[i].datanet];
            // A settlement that names no Datanet is wrong, yet must not be stuck for it.
            if (d.owner == 0) continue;
            d.shards += uses[i].shards;
            d.outputs += uses[i].outputs;
            emit DatanetUsed(uses[i].datanet, d.shards, d.outputs);
        }
    }

    /// @inheritdoc IDatanetRegistry
    function depositOf(
        uint64 contribution
    ) external view returns (address payer, uint256 amount, uint64 until) {
        Deposit memory deposit = _deposits[contribution];
        return (deposit.payer, _amountOf(deposit), deposit.until);
    }

    /// @inheritdoc IDatanetRegistry
    function datanet(
        uint64 id
    )
        external
        view
        returns (uint64 owner, uint32 licence, Policy policy, uint64 shards, uint64 outputs)
    {
        Datanet storage d = _datanets[id];
        return (d.owner, d.licence, d.policy, d.shards, d.outputs);
    }

    function _lock(uint64 contribution, Deposit memory deposit) private {
        deposit.until = uint48(block.number + DEPOSIT_BLOCKS);
        _deposits[contribution] = deposit;
        emit DepositTaken(contribution, deposit.payer, _amountOf(deposit), deposit.until);
    }

    function _pay(Deposit memory deposit) private {
        emit DepositReturned(deposit.payer, _amountOf(deposit));
        OPEN.safeTransfer(deposit.payer, _amountOf(deposit));
    }

    function _amountOf(Deposit memory deposit) private view returns (uint256) {
        return uint256(deposit.length) * DEPOSIT_PER_BYTE;
    }

    function _existing(uint64 id) private view returns (Datanet storage d) {
        d = _datanets[id];
        if (d.owner == 0) revert UnknownDatanet(id);
    }

    function _requireController(uint64 account) private view {
        if (!REGISTRY.controls(account, msg.sender)) revert NotController(account, msg.sender);
    }

    function _checkPacks(
        bytes32[] calldata packs,
        uint64[] calldata lengths,
        uint32 units
    ) private view returns (uint48 counted) {
        if (packs.length == 0 || packs.length > MAX_PACKS || packs.length != lengths.length) {
            revert BadPacks(packs.length, lengths.length);
        }
        uint256 bytesOfAll = 0;
        for (uint256 i = 0; i < lengths.length; ++i) {
            if (lengths[i] == 0 || lengths[i] > MAX_PACK) revert BadPack(lengths[i], MAX_PACK);
            bytesOfAll += lengths[i];
            counted += uint48(lengths[i] < LEAST_PACK ? LEAST_PACK : lengths[i]);
        }
        // A unit has at least a byte.
        if (units == 0 || units > bytesOfAll) revert BadUnits(units, bytesOfAll);
    }
}
