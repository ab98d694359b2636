// Compiles src/*.sol with the npm solc and writes ../artifacts/<Name>.json.
// `node build.mjs --check` compiles and compares instead: the checked-in bytecode is the sources'.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import solc from "solc";

const here = dirname(fileURLToPath(import.meta.url));
const artifacts = join(here, "..", "artifacts");
const CONTRACTS = [
  "Open",
  "Registry",
  "DatanetRegistry",
  "ModelRegistry",
  "StorageVerifier",
  "RewardVault",
  "Coordinator",
  "Settlements",
  "Disputes",
  "Timelock",
  "UsageEscrow",
];
const RUNS = 1_000_000;
const MAX_CODE = 24_576;

/** Own sources by path, e.g. "src/Open.sol". */
export function ownSources() {
  const sources = {};
  const visit = (dir) => {
    for (const entry of readdirSync(join(here, dir), { withFileTypes: true })) {
      const path = `${dir}/${entry.name}`;
      if (entry.isDirectory()) visit(path);
      else if (entry.name.endsWith(".sol")) {
        sources[path] = { content: readFileSync(join(here, path), "utf8") };
      }
    }
  };
  visit("src");
  return sources;
}

function settings() {
  const wanted = ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"];
  return {
    evmVersion: "prague",
    viaIR: true,
    optimizer: { enabled: true, runs: RUNS },
    metadata: { bytecodeHash: "none", appendCBOR: false },
    outputSelection: Object.fromEntries(
      CONTRACTS.map((name) => [`src/${name}.sol`, { [name]: wanted }]),
    ),
  };
}

export function findImport(path) {
  try {
    return { contents: readFileSync(join(here, "node_modules", path), "utf8") };
  } catch (error) {
    return { error: `${path}: ${error.message}` };
  }
}

function compile(sources) {
  const input = { language: "Solidity", sources, settings: settings() };
  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: findImport }));
  // Warnings of other people's sources are theirs.
  const ours = (e) => e.severity === "error" || e.sourceLocation?.file.startsWith("src/");
  const problems = (output.errors ?? []).filter(ours);
  for (const problem of problems) console.error(problem.formattedMessage);
  if (problems.length > 0) process.exit(1);
  return output.contracts;
}

function sourceHash(sources) {
  const hash = createHash("sha256");
  hash.update(solc.version());
  hash.update(readFileSync(join(here, "package.json")));
  hash.update(JSON.stringify(settings()));
  for (const path of Object.keys(sources).sort()) hash.update(path).update(sources[path].content);
  return hash.digest("hex");
}

function render(name, contract, hash) {
  const code = contract.evm.deployedBytecode.object;
  const size = code.length / 2;
  if (size > MAX_CODE) {
    console.error(`${name}: ${size} bytes of code, at most ${MAX_CODE} can be deployed`);
    process.exit(1);
  }
  const artifact = {
    contractName: name,
    compiler: solc.version(),
    sourceHash: hash,
    deployedSize: size,
    deployedBytecodeHash: createHash("sha256").update(Buffer.from(code, "hex")).digest("hex"),
    abi: contract.abi,
    bytecode: `0x${contract.evm.bytecode.object}`,
  };
  return `${JSON.stringify(artifact, null, 1)}\n`;
}

function main() {
  const check = process.argv.includes("--check");
  const sources = ownSources();
  const contracts = compile(sources);
  const hash = sourceHash(sources);
  let different = 0;
  mkdirSync(artifacts, { recursive: true });
  for (const name of CONTRACTS) {
    const text = render(name, contracts[`src/${name}.sol`][name], hash);
    const path = join(artifacts, `${name}.json`);
    if (!check) {
      writeFileSync(path, text);
    } else if (readFileSync(path, "utf8") !== text) {
      console.error(`${name}: the artifact differs from its sources; run node build.mjs`);
      different += 1;
    }
  }
  if (different > 0) process.exit(1);
  console.log(`${CONTRACTS.length} artifacts ${check ? "match their sources" : "written"}`);
}

// Others read the sources as this does.
if (process.argv[1] === fileURLToPath(import.meta.url)) main();
