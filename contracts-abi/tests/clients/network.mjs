// What the scripts are given: a development chain with the contracts of openledger on it.
import { readFileSync } from "node:fs";

/** Where the chain is, its contracts by name, and the secrets of the development accounts. */
export const { rpc, contracts, keys } = JSON.parse(process.env.OPENLEDGER_NETWORK);

/** The interface of a contract. */
export const abiOf = (name) =>
  JSON.parse(readFileSync(new URL(`../../artifacts/${name}.json`, import.meta.url))).abi;

let doing = "nothing";

/** Does one thing after another. */
export async function run(...steps) {
  for (const step of steps) {
    doing = step.name;
    await step();
  }
}

// Whatever a client waits for, a test ends.
setTimeout(() => {
  console.error(`still at ${doing} after 60 seconds`);
  process.exit(1);
}, 60_000).unref();
