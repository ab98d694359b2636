"""The same corpus and outputs, asked of the `infini-gram` wheel: are its spans ours, and how fast is it?

    pip install infini-gram==2.6.0 numpy tqdm
    SPANS_TOKENS=100000000 SPANS_EXPORT=/some/folder cargo bench -p openledger-compute --bench spans
    python compute/tests/reference/infini_gram.py /some/folder

Builds infini-gram's index with the program of its wheel, asks for all maximal spans of every output
(`attribute`: at least one token, at most as many occurrences as ours), fails unless they are the
spans and counts that openledger found, and prints the ratio of the median times: of wall, and of
processor time, since infini-gram starts threads for every token of an output, openledger none.
"""

import json
import math
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import time

# This file bears the name of the package it measures.
sys.path.pop(0)
import infini_gram  # noqa: E402
from infini_gram.engine import InfiniGramEngine  # noqa: E402

REPEATS = 7


def build(folder: pathlib.Path) -> float:
    """Builds `table.0` beside `tokenized.0`; gives the seconds of processor time it took."""
    package = pathlib.Path(infini_gram.__file__).parent
    data = folder / "tokenized.0"
    size = data.stat().st_size
    common = ["--data-file", data, "--ratio", math.ceil(math.log2(size) / 8), "--token-width", 2]
    parts, merged = folder / "parts", folder / "merged"
    for scratch in (parts, merged):
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
    steps = [
        ["make-part", "--parts-dir", parts, "--start-byte", 0, "--end-byte", size],
        ["merge", "--parts-dir", parts, "--merged-dir", merged, "--num-threads", 1, "--hacksize", 100000],
        ["concat", "--merged-dir", merged, "--merged-file", folder / "table.0", "--num-threads", 1],
    ]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for step in steps:
        command = [package / "rust_indexing", *step, *common]
        subprocess.run(list(map(str, command)), check=True, cwd=package, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    for scratch in (parts, merged):
        shutil.rmtree(scratch)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def ask(engine: InfiniGramEngine, output: list[int], most: int) -> list[list[int]]:
    found = engine.attribute(input_ids=output, delim_ids=[], min_len=1, max_cnt=most, enforce_bow=False)
    return [[span["l"], span["length"], span["count"]] for span in found["spans"]]


def median_time(engine: InfiniGramEngine, outputs: list[list[int]], most: int, clock) -> float:
    """The median over outputs of the median time of each."""
    medians = []
    for output in outputs:
        times = []
        for _ in range(REPEATS):
            start = clock()
            ask(engine, output, most)
            times.append(clock() - start)
        medians.append(statistics.median(times))
    return statistics.median(medians)


def main() -> None:
    folder = pathlib.Path(sys.argv[1]).resolve()
    given = json.loads((folder / "openledger.json").read_text())
    ours, outputs, most = given["openledger"], given["outputs"], given["openledger"]["max_count"]
    seconds = build(folder)
    # The fastest way that the wheel offers: all in memory, nothing prefetched.
    engine = InfiniGramEngine(
        index_dir=str(folder), eos_token_id=given["vocab"], vocab_size=65535, token_dtype="u16",
        load_to_ram=True, ds_prefetch_depth=0, sa_prefetch_depth=0, od_prefetch_depth=0,
    )
    differing = sum(ask(engine, output, most) != spans for output, spans in zip(outputs, ours["spans"]))
    query = median_time(engine, outputs, most, time.perf_counter)
    core = median_time(engine, outputs, most, time.process_time)
    print(json.dumps({
        "outputs": len(outputs),
        "outputs_with_other_spans": differing,
        "build_core_seconds": {"infini_gram": seconds, "openledger": ours["build_seconds"]},
        "build_ratio": seconds / ours["build_seconds"],
        "query_seconds": {"infini_gram": query, "openledger": ours["query_seconds"]},
        "query_ratio": query / ours["query_seconds"],
        "query_core_seconds": {"infini_gram": core, "openledger": ours["query_seconds"]},
        "query_core_ratio": core / ours["query_seconds"],
    }))
    sys.exit(differing != 0)


if __name__ == "__main__":
    main()
