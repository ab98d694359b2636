#!/usr/bin/env python3
"""Reads the results of `simnet sweep` and `simnet run` with pandas.

    pip install pandas pyarrow matplotlib
    simnet sweep simnet/scenarios/message-loss.toml --out results
    python simnet/examples/read_results.py results
"""

# %% one row per run: a column `param.*` for each parameter, one for each key figure
import sys
from pathlib import Path

import pandas as pd

results = Path(sys.argv[1] if len(sys.argv) > 1 else "results")
runs = pd.read_parquet(results / "summary.parquet")
parameters = [name for name in runs if name.startswith("param.")]
print(runs[parameters + ["seed", "durability", "replicas_proven", "honest_unpaid", "holds"]])

# %% the mean over seeds at each point of the grid, and how far seeds lie apart
figures = runs.groupby(parameters)[["replicas_proven", "honest_unpaid"]]
print(figures.agg(["mean", "std"]))

# %% a single run (`simnet run … --out results`) has its tables: epochs, nodes, payouts, …
if (results / "nodes.parquet").exists():
    nodes = pd.read_parquet(results / "nodes.parquet")
    # Columns in `_wei` are exact and text; those in `_open` are for plots.
    print(nodes.groupby("kind")["paid_open"].describe())

# %% a plot, where matplotlib is there
try:
    import matplotlib.pyplot as plt
except ImportError:
    sys.exit()
if parameters:
    runs.boxplot(column="replicas_proven", by=parameters[0])
    plt.savefig(results / "replicas_proven.png")
