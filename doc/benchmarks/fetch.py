"""Fetch the public data sets of the benchmarks into a folder; a set that is there is left alone.

    python doc/benchmarks/fetch.py data
    python doc/benchmarks/accuracy.py --data data

The folder has these files. You can also make them yourself:

- mnist.npz, fashion_mnist.npz, optdigits.npz, usps.npz: `x`, the images, of shape
  (n_samples, height, width), uint8 or float32, the training part first, and `y`, the classes,
  int64 from 0. From OpenML.
- coil20_32.npz: the same, with the 128 x 128 pixels of COIL-20 averaged to 32 x 32. From Columbia
  University; needs Pillow.
- 20newsgroups_tfidf2000.npz: a CSR matrix in scipy's format with the tf-idf of the 2000 most
  frequent terms, and 20newsgroups_y.npy, the classes. From scikit-learn.
- battery.npz: for each table of Gagolewski's benchmark suite, `NAME|X` and the labellings
  `NAME|y0`, `NAME|y1`, ..., in which 0 is noise. From GitHub.

Three sets have no address where they can be fetched, and their rows cannot be repeated without
them: the R8 part of Reuters-21578 (r8_tfidf2000.npz and r8_y.npy, as the newsgroups), the
embeddings of its texts by all-MiniLM-L6-v2 (r8_minilm.npz) and EfficientNet-Lite0's features of
5000 test images of CIFAR-10 (cifar10_efflite0.npz). The last two have `x` of shape
(n_samples, n_features), and `y`.
"""

import argparse
import io
import zipfile
from itertools import count
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import scipy.sparse as sp
from sklearn.datasets import fetch_20newsgroups, fetch_openml
from sklearn.feature_extraction.text import TfidfVectorizer

OPENML = {  # file: name and version on OpenML, shape of an image, dtype
    "mnist": ("mnist_784", 1, (28, 28), np.uint8),
    "fashion_mnist": ("Fashion-MNIST", 1, (28, 28), np.uint8),
    "optdigits": ("optdigits", 1, (8, 8), np.uint8),
    "usps": ("usps", 2, (16, 16), np.float32),
}
COIL20 = "http://www.cs.columbia.edu/CAVE/databases/SLAM_coil-20_coil-100/coil-20/coil-20-proc.zip"
BATTERY = "https://github.com/gagolews/clustering-data-v1/raw/v1.1.0"
TABLES = {
    "fcps": "atom engytime lsun target wingnut",
    "graves": "fuzzyx parabolic ring zigzag",
    "other": "iris square",
    "sipu": "aggregation d31 flame jain s2 unbalance",
    "uci": "ecoli ionosphere wdbc yeast",
    "wut": "circles mk2 smile windows x2",
}


def from_openml(path):
    name, version, shape, dtype = OPENML[path.stem]
    bunch = fetch_openml(name, version=version, as_frame=False)
    y = bunch.target.astype(np.int64)
    # some count classes from 1
    np.savez_compressed(path, x=bunch.data.reshape(-1, *shape).astype(dtype), y=y - y.min())


def coil20(path):
    from PIL import Image

    images, y = [], []
    with urlopen(COIL20) as answer, zipfile.ZipFile(io.BytesIO(answer.read())) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(".png"):
                image = Image.open(io.BytesIO(archive.read(name))).convert("L")
                images.append(np.asarray(image.resize((32, 32), Image.Resampling.BOX)))
                y.append(int(Path(name).stem.split("__")[0].removeprefix("obj")) - 1)
    order = np.argsort(y, kind="stable")
    np.savez_compressed(path, x=np.stack(images)[order], y=np.array(y, dtype=np.int64)[order])


def newsgroups(path):
    texts = fetch_20newsgroups(subset="all", shuffle=False)
    vectorizer = TfidfVectorizer(max_features=2000, stop_words="english", sublinear_tf=True)
    X = vectorizer.fit_transform(texts.data).astype(np.float32)
    np.save(path.with_name("20newsgroups_y.npy"), texts.target.astype(np.int64))
    sp.save_npz(path, sp.csr_matrix(X))


def battery(path):
    arrays = {}
    for suite, tables in TABLES.items():
        for table in tables.split():
            source = f"{BATTERY}/{suite}/{table}"
            arrays[f"{suite}/{table}|X"] = np.loadtxt(f"{source}.data.gz", ndmin=2)
            for number in count():
                try:
                    labels = np.loadtxt(f"{source}.labels{number}.gz", dtype=np.int64)
                except FileNotFoundError:  # no further labelling
                    break
                arrays[f"{suite}/{table}|y{number}"] = labels
    np.savez_compressed(path, **arrays)


FILES = dict.fromkeys((f"{name}.npz" for name in OPENML), from_openml) | {
    "coil20_32.npz": coil20,
    "20newsgroups_tfidf2000.npz": newsgroups,
    "battery.npz": battery,
}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for file, fetch in FILES.items():
        if not (folder / file).exists():
            fetch(folder / file)
            print(folder / file, flush=True)
