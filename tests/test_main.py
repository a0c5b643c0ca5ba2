"""``python -m skdeepcluster`` prints a table and draws a picture."""

import re
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import silhouette_score

from skdeepcluster import DCCS, __main__, _dccs, _dmae, _dual_ae_spectral
from skdeepcluster._engine import method


@pytest.fixture
def quick(monkeypatch):
    for module in (method, _dccs, _dmae, _dual_ae_spectral):
        budgets = [name for name in vars(module) if name.endswith("_UPDATES")]
        assert budgets
        for budget in budgets:
            monkeypatch.setattr(module, budget, 8)
    monkeypatch.setattr(__main__, "_DRAWN", 100)


@pytest.fixture
def panels(monkeypatch):
    """The panels of the pictures that are written."""
    drawn = []
    write = Figure.savefig

    def savefig(figure, *args, **kwargs):
        drawn.extend(figure.axes[:-1])  # the last one is the bar of colors
        write(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return drawn


def test_table_and_picture(quick, panels, capsys, tmp_path):
    picture = tmp_path / "digits.png"
    with pytest.warns(ConvergenceWarning, match="clearly worse|collapsed"):  # after so few updates
        __main__.main(["--output", str(picture), "--seed", "1"])
    out, err = capsys.readouterr()
    accuracies = {}
    deep = ("DCCS", "DCEC", "DMAE", "DualAESpectral")
    for name in ("KMeans", "SpectralClustering", *deep):
        row = rf"^{name}\s+(0\.\d{{3}})\s+0\.\d{{3}}\s+0\.\d{{3}}\s+\d+\.\d$"
        accuracies[name] = re.search(row, out, re.MULTILINE)[1]
    assert "DCEC" in err  # the progress bar
    assert f"Picture of the embeddings: {picture}\n" in out
    assert out.rstrip().endswith("help(skdeepcluster) says which estimator fits which data.")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert len(picture.read_bytes()) > 10_000
    assert [axes.get_title() for axes in panels] == [
        f"pixels: KMeans, ACC {accuracies['KMeans']}",
        *(f"{name}: ACC {accuracies[name]}" for name in deep),
    ]


def fitted(out):
    """The names in front of the rows of the table."""
    return re.findall(r"^(\w+) +\d\.\d{3} ", out, re.MULTILINE)


def test_only_fits_the_estimators_that_are_named(quick, panels, capsys, tmp_path):
    with pytest.warns(ConvergenceWarning, match="clearly worse|collapsed"):  # after so few updates
        __main__.main(["--only", "DCCS", "DCEC", "--output", str(tmp_path / "digits.png")])
    assert fitted(capsys.readouterr().out) == ["KMeans", "SpectralClustering", "DCCS", "DCEC"]
    assert len(panels) == 3


def test_only_names_what_is_allowed(capsys):
    with pytest.raises(SystemExit):
        __main__.main(["--only", "KMeans"])
    assert "choose from DCCS, DCEC, DMAE, DualAESpectral" in capsys.readouterr().err.replace(
        "'", ""
    )


def test_quick_fits_one_estimator_with_less_training(monkeypatch, panels, capsys, tmp_path):
    trained = []

    def fit_predict(model, X):
        trained.append(model.get_params())
        model.set_params(pretrain_epochs=1, max_epochs=1)
        return model.fit(X).labels_

    monkeypatch.setattr(DCCS, "fit_predict", fit_predict)
    monkeypatch.setattr(__main__, "_DRAWN", 100)
    __main__.main(["--quick", "--output", str(tmp_path / "digits.png")])
    out = capsys.readouterr().out
    assert fitted(out) == ["KMeans", "SpectralClustering", "DCCS"]
    assert (trained[0]["pretrain_epochs"], trained[0]["max_epochs"]) == (30, 15)
    assert "leave out --quick" in out
    assert len(panels) == 2


def test_picture_shows_clusters_in_orthogonal_directions(panels, tmp_path):
    y = np.arange(300) % 10
    embedding = np.eye(10)[y] + np.random.default_rng(0).normal(0, 0.1, (300, 10))
    __main__._draw({"spectral": embedding}, y, str(tmp_path / "digits.png"))
    (points,) = panels[0].collections
    # two principal components: 0.32
    assert silhouette_score(points.get_offsets(), points.get_array()) > 0.6


def test_says_what_is_missing_without_matplotlib(quick, capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.warns(ConvergenceWarning, match="clearly worse|collapsed"):  # after so few updates
        __main__.main(["--output", str(tmp_path / "digits.png")])
    assert 'pip install "skdeepcluster[plot]"' in capsys.readouterr().out
    assert not (tmp_path / "digits.png").exists()


def test_runs_as_a_module():
    command = [sys.executable, "-m", "skdeepcluster", "--help"]
    assert "clusters load_digits" in subprocess.run(
        command, capture_output=True, text=True, check=True
    ).stdout.replace("\n", " ")
