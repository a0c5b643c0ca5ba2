"""Files of results, one run a line, and what each line says about how it was made."""

import json
import os
import platform
import subprocess
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from skdeepcluster import DCCS, DCEC, DMAE, DualAESpectral

OURS = {"DCEC": DCEC, "DMAE": DMAE, "DualAESpectral": DualAESpectral, "DCCS": DCCS}
FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")


def done(results):
    """The runs that a file of results holds."""
    lines = results.read_text().splitlines() if results.exists() else []
    return [json.loads(line) for line in lines]


def keep(result, results):
    """Add a run to a file of results."""
    with results.open("a") as file:
        file.write(json.dumps(result) + "\n")


def provenance(*packages, threads=None):
    """The commit, the versions, the threads and the processor of a run."""
    return {
        "commit": commit(),
        "versions": {
            name: version(name) for name in ("torch", "scikit-learn", "skorch", "numpy", *packages)
        },
        "threads": torch.get_num_threads() if threads is None else threads,
        "machine": f"{os.cpu_count()} x {_processor('model name') or platform.processor()}",
        "flags": [flag for flag in FLAGS if flag in _processor("flags").split()],
    }


def timed(call, *arguments):
    """What a call returns, and its seconds, processor seconds and warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        clock, processor = time.perf_counter(), time.process_time()
        result = call(*arguments)
        clock, processor = time.perf_counter() - clock, time.process_time() - processor
    return result, {
        "seconds": clock,
        "cpu_seconds": processor,
        "warnings": [str(warning.message)[:100] for warning in caught],
    }


def spread(values):
    """Mean +- standard deviation; one value has no deviation."""
    deviation = f"+- {np.std(values):.3f}" if len(values) > 1 else " " * len("+- 0.000")
    return f"{np.mean(values):.3f} {deviation}"


def print_accuracies(results, sets, estimators):
    """ACC, NMI and processor seconds of each set and estimator, over seeds."""
    print(f"{'set':26}{'estimator':26}{'n':>3}{'ACC':>16}{'NMI':>16}{'CPU s':>8}")
    for name in sets:
        for estimator in estimators:
            rows = [r for r in results if (r["set"], r["estimator"]) == (name, estimator)]
            if not rows:
                print(f"{name:26}{estimator:26}  not run")
                continue
            acc, nmi = (spread([row[metric] for row in rows]) for metric in ("acc", "nmi"))
            seconds = np.mean([row["cpu_seconds"] for row in rows])
            print(f"{name:26}{estimator:26}{len(rows):3}{acc:>16}{nmi:>16}{seconds:8.1f}")


def commit():
    command = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _processor(field):
    """A field of the first processor in Linux's list; empty on other systems."""
    path = Path("/proc/cpuinfo")
    for line in path.read_text().splitlines() if path.exists() else []:
        if line.startswith(field):
            return line.split(":")[1].strip()
    return ""
