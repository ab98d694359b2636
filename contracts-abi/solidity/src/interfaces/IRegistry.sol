// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title Accounts, their keys and their stake
/// @notice Payouts name an account, which is permanent; its keys and its payout address may change.
interface IRegistry {
    /// @notice An account exists. `binding` is the node's ed25519 signature; peers check it.
    event AccountRegistered(
        uint64 indexed account,
        address owner,
        address operator,
        address payout,
        bytes32 nodeId,
        bytes binding
    );
    /// @notice The hot key that signs records changed; zero where it lost all that its owner allowed it.
    event OperatorRotated(uint64 indexed account, address operator);
    /// @notice The address to which claims pay changed.
    event PayoutChanged(uint64 indexed account, address payout);
    /// @notice The account runs another node.
    event NodeBound(uint64 indexed account, bytes32 nodeId, bytes binding);
    /// @notice The owner limited what the hot key may lock or lose of the stake.
    event AllowanceChanged(uint64 indexed account, uint128 perPeriod, uint128 inAll);
    /// @notice The stake changed; `stake` includes what is locked or waits for withdrawal.
    event StakeChanged(uint64 indexed account, uint256 stake);
    /// @notice The owner asked for stake back, to be had from `unlockBlock` on.
    event UnstakeRequested(uint64 indexed account, uint128 amount, uint64 unlockBlock);
    /// @notice Stake was taken for a fault or a lost bond.
    event Slashed(uint64 indexed account, uint128 amount, address indexed to);

    /// @notice No such account.
    error UnknownAccount(uint64 account);
    /// @notice Only the account's owner may do this.
    error NotOwner(uint64 account, address caller);
    /// @notice An owner, operator or payout address is zero.
    error ZeroAddress();
    /// @notice A binding signature has 64 bytes.
    error BindingLength(uint256 found);
    /// @notice The account's operator was named in this block.
    error RotatedInBlock(uint64 account);
    /// @notice The free stake does not cover the amount.
    error InsufficientStake(uint64 account, uint256 free, uint256 wanted);
    /// @notice The hot key may not lock so much; the owner may, or may allow it.
    error BeyondAllowance(uint64 account, uint128 wanted);
    /// @notice An owner allows a hot key no less than this, in a period and in all.
    error AllowanceTooLow(uint128 least);
    /// @notice Nothing waits for withdrawal, or not yet.
    error NotWithdrawable(uint64 account, uint64 unlockBlock);
    /// @notice An amount is zero.
    error ZeroAmount();

    /// @notice Creates an account, for oneself or for another.
    function register(
        address owner,
        address operator,
        address payout,
        bytes32 nodeId,
        bytes calldata binding
    ) external returns (uint64 account);

    /// @notice Replaces the hot key, which is allowed what the one before was, counted anew; records signed by
    /// the old one stay valid for this epoch.
    function rotateOperator(uint64 account, address operator) external;

    /// @notice Changes where claims pay.
    function setPayout(uint64 account, address payout) external;

    /// @notice Binds another node to the account.
    function bindNode(uint64 account, bytes32 nodeId, bytes calldata binding) external;

    /// @notice Limits what the hot key may lock or lose in a period and in all, counted anew from now.
    function setAllowance(uint64 account, uint128 perPeriod, uint128 inAll) external;

    /// @notice Gives stake to any account. It belongs to the account from then on.
    function stakeFor(uint64 account, uint128 amount) external;

    /// @notice Starts the withdrawal of free stake, which stays slashable until it is withdrawn.
    function requestUnstake(uint64 account, uint128 amount) external;

    /// @notice Ends a withdrawal whose delay is over; pays the owner.
    function withdraw(uint64 account) external;

    /// @notice Locks free stake as a bond on behalf of `by`: of its owner without limit, of anybody else
    /// within the hot key's allowance.
    function lock(uint64 account, uint128 amount, address by) external;

    /// @notice Releases a bond.
    function unlock(uint64 account, uint128 amount) external;

    /// @notice Pays a lost bond to `to`.
    function seize(uint64 account, uint128 amount, address to) external;

    /// @notice Takes up to `amount` of the stake that is not locked, and pays it to `to`. For what the hot
    /// key did no more than it may lose is taken; it is the operator no longer where that was less.
    function slash(
        uint64 account,
        uint128 amount,
        bool byOwner,
        address to
    ) external returns (uint128 taken);

    /// @notice The number of accounts; their ids are 1 to this.
    function accounts() external view returns (uint64);

    /// @notice The cold key.
    function ownerOf(uint64 account) external view returns (address);

    /// @notice The hot key.
    function operatorOf(uint64 account) external view returns (address);

    /// @notice The hot key at the end of a block; zero before the account existed.
    function operatorAt(uint64 account, uint64 blockNumber) external view returns (address);

    /// @notice Where claims pay.
    function payoutOf(uint64 account) external view returns (address);

    /// @notice The node that serves for an account; zero where it has none.
    function nodeOf(uint64 account) external view returns (bytes32);

    /// @notice All stake, what of it is locked, what waits for withdrawal, and until when.
    function stakeOf(
        uint64 account
    )
        external
        view
        returns (uint128 stake, uint128 locked, uint128 leaving, uint64 unlockBlock);

    /// @notice What the hot key may lock or lose in a period and in all, and what of that it has.
    function allowanceOf(
        uint64 account
    ) external view returns (uint128 perPeriod, uint128 inAll, uint128 used);

    /// @notice Whether `who` is the account's owner or operator.
    function controls(uint64 account, address who) external view returns (bool);
}
