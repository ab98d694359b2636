#!/usr/bin/env python3
"""Takes each rule of rules.toml out alone and lets `simnet fuzz` search for what goes wrong.

Usage: simnet/mutations/run.py [NAME...]; BUDGET (10m) is how long each may take. A copy of the tree is built
once with all mutations in it, each behind a question to the environment (mutant schemata: Untch, Offutt and
Harrold, ISSTA 1993), so that twenty cost one build. Exits with 1 where one was not found. Needs Python 3.11.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import time
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MUTATIONS = tomllib.loads((HERE / "rules.toml").read_text())["mutation"]
RULES = {mutation["name"]: mutation["without"] for mutation in MUTATIONS}
QUESTION = """
extern crate std;

/// Whether a rule is taken out.
pub fn without(rule: &str) -> bool {
    static GONE: std::sync::OnceLock<std::string::String> = std::sync::OnceLock::new();
    GONE.get_or_init(|| std::env::var("WITHOUT").unwrap_or_default()) == rule
}
"""
# What fuzz exits with where a check failed, or a machine broke.
FOUND = (3, 5)


def mutate(tree):
    for mutation in MUTATIONS:
        name, old, new = (mutation[key] for key in ("name", "old", "new"))
        path = tree / mutation["file"]
        text = path.read_text()
        if text.count(old) != 1:
            sys.exit(f"{name}: `{old}` is not once in {mutation['file']}")
        choice = f'(if crate::without("{name}") {{ {new} }} else {{ {old} }})'
        path.write_text(text.replace(old, choice))
    library = tree / "protocol/src/lib.rs"
    library.write_text(library.read_text() + QUESTION)


def build(tree):
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True)
    subprocess.run(["tar", "-x", "-C", tree], input=archive.stdout, check=True)
    mutate(tree)
    # A folder of its own: in another one cargo would take what is built here for the real thing.
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "mutations"
    os.environ["CARGO_TARGET_DIR"] = str(target)
    built = subprocess.run(["cargo", "build", "--bin", "simnet"], cwd=tree, capture_output=True, text=True)
    if built.returncode != 0:
        sys.exit(built.stderr)
    return target / "debug/simnet"


def wanted():
    unknown = [name for name in sys.argv[1:] if name not in RULES]
    if unknown:
        sys.exit(f"rules.toml has no {', '.join(unknown)}")
    return sys.argv[1:] or list(RULES)


def main():
    names, missed = wanted(), []
    with tempfile.TemporaryDirectory() as directory:
        tree = pathlib.Path(directory)
        simnet = build(tree)
        for name in names:
            budget, began = os.environ.get("BUDGET", "10m"), time.monotonic()
            fuzz = [simnet, "fuzz", "--budget", budget, "--out", tree / name]
            ran = subprocess.run(
                fuzz, env={**os.environ, "WITHOUT": name}, capture_output=True, text=True
            )
            is_found = ran.returncode in FOUND
            said = (ran.stdout.strip() or ran.stderr.strip() or "said nothing").splitlines()[0]
            took = f"{'found' if is_found else 'NOT FOUND'} after {time.monotonic() - began:.0f} s"
            print(f"{name} ({RULES[name]}): {took}: {said}", flush=True)
            if not is_found:
                missed.append(name)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
