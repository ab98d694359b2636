#!/usr/bin/env bash
# What people type at the chain with cast. CAST is the program, OPENLEDGER_NETWORK the network.
set -euo pipefail
network() { node -e "console.log(JSON.parse(process.env.OPENLEDGER_NETWORK).$1)"; }
export ETH_RPC_URL="$(network rpc)"
open="$(network contracts.open)" escrow="$(network contracts.escrow)" key="$(network 'keys[4]')"
to=0x8888888888888888888888888888888888888888
cast() { timeout 30 "$CAST" "$@"; }
same() { [ "$1" = "$2" ] || { echo "expected $2, found $1" >&2; exit 1; }; }
# Requires that a command fails, and says a text.
fails() {
    local words="$1" output
    shift
    if output="$("$@" 2>&1)"; then echo "did not fail: $*" >&2; exit 1; fi
    grep -qi -- "$words" <<<"$output" || { echo "no '$words' in: $output" >&2; exit 1; }
}
field() { node -e "console.log(JSON.parse(require('fs').readFileSync(0)).$1)"; }

me="$(cast wallet address --private-key "$key")"
same "$(cast chain-id)" 31337
same "$(cast call "$open" 'symbol()(string)')" '"OPEN"'
same "$(cast call "$open" 'decimals()(uint8)')" 18
same "$(cast erc20-token balance "$open" "$me" 2>/dev/null | cut -d' ' -f1)" 1000000000000000000000
for tag in latest safe finalized pending earliest; do cast block "$tag" >/dev/null; done
[ "$(cast gas-price)" -gt 0 ] && [ "$(cast base-fee)" -gt 0 ]
[ "$(cast codesize "$open")" -gt 1000 ]

for flags in --legacy "--access-list" ""; do
    # shellcheck disable=SC2086
    sent="$(cast send --json $flags --private-key "$key" "$open" 'transfer(address,uint256)' "$to" 5)"
    same "$(field status <<<"$sent")" 0x1
done
same "$(cast call "$open" 'balanceOf(address)(uint256)' "$to")" 15
hash="$(field transactionHash <<<"$sent")"
same "$(cast receipt --json "$hash" | field status)" 0x1
same "$(cast tx "$hash" nonce)" 2
[ -n "$(cast tx "$hash" --raw)" ]
cast receipt --confirmations 2 "$hash" >/dev/null
cast send --private-key "$key" "$open" 'approve(address,uint256)' "$escrow" 100 >/dev/null
cast send --private-key "$key" "$escrow" 'deposit(uint64,uint128)' 1 100 >/dev/null
logs="$(cast logs --json --from-block 0 --address "$open" 'Transfer(address indexed,address indexed,uint256)' "$me")"
same "$(field length <<<"$logs")" 4

# A key that the node holds.
sent="$(cast send --json --unlocked --from "$me" "$to" --value 1)"
same "$(field status <<<"$sent")" 0x1
same "$(cast balance "$to")" 1

fails 'revert' cast call --from "$me" "$escrow" 'deposit(uint64,uint128)' 999 1
fails 'nonce too low' cast send --private-key "$key" --nonce 0 "$to"
fails 'insufficient funds' cast send --private-key "$key" --value 1000000ether "$to"
fails 'does not exist' cast rpc eth_nonsense
signed="$(cast rpc personal_sign "$(cast from-utf8 hello)" "$me" | tr -d '"')"
same "$signed" "$(cast wallet sign --private-key "$key" hello)"
[ "$(cast estimate --from "$me" "$open" 'transfer(address,uint256)' "$to" 1)" -gt 21000 ]
cast access-list --from "$me" "$open" 'transfer(address,uint256)' "$to" 1 | grep -qi "${open#0x}"
same "$(cast call --override-balance "$to:7" --from "$to" --value 7 "$me")" 0x
same "$(cast nonce "$me")" 6
cast storage "$open" 2 >/dev/null
cast find-block 0 >/dev/null
