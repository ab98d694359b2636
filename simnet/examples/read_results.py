#!/usr/bin/env python3
"""Reads the results of `simnet sweep` or `simnet run` with pandas.

    pip install pandas pyarrow matplotlib
    simnet sweep simnet/scenarios/message-loss.toml --out results
    python simnet/examples/read_results.py results
"""

# %% the folder of a sweep has a summary, that of a single run has its tables
import sys
from pathlib import Path

import pandas as pd

pd.set_option("display.width", 160, "display.max_columns", None)
results = Path(sys.argv[1] if len(sys.argv) > 1 else "results")
is_sweep = (results / "summary.parquet").exists()
if not is_sweep and not (results / "nodes.parquet").exists():
    sys.exit(f"{results} has no results; it has to be the --out folder of simnet run or sweep")

# %% a single run: epochs, nodes, payouts, kpis, series, histograms
if not is_sweep:
    epochs = pd.read_parquet(results / "epochs.parquet")
    print(epochs[["epoch", "packs_alive", "replicas_live", "replicas_proven", "status"]])
    nodes = pd.read_parquet(results / "nodes.parquet")
    # Columns in `_wei` are exact and text; those in `_open` are for plots.
    print(nodes.groupby("kind")["paid_open"].describe())
    sys.exit()

# %% a sweep: one row per run, a column `param.*` for each parameter, one for each key figure
runs = pd.read_parquet(results / "summary.parquet")
parameters = [name for name in runs if name.startswith("param.")]
print(runs[parameters + ["seed", "durability", "replicas_proven", "honest_unpaid", "holds"]])

# %% the mean over seeds at each point of the grid, and how far seeds lie apart
points = parameters or ["seed"]
figures = runs.groupby(points, sort=False)[["replicas_proven", "honest_unpaid"]]
print(figures.agg(["mean", "std"]))

# %% a plot, where matplotlib is there
try:
    import matplotlib.pyplot as plt
except ImportError:
    sys.exit()
runs.boxplot(column="replicas_proven", by=points[0])
plt.savefig(results / "replicas_proven.png")
