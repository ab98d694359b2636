#!/usr/bin/env bash
# What is true of money whatever people do. FORGE is the program, OPENLEDGER_NETWORK the network.
set -euo pipefail
network() { node -e "console.log(JSON.parse(process.env.OPENLEDGER_NETWORK).$1)"; }
for contract in open registry datanets escrow vault; do
    export "${contract^^}=$(network "contracts.$contract")"
done
# The npm compiler, so that no native one is needed.
cd "$(dirname "${BASH_SOURCE[0]}")/../../solidity"
"$FORGE" test --fork-url "$(network rpc)" --use "$PWD/solc.mjs"
