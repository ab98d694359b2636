"""A wallet and an application written with web3.py."""

import json
import os
import signal
import time
from pathlib import Path

from eth_account.messages import encode_defunct, encode_typed_data
from web3 import HTTPProvider, Web3
from web3.exceptions import ContractCustomError, TransactionNotFound, Web3RPCError
from web3.logs import DISCARD

signal.alarm(60)
NETWORK = json.loads(os.environ["OPENLEDGER_NETWORK"])
ARTIFACTS = Path(__file__).parents[2] / "artifacts"
PAYEE = 1
DEADLINE = 2**62

w3 = Web3(HTTPProvider(NETWORK["rpc"]))
account = w3.eth.account.from_key(NETWORK["keys"][3])
to = Web3.to_checksum_address("0x" + "77" * 20)


def contract(key, name):
    abi = json.loads((ARTIFACTS / f"{name}.json").read_text())["abi"]
    return w3.eth.contract(address=Web3.to_checksum_address(NETWORK["contracts"][key]), abi=abi)


token = contract("open", "Open")
escrow = contract("escrow", "UsageEscrow")


def send(tx):
    raw = account.sign_transaction(tx).raw_transaction
    return w3.eth.wait_for_transaction_receipt(w3.eth.send_raw_transaction(raw), poll_latency=0.05)


def call(function, **fields):
    nonce = w3.eth.get_transaction_count(account.address)
    return send(function.build_transaction({"from": account.address, "nonce": nonce, **fields}))


def refused(words, action):
    try:
        action()
    except Web3RPCError as error:
        assert words in str(error), error
    else:
        raise AssertionError(f"not refused: {words}")


def reads_the_token():
    names = token.functions.name().call(), token.functions.symbol().call()
    assert names == ("openledger", "OPEN"), names
    assert token.functions.balanceOf(account.address).call() == Web3.to_wei(1000, "ether")
    assert w3.is_connected() and w3.eth.chain_id == 31337 and not w3.eth.syncing


def sends_each_type():
    access = [{"address": token.address, "storageKeys": ["0x" + "00" * 32]}]
    price = w3.eth.gas_price
    for kind, fields in [(0, {"gasPrice": price}), (2, {}), (1, {"accessList": access, "gasPrice": price})]:
        receipt = call(token.functions.transfer(to, 5), **fields)
        assert (receipt.status, receipt.type) == (1, kind), receipt
    # By the node, which holds the key.
    base = {"from": account.address, "to": to, "value": 1}
    for fields in [{"gasPrice": price}, {}]:
        tx = w3.eth.send_transaction({**base, **fields})
        receipt = w3.eth.wait_for_transaction_receipt(tx, poll_latency=0.05)
        assert receipt.type == (0 if fields else 2), receipt
        if fields:
            assert receipt.effectiveGasPrice == price
    found = w3.eth.get_transaction_by_block(receipt.blockNumber, receipt.transactionIndex)
    assert found.hash == receipt.transactionHash
    assert w3.eth.get_transaction_by_block(receipt.blockHash, 0).blockHash == receipt.blockHash
    assert w3.eth.get_block_transaction_count(receipt.blockHash) >= 1
    assert w3.eth.get_raw_transaction(receipt.transactionHash)[:1] == b"\x02"


def approves_permits_and_deposits():
    call(token.functions.approve(escrow.address, 100))
    receipt = call(escrow.functions.deposit(PAYEE, 100))
    [event] = escrow.events.Deposited().process_receipt(receipt, errors=DISCARD)
    assert event.args.amount == 100
    words = ["owner", "spender", "value", "nonce", "deadline"]
    kinds = ["address"] * 2 + ["uint256"] * 3
    message = {
        "owner": account.address,
        "spender": escrow.address,
        "value": 50,
        "nonce": token.functions.nonces(account.address).call(),
        "deadline": DEADLINE,
    }
    domain = {"name": "openledger", "version": "1", "chainId": 31337, "verifyingContract": token.address}
    types = {"Permit": [{"name": n, "type": k} for n, k in zip(words, kinds)]}
    signed = account.sign_message(encode_typed_data(domain, types, message))
    r, s = (value.to_bytes(32, "big") for value in (signed.r, signed.s))
    call(escrow.functions.depositWithPermit(PAYEE, 50, DEADLINE, signed.v, r, s))
    assert escrow.functions.deposits(account.address, PAYEE).call()[0] == 150
    domain_type = [{"name": n, "type": k} for n, k in
                   [("name", "string"), ("version", "string"), ("chainId", "uint256"),
                    ("verifyingContract", "address")]]
    full = {"types": {"EIP712Domain": domain_type, **types}, "primaryType": "Permit", "domain": domain,
            "message": message}
    assert w3.eth.sign_typed_data(account.address, full) == signed.signature
    hello = account.sign_message(encode_defunct(text="hello")).signature
    assert w3.eth.sign(account.address, text="hello") == hello


def filters_and_past():
    past = escrow.events.Deposited().get_logs(from_block=0, argument_filters={"payer": account.address})
    assert [event.args.balance for event in past] == [100, 150]
    before = token.functions.balanceOf(account.address).call(block_identifier=past[0].blockNumber - 1)
    after = token.functions.balanceOf(account.address).call(block_identifier=past[0].blockNumber)
    assert before - after == 100, (before, after)
    filters = token.events.Transfer().create_filter(from_block=w3.eth.block_number, argument_filters={"to": to})
    blocks, pending = w3.eth.filter("latest"), w3.eth.filter("pending")
    receipt = call(token.functions.transfer(to, 9))
    assert [event.args.value for event in filters.get_new_entries()] == [9]
    assert receipt.blockHash in blocks.get_new_entries()
    assert receipt.transactionHash in pending.get_new_entries()
    assert filters.get_new_entries() == []
    assert [event.args.value for event in filters.get_all_entries()][-1] == 9
    assert w3.eth.uninstall_filter(filters.filter_id)
    refused("filter not found", filters.get_new_entries)


def errors_have_their_words():
    try:
        escrow.functions.deposit(999, 1).call({"from": account.address})
        raise AssertionError("not reverted")
    except ContractCustomError as error:
        selector = Web3.keccak(text="UnknownAccount(uint64)")[:4]
        assert error.data == Web3.to_hex(selector + (999).to_bytes(32)), error
    nonce = w3.eth.get_transaction_count(account.address)
    base = {"to": to, "value": 1, "gas": 21000, "gasPrice": w3.eth.gas_price, "chainId": 31337, "nonce": nonce}
    refused("nonce too low", lambda: send({**base, "nonce": 0}))
    refused("insufficient funds", lambda: send({**base, "value": 10**30}))
    refused("intrinsic gas too low", lambda: send({**base, "gas": 20999}))
    refused("insufficient funds", lambda: w3.eth.estimate_gas({"from": account.address, "to": to, "value": 10**30}))
    steep = {"from": account.address, "to": to, "maxFeePerGas": hex(10**10), "maxPriorityFeePerGas": hex(10**11)}
    answer = w3.provider.make_request("eth_sendTransaction", [steep])
    assert "max priority fee per gas higher than max fee per gas" in answer["error"]["message"], answer
    both = {"from": account.address, "to": to, "gasPrice": "0x1", "maxFeePerGas": "0x1"}
    answer = w3.provider.make_request("eth_sendTransaction", [both])
    assert "both gasPrice and" in answer["error"]["message"], answer
    try:
        w3.eth.get_transaction("0x" + "11" * 32)
        raise AssertionError("found")
    except TransactionNotFound:
        pass


def gaps_and_blocks():
    nonce = w3.eth.get_transaction_count(account.address)
    base = {"to": to, "value": 1, "gas": 21000, "gasPrice": w3.eth.gas_price * 2, "chainId": 31337}
    later = account.sign_transaction({**base, "nonce": nonce + 1})
    waiting = w3.eth.send_raw_transaction(later.raw_transaction)
    assert w3.eth.get_transaction(waiting).get("blockNumber") is None
    refused("already known", lambda: w3.eth.send_raw_transaction(later.raw_transaction))
    send({**base, "nonce": nonce})
    assert w3.eth.wait_for_transaction_receipt(waiting, poll_latency=0.05).status == 1
    head = w3.eth.block_number
    while w3.eth.block_number < head + 3:
        time.sleep(0.05)
    history = w3.eth.fee_history(3, "latest", [10, 90])
    assert len(history.baseFeePerGas) == 4 and len(history.reward) == 3
    assert w3.eth.get_block("pending").number > head and w3.eth.get_block("finalized").number >= head
    assert w3.eth.max_priority_fee > 0
    state = {to: {"balance": hex(77)}}
    assert w3.eth.call({"to": to, "from": to, "value": 70}, "latest", state) == b""
    accesses = w3.eth.create_access_list(
        {"from": account.address, "to": token.address, "data": token.encode_abi("transfer", [to, 1])})
    assert accesses.accessList


reads_the_token()
sends_each_type()
approves_permits_and_deposits()
filters_and_past()
errors_have_their_words()
gaps_and_blocks()
