"""
Texts: a pipeline from strings to clusters
==========================================

The help texts of the functions of six packages of SciPy, about a thousand, are real texts that
every installation has. Is the package that a function comes from found again from the words alone?

A sparse matrix of tf-idf weights goes straight into the estimator; less than 5 % of its entries
are not zero, by which the estimator knows bags of words and pretrains by hiding half of the words.
"""

import importlib
import inspect

import matplotlib.pyplot as plt
import numpy as np
from sklearn.cluster import KMeans
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import confusion_matrix, normalized_mutual_info_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from skdeepcluster import DMAE
from skdeepcluster.metrics import clustering_accuracy

packages = ["linalg", "ndimage", "optimize", "signal", "special", "stats"]
texts = {}
for package in packages:
    module = importlib.import_module(f"scipy.{package}")
    for name in module.__all__:
        text = inspect.getdoc(getattr(module, name)) or ""
        if len(text.split()) > 20:
            texts.setdefault(text, package)
documents, y = list(texts), np.array(list(texts.values()))


def words():
    """Vectorizer of the texts."""
    return TfidfVectorizer(
        max_features=1500,
        max_df=0.5,
        stop_words="english",
        sublinear_tf=True,
        token_pattern=r"\b[a-z]{3,}\b",
    )


pipelines = {
    "KMeans": make_pipeline(words(), KMeans(6, n_init=10, random_state=0)),
    "SVD, KMeans": make_pipeline(
        words(),
        TruncatedSVD(10, random_state=0),
        Normalizer(),
        KMeans(6, n_init=10, random_state=0),
    ),
    # shorter than by default, for these pages
    "DMAE": make_pipeline(words(), DMAE(6, pretrain_epochs=100, n_init=1, random_state=0)),
}
print(f"{len(documents)} texts")
for name, pipeline in pipelines.items():
    labels = pipeline.fit_predict(documents)
    accuracy = clustering_accuracy(y, labels)
    information = normalized_mutual_info_score(y, labels)
    print(f"{name:12} accuracy {accuracy:.3f}, normalised mutual information {information:.3f}")

# %%
# KMeans on the words is behind. KMeans on ten singular directions takes a fraction of a second
# and is as good as the network: a thousand texts are few to learn from. Of larger sets, where
# the network was ahead of KMeans on the words, :doc:`/benchmarks/results` tells.

# %%
# What the clusters are about
# ---------------------------
# ``inverse_transform`` gives a prototype in the units of the columns: a weight for each word.

vectorizer, model = pipelines["DMAE"].named_steps.values()
vocabulary = vectorizer.get_feature_names_out()
usual = model.inverse_transform(model.cluster_centers_).mean(axis=0)
for label, prototype in enumerate(model.inverse_transform(model.cluster_centers_)):
    top = (prototype - usual).argsort()[::-1][:7]
    print(label, ", ".join(vocabulary[top]))

# %%
# Which package is in which cluster
# ---------------------------------
# Large packages are cut in parts and small ones joined. Another seed gives another partition: on
# texts compare a few values of ``random_state``, and look at the words before believing a
# cluster.

table = confusion_matrix(np.searchsorted(packages, y), model.labels_)[:6]
figure, panel = plt.subplots(figsize=(5, 4), layout="constrained")
panel.imshow(table, cmap="Blues")
for (row, column), count in np.ndenumerate(table):
    panel.text(column, row, count, ha="center", va="center", color="gray")
panel.set(yticks=range(6), yticklabels=packages, xticks=range(6), xlabel="cluster")

plt.show()
