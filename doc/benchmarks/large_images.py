"""Large images, noisy ones and other backgrounds, at the defaults, into large_images.jsonl.

    python doc/benchmarks/large_images.py --data data  # all that is missing
    python doc/benchmarks/large_images.py --table      # of what was run

"digits" are digits of MNIST at random places, in random sizes and contrasts, on 112 x 92 pixels;
"digits, cut out" are the same after `crop_to_objects`; "clothes" are images of Fashion-MNIST
enlarged to 224 x 224. Four more sets are digits of MNIST on 28 x 28 pixels, with values in [0, 1]:
"noisy" with Gaussian noise whose standard deviation is .3; "noisy, smoothed" are the same after a
Gaussian filter; "dark on white" are black digits on white; "different light" are .6 times the
digits, plus a number for each image between 0 and .4. 1000 images each. Fits train in float32, as
processors without bfloat16 do.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from records import OURS, done, keep, print_accuracies, provenance, timed
from scipy.ndimage import gaussian_filter
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score
from torch.nn.functional import interpolate

from skdeepcluster.datasets import crop_to_objects
from skdeepcluster.metrics import clustering_accuracy

RESULTS = Path(__file__).with_suffix(".jsonl")
SEEDS = range(3)
ROWS = 1000
ESTIMATORS = ("KMeans", *OURS)


def _some(folder, file):
    """Images (1000, 1, 28, 28) in [0, 1], and labels."""
    with np.load(folder / file) as archive:
        x, y = archive["x"], archive["y"]
    some = np.random.RandomState(0).permutation(len(x))[:ROWS]
    return torch.from_numpy(x[some][:, None] / np.float32(255)), y[some]


def digits(folder):
    x, y = _some(folder, "mnist.npz")
    rng, canvas = np.random.RandomState(0), np.zeros((ROWS, 1, 112, 92), dtype=np.float32)
    for image, picture in zip(x, canvas, strict=True):
        side, contrast = rng.randint(28, 65), rng.uniform(0.4, 1.0)
        top, left = rng.randint(112 - side + 1), rng.randint(92 - side + 1)
        enlarged = interpolate(image[None], (side, side), mode="bilinear", align_corners=False)
        picture[:, top : top + side, left : left + side] = contrast * enlarged[0].numpy()
    return canvas, y


def clothes(folder):
    x, y = _some(folder, "fashion_mnist.npz")
    return interpolate(x, (224, 224), mode="bilinear", align_corners=False).numpy(), y


def cut_out(folder):
    images, y = digits(folder)
    return crop_to_objects(images), y


def noise(folder):
    x, y = _some(folder, "mnist.npz")
    drawn = np.random.RandomState(0).normal(scale=0.3, size=x.shape)
    return x.numpy() + drawn.astype(np.float32), y


def smoothed(folder):
    images, y = noise(folder)
    return gaussian_filter(images, (0, 0, 1, 1)), y


def dark(folder):
    x, y = _some(folder, "mnist.npz")
    return 1 - x.numpy(), y


def light(folder):
    x, y = _some(folder, "mnist.npz")
    drawn = np.random.RandomState(0).uniform(0, 0.4, size=(ROWS, 1, 1, 1))
    return 0.6 * x.numpy() + drawn.astype(np.float32), y


SETS = {
    "digits": digits,
    "digits, cut out": cut_out,
    "clothes": clothes,
    "noisy": noise,
    "noisy, smoothed": smoothed,
    "dark on white": dark,
    "different light": light,
}


def run(name, estimator, seed, X, y):
    n_clusters = len(np.unique(y))
    if estimator == "KMeans":
        model, X = KMeans(n_clusters, n_init=10, random_state=seed), X.reshape(ROWS, -1)
    else:
        model = OURS[estimator](n_clusters, precision="32", random_state=seed)
    labels, fit = timed(model.fit_predict, X)
    return {
        "set": name,
        "estimator": estimator,
        "seed": seed,
        "acc": clustering_accuracy(y, labels),
        "nmi": normalized_mutual_info_score(y, labels),
        **fit,
        **provenance(),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--table", action="store_true", help="print the results, run nothing")
    options = parser.parse_args()
    if options.table:
        print_accuracies(done(RESULTS), SETS, ESTIMATORS)
        raise SystemExit
    for seed in SEEDS:
        for name, make in SETS.items():
            X, y = make(options.data)
            for estimator in ESTIMATORS:
                key = (name, estimator, seed)
                if key in [(r["set"], r["estimator"], r["seed"]) for r in done(RESULTS)]:
                    continue
                result = run(name, estimator, seed, X, y)
                keep(result, RESULTS)
                seconds = result["cpu_seconds"]
                print(*key, f"{result['acc']:.3f} {result['nmi']:.3f} {seconds:.0f} s", flush=True)
