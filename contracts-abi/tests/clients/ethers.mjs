// A wallet and an application written with ethers.
import assert from "node:assert/strict";
import { Contract, JsonRpcProvider, NonceManager, Signature, Wallet, ethers } from "ethers";
import { abiOf, contracts, keys, rpc, run } from "./network.mjs";

const options = { polling: false, pollingInterval: 50, cacheTimeout: -1, staticNetwork: true };
const provider = new JsonRpcProvider(rpc, 31_337, options);
provider.pollingInterval = 50;
const wallet = new Wallet(keys[1], provider);
const token = new Contract(contracts.open, abiOf("Open"), wallet);
const escrow = new Contract(contracts.escrow, abiOf("UsageEscrow"), wallet);
const PAYEE = 1n;
const to = ethers.getAddress("0x" + "55".repeat(20));

async function codeOf(promise, code) {
  await assert.rejects(promise, (error) => {
    assert.equal(error.code, code, error.message);
    return true;
  });
}

async function readsTheToken() {
  assert.equal(await token.name(), "openledger");
  assert.equal(await token.symbol(), "OPEN");
  assert.equal(await token.decimals(), 18n);
  assert.equal(await token.totalSupply(), ethers.parseEther("1000000000"));
  assert.equal(await token.balanceOf(wallet.address), ethers.parseEther("1000"));
  assert.equal((await provider.getNetwork()).chainId, 31_337n);
}

async function sendsEachType() {
  const fees = await provider.getFeeData();
  assert(fees.maxFeePerGas > fees.maxPriorityFeePerGas && fees.gasPrice > 0n);
  const accessList = [{ address: contracts.open, storageKeys: [ethers.ZeroHash] }];
  for (const type of [0, 1, 2]) {
    const extra = type === 0 ? {} : { accessList };
    const tx = await token.transfer(to, 7n, { type, ...extra });
    const receipt = await tx.wait(2);
    assert.equal(receipt.status, 1);
    assert.equal(receipt.type, type);
    assert((await provider.getBlockNumber()) > receipt.blockNumber);
    const found = await provider.getTransaction(tx.hash);
    assert.equal(found.type, type);
    assert.equal(found.gasLimit, tx.gasLimit);
    if (type > 0) assert.equal(found.accessList[0].storageKeys.length, 1);
  }
  assert.equal(await token.balanceOf(to), 21n);
}

async function approvesPermitsAndDeposits() {
  await (await token.approve(contracts.escrow, 100n)).wait();
  await (await escrow.deposit(PAYEE, 100n)).wait();
  const deadline = ethers.MaxUint256;
  const domain = {
    name: "openledger", version: "1", chainId: 31_337, verifyingContract: contracts.open,
  };
  const types = {
    Permit: ["owner", "spender"].map((name) => ({ name, type: "address" })).concat(
      ["value", "nonce", "deadline"].map((name) => ({ name, type: "uint256" })),
    ),
  };
  const nonce = await token.nonces(wallet.address);
  const permit = { owner: wallet.address, spender: contracts.escrow, value: 50n, nonce, deadline };
  const { v, r, s } = Signature.from(await wallet.signTypedData(domain, types, permit));
  const sent = await escrow.depositWithPermit(PAYEE, 50n, deadline, v, r, s);
  const receipt = await sent.wait();
  assert.equal((await escrow.deposits(wallet.address, PAYEE))[0], 150n);
  const events = receipt.logs.filter((log) => log.fragment?.name === "Deposited");
  assert.deepEqual(events.map((log) => log.args.balance), [150n]);
  // The same by the key of a development account that the node holds.
  const held = await provider.getSigner(wallet.address);
  assert.equal(await held.signTypedData(domain, types, permit), Signature.from({ v, r, s }).serialized);
}

async function readsThePast() {
  const past = await escrow.queryFilter(escrow.filters.Deposited(wallet.address), 0, "latest");
  assert.deepEqual(past.map((event) => event.args.amount), [100n, 50n]);
  const block = await past[0].getBlock();
  assert.equal(block.hash, past[0].blockHash);
  const before = await token.balanceOf(wallet.address, { blockTag: past[0].blockNumber - 1 });
  const after = await token.balanceOf(wallet.address, { blockTag: past[0].blockNumber });
  assert.equal(before - after, 100n);
}

async function hearsEvents() {
  const heard = new Promise((resolve) => token.once("Transfer", (...args) => resolve(args)));
  const block = new Promise((resolve) => provider.once("block", resolve));
  // Whatever is sent until the filter is there is not heard of.
  let args;
  heard.then((found) => (args = found));
  while (args === undefined) await (await token.transfer(to, 1n)).wait(2);
  const [from, , value] = args;
  assert.deepEqual([from, value], [wallet.address, 1n]);
  assert((await block) > 0);
  await token.removeAllListeners();
}

async function decodesErrors() {
  await assert.rejects(escrow.deposit.staticCall(999n, 1n), (error) => {
    assert.equal(error.code, "CALL_EXCEPTION");
    assert.deepEqual([error.revert.name, error.revert.args[0]], ["UnknownAccount", 999n]);
    return true;
  });
  await assert.rejects(escrow.deposit(PAYEE, 0n), (error) => {
    assert.equal(escrow.interface.parseError(error.data).name, "ZeroAmount");
    return true;
  });
  await codeOf(wallet.sendTransaction({ to, nonce: 0 }), "NONCE_EXPIRED");
  await codeOf(wallet.sendTransaction({ to, value: ethers.parseEther("1000000") }), "INSUFFICIENT_FUNDS");
  await codeOf(
    wallet.sendTransaction({ to, value: ethers.parseEther("1000000"), gasLimit: 21_000 }),
    "INSUFFICIENT_FUNDS",
  );
  await codeOf(provider.send("eth_nonsense", []), "UNSUPPORTED_OPERATION");
  // A transaction that fails in its block has a receipt that says so.
  const doomed = await escrow.deposit(999n, 1n, { gasLimit: 200_000 });
  await codeOf(doomed.wait(), "CALL_EXCEPTION");
}

async function replacesBehindAGap() {
  const nonce = await wallet.getNonce();
  const fees = await provider.getFeeData();
  const base = { maxFeePerGas: fees.maxFeePerGas, maxPriorityFeePerGas: fees.maxPriorityFeePerGas };
  const again = { nonce: nonce + 1, gasLimit: 100_000 };
  // Contracts look for no replacement; wallets do.
  const transfer = await token.transfer.populateTransaction(to, 1n);
  const waiting = await wallet.sendTransaction({ ...transfer, ...again, ...base });
  assert.equal((await provider.getTransaction(waiting.hash)).blockNumber, null);
  assert.equal(await wallet.getNonce("pending"), nonce);
  await codeOf(token.transfer(to, 2n, { ...again, ...base }), "REPLACEMENT_UNDERPRICED");
  const dearer = Object.fromEntries(Object.entries(base).map(([name, fee]) => [name, fee * 2n]));
  const replaced = await token.transfer(to, 1n, { ...again, ...dearer });
  const outcome = assert.rejects(waiting.wait(), (error) => {
    assert.equal(error.code, "TRANSACTION_REPLACED");
    assert.equal(error.replacement.hash, replaced.hash);
    return true;
  });
  await (await wallet.sendTransaction({ to, nonce, value: 1n })).wait();
  await replaced.wait();
  await outcome;
  const manager = new NonceManager(wallet);
  const many = await Promise.all([1, 2, 3].map(() => manager.sendTransaction({ to, value: 1n })));
  for (const tx of many) assert.equal((await tx.wait()).status, 1);
}

async function signsWithTheNodesKeys() {
  const held = await provider.getSigner(wallet.address);
  assert.equal(await held.signMessage("hello"), await wallet.signMessage("hello"));
  assert.equal(await held._legacySignMessage("hello"), await wallet.signMessage("hello"));
  const tx = await held.sendTransaction({ to, value: 1n, type: 0 });
  assert.equal((await tx.wait()).type, 0);
}

async function asksForBlocks() {
  const head = await provider.getBlock("latest", true);
  for (const tag of ["safe", "finalized"]) {
    assert((await provider.getBlock(tag)).number >= head.number);
  }
  const pending = await provider.getBlock("pending");
  assert(pending.number > head.number);
  assert.equal((await provider.getBlock(0)).number, 0);
  assert.equal(await provider.getBlock(head.number + 1_000_000), null);
  const receipts = await provider.send("eth_getBlockReceipts", [ethers.toQuantity(head.number)]);
  assert.equal(receipts.length, head.length);
}

await run(
  readsTheToken, sendsEachType, approvesPermitsAndDeposits, readsThePast, hearsEvents,
  decodesErrors, replacesBehindAGap, signsWithTheNodesKeys, asksForBlocks,
);
provider.destroy();
