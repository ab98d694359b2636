// Runs slither over the contracts and compares what it finds with the answers in ../README.md.
//
// Slither reads what a compiler said about sources, as Hardhat stores it; the npm solc says it here, so
// that no native one is needed. `SLITHER` is the program. A finding is known by its check and the function
// or variable where it is; one that README.md does not answer fails, and an answer to nothing as well.
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import solc from "solc";
import { findImport, ownSources } from "./build.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const SLITHER = process.env.SLITHER ?? "slither";

/** What the compiler says, with syntax trees of all sources. */
function compile() {
  const sources = ownSources();
  const loaded = (path) => {
    const found = findImport(path);
    if (found.contents) sources[path] = { content: found.contents };
    return found;
  };
  const wanted = {
    "*": {
      "": ["ast"],
      "*": ["abi", "evm.bytecode", "evm.deployedBytecode", "evm.methodIdentifiers", "userdoc", "devdoc"],
    },
  };
  // Slither maps what it finds to sources by itself, so the code need not be small.
  const settings = { evmVersion: "prague", viaIR: true, outputSelection: wanted };
  const input = { language: "Solidity", sources, settings };
  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: loaded }));
  const errors = (output.errors ?? []).filter((problem) => problem.severity === "error");
  if (errors.length > 0) throw new Error(errors[0].formattedMessage);
  return { input, output };
}

/** The findings of a project folder in which a compilation lies. */
function analyse(dir) {
  const { input, output } = compile();
  const version = solc.version().split("+")[0];
  const info = join(dir, "artifacts", "build-info");
  mkdirSync(info, { recursive: true });
  const stored = {
    _format: "hh-sol-build-info-1", id: "openledger", solcVersion: version,
    solcLongVersion: solc.version(), input, output,
  };
  writeFileSync(join(info, "openledger.json"), JSON.stringify(stored));
  // By this file it knows whose folder this is; without it it finds no contracts, and no fault with that.
  writeFileSync(join(dir, "hardhat.config.js"), "");
  for (const [path, { content }] of Object.entries(input.sources)) {
    mkdirSync(join(dir, dirname(path)), { recursive: true });
    writeFileSync(join(dir, path), content);
  }
  const report = join(dir, "report.json");
  const ran = spawnSync(
    SLITHER,
    [".", "--ignore-compile", "--npx-disable", "--filter-paths", "@openzeppelin", "--json", report, "--fail-none"],
    { cwd: dir, encoding: "utf8" },
  );
  if (ran.status !== 0) throw new Error(`slither did not run: ${ran.error ?? ran.stderr}`);
  const found = JSON.parse(readFileSync(report, "utf8")).results.detectors ?? [];
  if (found.length === 0) throw new Error(`slither found nothing, not even what it always finds: ${ran.stderr}`);
  return found;
}

/** The place of a finding: the contract and the function or variable in which it is. */
function place(finding) {
  const element = finding.elements.find((e) => ["function", "variable", "contract"].includes(e.type))
    ?? finding.elements[0];
  if (element === undefined) return "all";
  const parent = element.type_specific_fields?.parent;
  const owner = parent?.type === "contract" ? `${parent.name}.` : "";
  return `${owner}${element.name}`;
}

const dir = mkdtempSync(join(tmpdir(), "openledger-slither-"));
let found;
try {
  const findings = analyse(dir);
  found = new Set(findings.map((finding) => `${finding.check} | \`${place(finding)}\``));
} finally {
  rmSync(dir, { recursive: true, force: true });
}
const answered = new Set();
const section = readFileSync(join(here, "..", "README.md"), "utf8").split("## What slither finds")[1];
for (const row of section.split("\n## ")[0].split("\n")) {
  // A row answers for a check everywhere, or for a check in some places.
  const cells = row.split("|").map((cell) => cell.trim());
  if (cells.length < 5 || !/^`[a-z0-9-]+`$/.test(cells[1])) continue;
  const check = cells[1].slice(1, -1);
  for (const where of cells[2].split(",")) answered.add(`${check} | ${where.trim()}`);
}
const everywhere = (finding) => `${finding.split(" | ")[0]} | everywhere`;
const open = [...found].filter((f) => !answered.has(f) && !answered.has(everywhere(f))).sort();
const met = new Set([...found, ...[...found].map(everywhere)]);
const stale = [...answered].filter((answer) => !met.has(answer)).sort();
for (const finding of open) console.error(`no answer in README.md: ${finding}`);
for (const answer of stale) console.error(`answered, but not found: ${answer}`);
if (open.length + stale.length > 0) process.exit(1);
console.log(`${found.size} findings of slither, all answered`);
