// A wallet and an application written with viem.
import assert from "node:assert/strict";
import {
  BaseError, ContractFunctionRevertedError, FeeCapTooLowError, InsufficientFundsError,
  IntrinsicGasTooLowError, NonceTooLowError, createPublicClient, createWalletClient, encodeFunctionData,
  getContract, http, maxUint256, parseEther, parseSignature, zeroHash,
} from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { foundry } from "viem/chains";
import { abiOf, contracts, keys, rpc, run } from "./network.mjs";

const transport = http(rpc, { batch: true, retryCount: 0 });
const reader = createPublicClient({ chain: foundry, transport, pollingInterval: 50, cacheTime: 0 });
const account = privateKeyToAccount(keys[2]);
const wallet = createWalletClient({ account, chain: foundry, transport });
// The same account, whose key the node holds.
const held = createWalletClient({ account: account.address, chain: foundry, transport });
const client = { public: reader, wallet };
const token = getContract({ address: contracts.open, abi: abiOf("Open"), client });
const escrow = getContract({ address: contracts.escrow, abi: abiOf("UsageEscrow"), client });
const PAYEE = 1n;
const to = `0x${"66".repeat(20)}`;
const mined = (hash, more = {}) => reader.waitForTransactionReceipt({ hash, ...more });

async function failsWith(promise, kind) {
  await assert.rejects(promise, (error) => {
    assert(error instanceof BaseError && error.walk((cause) => cause instanceof kind), error.message);
    return true;
  });
}

async function readsTheToken() {
  const reads = ["name", "symbol", "decimals"].map((name) => token.read[name]());
  assert.deepEqual(await Promise.all(reads), ["openledger", "OPEN", 18]);
  assert.equal(await reader.getChainId(), 31_337);
  assert.deepEqual(await held.requestAddresses(), await held.getAddresses());
}

async function sendsEachType() {
  const accessList = [{ address: contracts.open, storageKeys: [zeroHash] }];
  for (const [type, extra] of [["legacy", {}], ["eip2930", { accessList }], ["eip1559", {}]]) {
    for (const sender of [wallet, held]) {
      const request = { to, value: 1n, type, ...extra };
      if (type !== "eip1559") request.gasPrice = await reader.getGasPrice();
      const receipt = await mined(await sender.sendTransaction(request), { confirmations: 2 });
      assert.deepEqual([receipt.status, receipt.type], ["success", type]);
      const { gasPrice } = request;
      if (gasPrice !== undefined) assert.equal(receipt.effectiveGasPrice, gasPrice);
    }
  }
  const data = encodeFunctionData({ abi: token.abi, functionName: "transfer", args: [to, 1n] });
  const { accessList: found, gasUsed } = await reader.createAccessList({
    account, to: contracts.open, data,
  });
  assert(found.some((entry) => entry.storageKeys.length > 0) && gasUsed > 21_000n);
  const hash = await wallet.sendTransaction({ to: contracts.open, data, accessList: found });
  assert.equal((await mined(hash)).status, "success");
}

async function approvesPermitsAndDeposits() {
  await mined(await token.write.approve([contracts.escrow, 100n]));
  const { request } = await escrow.simulate.deposit([PAYEE, 100n], { account });
  await mined(await wallet.writeContract(request));
  const message = {
    owner: account.address, spender: contracts.escrow, value: 50n,
    nonce: await token.read.nonces([account.address]), deadline: maxUint256,
  };
  const typed = {
    domain: { name: "openledger", version: "1", chainId: 31_337, verifyingContract: contracts.open },
    types: { Permit: Object.keys(message).map((name, i) => ({ name, type: i < 2 ? "address" : "uint256" })) },
    primaryType: "Permit",
    message,
  };
  const signature = await wallet.signTypedData(typed);
  assert.equal(await held.signTypedData(typed), signature);
  const { v, r, s } = parseSignature(signature);
  await mined(await escrow.write.depositWithPermit([PAYEE, 50n, maxUint256, Number(v), r, s]));
  const deposited = await escrow.getEvents.Deposited({ payer: account.address }, { fromBlock: 0n });
  assert.deepEqual(deposited.map((log) => log.args.balance), [100n, 150n]);
  const message191 = { account, message: "hello" };
  assert.equal(await held.signMessage({ message: "hello" }), await wallet.signMessage(message191));
}

async function watches() {
  const heard = [];
  const blocks = [];
  const stops = [
    token.watchEvent.Transfer({ to }, { onLogs: (logs) => heard.push(...logs) }),
    reader.watchPendingTransactions({ onTransactions: (hashes) => blocks.push(...hashes) }),
  ];
  // Whatever is sent until the filters are there is not heard of.
  while (heard.length === 0 || blocks.length === 0) {
    await mined(await token.write.transfer([to, 3n]), { confirmations: 2 });
  }
  stops.forEach((stop) => stop());
  assert.deepEqual([heard[0].eventName, heard[0].args.value], ["Transfer", 3n]);
  const filter = await token.createEventFilter.Transfer({ to }, { fromBlock: 0n });
  assert((await reader.getFilterLogs({ filter })).length >= 2);
  assert.equal(await reader.uninstallFilter({ filter }), true);
}

async function decodesErrors() {
  await assert.rejects(escrow.simulate.deposit([999n, 1n], { account }), (error) => {
    const revert = error.walk((cause) => cause instanceof ContractFunctionRevertedError);
    assert.deepEqual([revert.data.errorName, revert.data.args], ["UnknownAccount", [999n]]);
    return true;
  });
  await failsWith(wallet.sendTransaction({ to, nonce: 0, gas: 21_000n }), NonceTooLowError);
  const value = parseEther("1000000");
  await failsWith(wallet.sendTransaction({ to, value }), InsufficientFundsError);
  await failsWith(wallet.sendTransaction({ to, value, gas: 21_000n }), InsufficientFundsError);
  await failsWith(wallet.sendTransaction({ to, gas: 20_999n }), IntrinsicGasTooLowError);
  const cheap = { to, gas: 21_000n, maxFeePerGas: 1n, maxPriorityFeePerGas: 1n };
  await failsWith(wallet.sendTransaction(cheap), FeeCapTooLowError);
}

async function overridesState() {
  // NUMBER, TIMESTAMP and the balance of the caller, as words.
  const code = "0x435f5242602052333160405260605ff3";
  const { data } = await reader.call({
    account: to,
    to: `0x${"77".repeat(20)}`,
    stateOverride: [
      { address: `0x${"77".repeat(20)}`, code },
      { address: to, balance: 5n },
    ],
    blockOverrides: { number: 5n, time: 9n },
  });
  const words = [5n, 9n, 5n].map((word) => word.toString(16).padStart(64, "0"));
  assert.equal(data, `0x${words.join("")}`);
  assert.equal(await reader.getCode({ address: `0x${"77".repeat(20)}` }), undefined);
}

async function seesAReplacement() {
  const nonce = await reader.getTransactionCount({ address: account.address });
  const { maxFeePerGas, maxPriorityFeePerGas } = await reader.estimateFeesPerGas();
  const later = { to, value: 2n, nonce: nonce + 1, gas: 21_000n };
  const first = await wallet.sendTransaction({ ...later, maxFeePerGas, maxPriorityFeePerGas });
  const replacements = [];
  const waiting = mined(first, { onReplaced: (replacement) => replacements.push(replacement.reason) });
  while ((await reader.getTransaction({ hash: first })).blockNumber !== null);
  await new Promise((resolve) => setTimeout(resolve, 300));
  const fees = { maxFeePerGas: maxFeePerGas * 2n, maxPriorityFeePerGas: maxPriorityFeePerGas * 2n };
  const second = await wallet.sendTransaction({ ...later, ...fees });
  await wallet.sendTransaction({ to, value: 1n, nonce, gas: 21_000n });
  const receipt = await waiting;
  assert.deepEqual([receipt.transactionHash, replacements], [second, ["repriced"]]);
}

async function asksForBlocks() {
  const { number } = await reader.getBlock();
  for (const blockTag of ["safe", "finalized", "pending"]) {
    assert((await reader.getBlock({ blockTag })).number >= number);
  }
  const { hash, transactions } = await reader.getBlock({ blockNumber: number });
  const count = await reader.getBlockTransactionCount({ blockHash: hash });
  assert.equal(count, transactions.length);
  const history = await reader.getFeeHistory({ blockCount: 4, rewardPercentiles: [25, 75] });
  assert.equal(history.baseFeePerGas.length, 5);
}

await run(
  readsTheToken, sendsEachType, approvesPermitsAndDeposits, watches, decodesErrors, overridesState,
  seesAReplacement, asksForBlocks,
);
