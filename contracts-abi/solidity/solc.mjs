#!/usr/bin/env node
// The npm solc with the part of the native one's command line that forge uses.
import { readFileSync } from "node:fs";
import solc from "solc";

const said = process.argv.includes("--version")
  ? `solc, the solidity compiler commandline interface\nVersion: ${solc.version()}\n`
  : solc.compile(readFileSync(0, "utf8"));
process.stdout.write(said);
