"""Two versions of the package on the same sets and seeds, at the defaults, into versions.jsonl.

    git worktree add ../before 583f2c4
    python doc/benchmarks/versions.py ../before . --data ../shared/data
    python doc/benchmarks/versions.py --table

Each fit of one version is followed by the same fit of the other, in a process of its own with one
thread. The labels are read after a fit, for its scores.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from records import done, keep, provenance

RESULTS = Path(__file__).with_suffix(".jsonl")
SETS = ("digits", "optdigits", "usps")
ESTIMATORS = ("DCEC", "DMAE", "DualAESpectral", "DCCS")
SEEDS = range(3)
FIT = """
import json, sys, time, warnings
from importlib.metadata import version
from pathlib import Path
import numpy as np, torch
from sklearn.metrics import normalized_mutual_info_score
import skdeepcluster
from skdeepcluster.metrics import clustering_accuracy
sys.path.insert(0, sys.argv[1])
from accuracy import load
name, estimator, seed = sys.argv[3], sys.argv[4], int(sys.argv[5])
X, y, image_shape = load(name, Path(sys.argv[2]))
model = getattr(skdeepcluster, estimator)(
    len(np.unique(y)), image_shape=image_shape, random_state=seed
)
warnings.simplefilter("ignore")
started = time.process_time()
model.fit(X)
print(json.dumps({
    "cpu_seconds": time.process_time() - started,
    "acc": clustering_accuracy(y, model.labels_),
    "nmi": normalized_mutual_info_score(y, model.labels_),
    "epochs": model.n_iter_,
    "versions": {name: version(name) for name in ("torch", "scikit-learn", "numpy")},
}))
"""


def run(folder, data, name, estimator, seed):
    here = Path(__file__).parent.resolve()
    arguments = [str(here), str(data.resolve()), name, estimator, str(seed)]
    environment = os.environ | {"PYTHONPATH": str(folder.resolve()), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", FIT, *arguments]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return json.loads(answer.stdout)


def commit(folder):
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def table():
    """Mean +- standard deviation over seeds of both versions, and the ratio of their seconds."""
    results = done(RESULTS)
    versions = list(dict.fromkeys(row["commit"] for row in results))
    print(f"{'set':10}{'estimator':16}{'n':>3}" + "".join(f"{v:>26}" for v in versions), "ratio")
    for name in SETS:
        for estimator in ESTIMATORS:
            cells, seconds = [], []
            for version in versions:
                key = (version, name, estimator)
                rows = [r for r in results if (r["commit"], r["set"], r["estimator"]) == key]
                acc, nmi = ([row[metric] for row in rows] for metric in ("acc", "nmi"))
                cells.append(f"{np.mean(acc):.3f} +- {np.std(acc):.3f} / {np.mean(nmi):.3f}")
                seconds.append(np.mean([row["cpu_seconds"] for row in rows]))
            ratio = f"{seconds[-1] / seconds[0]:6.2f}"
            print(
                f"{name:10}{estimator:16}{len(rows):3}" + "".join(f"{c:>26}" for c in cells), ratio
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folders", nargs="*", type=Path, help="checkouts of the versions")
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--table", action="store_true", help="print the results, run nothing")
    options = parser.parse_args()
    if options.table:
        table()
        raise SystemExit
    for name in SETS:
        for seed in SEEDS:
            for estimator in ESTIMATORS:
                for folder in options.folders:
                    key = (commit(folder), name, estimator, seed)
                    names = ("commit", "set", "estimator", "seed")
                    if key in [tuple(row[n] for n in names) for row in done(RESULTS)]:
                        continue
                    result = provenance(threads=1) | dict(zip(names, key, strict=True))
                    result |= run(folder, options.data, name, estimator, seed)
                    keep(result, RESULTS)
                    print(*key, f"{result['acc']:.3f} {result['cpu_seconds']:.0f} s", flush=True)
