#!/bin/sh
# Applies each mutation of `protocol` to a copy of the tree, builds simnet there, and lets `simnet fuzz`
# search for it: simnet/mutations/run.sh [NAME...]. Each has to be found within BUDGET (10m).
# CARGO_TARGET_DIR keeps the dependencies between the builds.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
cargo=${CARGO:-cargo}
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$root/target/mutations}"
[ $# -gt 0 ] || set -- $(cd "$here" && ls ./*.patch | sed 's|^./||; s|\.patch$||')
missed=0
for name in "$@"; do
    copy=$(mktemp -d)
    (cd "$root" && git archive HEAD) | tar -x -C "$copy"
    (cd "$copy" && patch -s -p1 < "$here/$name.patch" && $cargo build -q --bin simnet)
    echo "== $name: $(head -n 1 "$here/$name.patch")"
    code=0
    "$CARGO_TARGET_DIR/debug/simnet" fuzz --budget "${BUDGET:-10m}" --out "$copy/found" || code=$?
    # 3 and 5: something broke, as it has to.
    [ "$code" = 3 ] || [ "$code" = 5 ] || { echo "$name was not found"; missed=1; }
    rm -rf "$copy"
done
exit $missed
