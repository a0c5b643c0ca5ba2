"""Seconds of an epoch by two processes over those by one, a thread each, into processes.jsonl.

    python doc/benchmarks/processes.py

Networks and epochs are those of speed.py, in float32; a round is a fit by one process and then
one by two. The median over rounds, and the range.
"""

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
from records import keep, provenance
from speed import N_SAMPLES, NETWORKS, SIDE, ours

RESULTS = Path(__file__).with_suffix(".jsonl")
BATCHES, ROUNDS = (256, 2048), 3


def seconds(network, batch_size, count):
    """Of an epoch, by so many processes."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    program = [f"--nproc-per-node={count}", __file__, "--one", network, str(batch_size)]
    out = subprocess.run(
        [*launcher, *program],
        env=os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return float(out.split()[-1])


def one(network, batch_size):
    X = np.random.default_rng(0).random((N_SAMPLES, SIDE * SIDE), dtype=np.float32)
    parameters, epochs = NETWORKS[network]
    parameters = parameters | {"device": "accelerate", "batch_size": batch_size}
    measured = ours(X, parameters, "32", epochs)
    if os.environ["RANK"] == "0":
        print(measured)


def main():
    for network in NETWORKS:
        for batch_size in BATCHES:
            pairs = [
                [seconds(network, batch_size, count) for count in (1, 2)] for _ in range(ROUNDS)
            ]
            ratios = [two / alone for alone, two in pairs]
            low, median, high = min(ratios), statistics.median(ratios), max(ratios)
            print(f"{network:20} batch {batch_size:5}: {median:.2f} ({low:.2f} .. {high:.2f})")
            result = {"network": network, "batch_size": batch_size, "ratio": median}
            keep(result | {"range": [low, high], **provenance("accelerate")}, RESULTS)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--one", nargs=2, metavar=("NETWORK", "BATCH"), help="in a process")
    options = parser.parse_args()
    if options.one:
        one(options.one[0], int(options.one[1]))
    else:
        main()
