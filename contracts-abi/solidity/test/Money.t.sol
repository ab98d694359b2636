// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IDatanetRegistry} from "../src/interfaces/IDatanetRegistry.sol";
import {IRegistry} from "../src/interfaces/IRegistry.sol";
import {IRewardVault} from "../src/interfaces/IRewardVault.sol";
import {IUsageEscrow} from "../src/interfaces/IUsageEscrow.sol";
import {TypedData} from "../src/libraries/TypedData.sol";
import {Receipt, Settlement} from "../src/Types.sol";

/// What of forge's cheat codes is used here.
interface Vm {
    function addr(uint256 key) external pure returns (address);
    function envAddress(string calldata name) external view returns (address);
    function prank(address sender) external;
    function roll(uint256 number) external;
    function sign(uint256 key, bytes32 digest) external pure returns (uint8, bytes32, bytes32);
}

uint256 constant PEOPLE = 4;
uint128 constant EACH = 1_000_000 ether;
Vm constant VM = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

/// @title What anybody may do with money, at random
contract People {
    /// What was offered to the Datanet whose owner reviews it.
    struct Waiting {
        uint64 number;
        uint64 account;
        uint64 length;
        address payer;
        /// Zero once it is admitted or withdrawn.
        uint256 deposit;
    }

    IERC20 public immutable OPEN;
    IRegistry public immutable REGISTRY;
    IDatanetRegistry public immutable DATANETS;
    IUsageEscrow public immutable ESCROW;
    IRewardVault public immutable VAULT;

    /// The accounts that people have, and the most that each of them promised to each.
    uint64[] public accounts;
    mapping(address payer => mapping(uint64 payee => uint256)) public promised;

    /// One of them lets everything be tried.
    uint256 private _nonce;

    /// What was contributed, and what waits for the owner of its Datanet.
    uint64[] public contributions;
    Waiting[] public waiting;

    /// A Datanet of the first person that takes everything, and one of which that person has the say.
    uint64 private immutable _PUBLIC;
    uint64 private immutable _REVIEWED;

    constructor(
        IERC20 open,
        IRegistry registry,
        IDatanetRegistry datanets,
        IUsageEscrow escrow,
        IRewardVault vault
    ) {
        (OPEN, REGISTRY, DATANETS) = (open, registry, datanets);
        (ESCROW, VAULT) = (escrow, vault);
        for (uint256 i = 0; i < PEOPLE; ++i) {
            address person = VM.addr(i + 1);
            accounts.push(registry.register(person, person, person, bytes32(i + 1), new bytes(64)));
            address[4] memory spenders =
                [address(registry), address(datanets), address(escrow), address(vault)];
            for (uint256 to = 0; to < spenders.length; ++to) {
                VM.prank(person);
                open.approve(spenders[to], type(uint256).max);
            }
        }
        VM.prank(VM.addr(1));
        _PUBLIC = datanets.createDatanet("public", "", 0, IDatanetRegistry.Policy.Open, accounts[0]);
        VM.prank(VM.addr(1));
        _REVIEWED =
            datanets.createDatanet("reviewed", "", 0, IDatanetRegistry.Policy.Reviewed, accounts[0]);
    }

    function wait(uint8 blocks) external {
        VM.roll(block.number + blocks);
    }

    function stake(uint256 by, uint256 on, uint128 amount) external {
        address person = _person(by);
        amount = _some(amount, OPEN.balanceOf(person));
        if (amount == 0) return;
        VM.prank(person);
        REGISTRY.stakeFor(_account(on), amount);
    }

    function requestUnstake(uint256 by, uint256 from, uint128 amount) external {
        VM.prank(_person(by));
        try REGISTRY.requestUnstake(_account(from), amount) {} catch {}
    }

    function withdrawStake(uint256 by, uint256 from) external {
        VM.prank(_person(by));
        try REGISTRY.withdraw(_account(from)) {} catch {}
    }

    function deposit(uint256 by, uint256 to, uint128 amount) external {
        address person = _person(by);
        amount = _some(amount, OPEN.balanceOf(person));
        if (amount == 0) return;
        VM.prank(person);
        ESCROW.deposit(_account(to), amount);
    }

    function requestWithdrawal(uint256 by, uint256 to) external {
        VM.prank(_person(by));
        try ESCROW.requestWithdrawal(_account(to)) {} catch {}
    }

    function withdraw(uint256 by, uint256 to) external {
        VM.prank(_person(by));
        try ESCROW.withdraw(_account(to)) {} catch {}
    }

    /// A receipt that its payer signed, redeemed by anybody; or one that somebody else did.
    function redeem(uint256 by, uint256 to, uint256 signer, uint128 more, bool isOld) external {
        (address payer, uint64 payee) = (_person(by), _account(to));
        uint256 before = promised[payer][payee];
        Receipt memory receipt;
        receipt.payer = payer;
        receipt.payee = payee;
        receipt.cumulative = isOld ? before : before + more % 1000 ether;
        receipt.nonce = uint64(++_nonce);
        bool isOwn = signer % 4 > 0;
        uint256 key = (isOwn ? by : by % PEOPLE + 1) % PEOPLE + 1;
        bytes memory signature = _sign(key, this.digest(receipt));
        if (isOwn) promised[payer][payee] = receipt.cumulative;
        try ESCROW.redeem(receipt, signature) {
            require(isOwn, "a receipt counts that its payer did not sign");
        } catch {}
    }

    function contribute(uint256 by, uint64 length, bool isReviewed) external {
        (address person, uint64 account) = (_person(by), _account(by));
        length = 1 + length % 65_536;
        (bytes32[] memory packs, uint64[] memory lengths) = _pack(length);
        uint256 before = OPEN.balanceOf(person);
        VM.prank(person);
        try
            DATANETS.contribute(isReviewed ? _REVIEWED : _PUBLIC, account, 0, packs, lengths, 1)
        returns (uint64 number) {
            uint256 deposit = before - OPEN.balanceOf(person);
            require(deposit >= length * DATANETS.DEPOSIT_PER_BYTE(), "bytes without a deposit");
            if (isReviewed) waiting.push(Waiting(number, account, length, person, deposit));
            else contributions.push(number);
        } catch {}
    }

    /// By the Datanet's owner or somebody else.
    function admit(uint256 by, uint256 which) external {
        if (waiting.length == 0) return;
        Waiting storage offer = waiting[which % waiting.length];
        (bytes32[] memory packs, uint64[] memory lengths) = _pack(offer.length);
        VM.prank(_person(by));
        try
            DATANETS.admit(offer.number, _REVIEWED, offer.account, 0, packs, lengths, 1)
        returns (uint64 number) {
            require(_person(by) == VM.addr(1), "a stranger admits");
            require(offer.deposit > 0, "it is admitted without its deposit");
            offer.deposit = 0;
            contributions.push(number);
        } catch {}
    }

    function withdrawSubmission(uint256 by, uint256 which) external {
        if (waiting.length == 0) return;
        Waiting storage offer = waiting[which % waiting.length];
        uint256 before = OPEN.balanceOf(offer.payer);
        VM.prank(_person(by));
        try DATANETS.withdrawSubmission(offer.number) {
            require(_person(by) == offer.payer, "a stranger withdraws");
            require(OPEN.balanceOf(offer.payer) == before + offer.deposit && offer.deposit > 0);
            offer.deposit = 0;
        } catch {}
    }

    function takeBack(uint256 by, uint256 which) external {
        if (contributions.length == 0) return;
        uint64 contribution = contributions[which % contributions.length];
        (address payer, uint256 amount, uint64 until) = DATANETS.depositOf(contribution);
        uint256 before = OPEN.balanceOf(payer);
        VM.prank(_person(by));
        try DATANETS.takeBack(contribution) {
            require(block.number >= until && amount > 0, "a deposit comes back early or twice");
            require(OPEN.balanceOf(payer) == before + amount, "it is not its payer who has it");
        } catch {}
    }

    function fund(uint256 by, uint128 amount) external {
        address person = _person(by);
        amount = _some(amount, OPEN.balanceOf(person));
        VM.prank(person);
        VAULT.fund(amount);
    }

    /// What takes a role, by somebody who has none.
    function overstep(uint256 by, uint256 on, uint128 amount, uint8 which) external {
        (address person, uint64 account) = (_person(by), _account(on));
        Settlement memory settlement;
        settlement.total = amount;
        bytes[8] memory calls = [
            abi.encodeCall(IRegistry.lock, (account, amount, person)),
            abi.encodeCall(IRegistry.unlock, (account, amount)),
            abi.encodeCall(IRegistry.seize, (account, amount, person)),
            abi.encodeCall(IRegistry.slash, (account, amount, true, person)),
            abi.encodeCall(IRewardVault.addFees, (0, amount)),
            abi.encodeCall(IRewardVault.makeFinal, (settlement)),
            abi.encodeCall(IRewardVault.setBudget, (amount)),
            abi.encodeCall(IRewardVault.setSettlements, (person))
        ];
        which %= 8;
        VM.prank(person);
        (bool isDone, ) = (which < 4 ? address(REGISTRY) : address(VAULT)).call(calls[which]);
        require(!isDone, "a stranger has a role");
    }

    /// What is locked for data of theirs.
    function lockedForData() external view returns (uint256 locked) {
        for (uint256 i = 0; i < waiting.length; ++i) locked += waiting[i].deposit;
        for (uint256 i = 0; i < contributions.length; ++i) {
            (, uint256 amount, ) = DATANETS.depositOf(contributions[i]);
            locked += amount;
        }
    }

    function digest(Receipt calldata receipt) external view returns (bytes32) {
        return TypedData.digest(receipt, TypedData.separator(address(ESCROW)));
    }

    function _sign(uint256 key, bytes32 hash) private pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = VM.sign(key, hash);
        return abi.encodePacked(r, s, v);
    }

    function _pack(
        uint64 length
    ) private pure returns (bytes32[] memory packs, uint64[] memory lengths) {
        (packs, lengths) = (new bytes32[](1), new uint64[](1));
        lengths[0] = length;
    }

    function _person(uint256 which) private pure returns (address) {
        return VM.addr(which % PEOPLE + 1);
    }

    function _account(uint256 which) private view returns (uint64) {
        return accounts[which % PEOPLE];
    }

    function _some(uint128 amount, uint256 most) private pure returns (uint128) {
        return uint128(amount % (most + 1));
    }
}

/// @title What is true of money whatever people do with it
contract MoneyTest {
    IERC20 private _open;
    IRegistry private _registry;
    IDatanetRegistry private _datanets;
    IUsageEscrow private _escrow;
    IRewardVault private _vault;
    People private _people;
    uint256 private _supply;
    uint256 private _stakedByOthers;
    uint256 private _depositedByOthers;
    uint256 private _lockedByOthers;

    function setUp() external {
        _open = IERC20(VM.envAddress("OPEN"));
        _registry = IRegistry(VM.envAddress("REGISTRY"));
        _datanets = IDatanetRegistry(VM.envAddress("DATANETS"));
        _escrow = IUsageEscrow(VM.envAddress("ESCROW"));
        _vault = IRewardVault(VM.envAddress("VAULT"));
        _people = new People(_open, _registry, _datanets, _escrow, _vault);
        // The treasury has what the start left of the supply.
        address treasury = _registry.ownerOf(1);
        for (uint256 i = 1; i <= PEOPLE; ++i) {
            address person = VM.addr(i);
            VM.prank(treasury);
            require(_open.transfer(person, EACH));
        }
        _supply = _open.totalSupply();
        _stakedByOthers = _open.balanceOf(address(_registry));
        _depositedByOthers = _open.balanceOf(address(_escrow));
        _lockedByOthers = _open.balanceOf(address(_datanets));
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(_people);
    }

    function invariant_theRegistryHoldsEveryStake() external view {
        uint256 staked = _stakedByOthers;
        for (uint256 i = 0; i < PEOPLE; ++i) {
            (uint128 stake, uint128 locked, uint128 leaving, ) = _registry.stakeOf(_people.accounts(i));
            require(uint256(locked) + leaving <= stake, "more is locked or leaves than is at stake");
            staked += stake;
        }
        require(_open.balanceOf(address(_registry)) == staked, "stakes are not those that it holds");
    }

    function invariant_theEscrowHoldsEveryDepositAndPaysWhatWasSigned() external view {
        uint256 deposited = _depositedByOthers;
        for (uint256 i = 0; i < PEOPLE; ++i) {
            for (uint256 j = 0; j < PEOPLE; ++j) {
                (address payer, uint64 payee) = (VM.addr(i + 1), _people.accounts(j));
                (uint128 balance, uint128 redeemed, ) = _escrow.deposits(payer, payee);
                deposited += balance;
                require(redeemed <= _people.promised(payer, payee), "more is redeemed than signed");
            }
        }
        require(_open.balanceOf(address(_escrow)) == deposited, "deposits are not those that it holds");
    }

    function invariant_whatIsLockedForDataIsThere() external view {
        uint256 locked = _lockedByOthers + _people.lockedForData();
        require(_open.balanceOf(address(_datanets)) == locked, "deposits for data are not those held");
    }

    function invariant_theVaultHoldsWhatItReceivedAndDidNotPay() external view {
        require(_vault.held() + _vault.paid() == _vault.received());
        require(_open.balanceOf(address(_vault)) == _vault.held());
    }

    function invariant_nothingIsMadeOrLost() external view {
        require(_open.totalSupply() == _supply);
    }
}
