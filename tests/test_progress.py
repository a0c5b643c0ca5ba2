"""What a fit shows, wherever its output goes."""

import io
import sys

import numpy as np
import pytest
from sklearn.datasets import make_blobs

import skdeepcluster
from skdeepcluster import DCEC
from skdeepcluster._engine import progress as module
from skdeepcluster._engine.progress import Progress

X = make_blobs(40, centers=3, n_features=4, random_state=0)[0]
TINY = {"init": "k-means", "n_init": 1, "pretrain_epochs": 2, "max_epochs": 2, "random_state": 0}


class OnlyWrite:
    """A stream as loggers replace it: neither isatty nor flush."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text


class Terminal(io.StringIO):
    def isatty(self):
        return True


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


STREAMS = {"None": lambda: None, "only write": OnlyWrite, "file": io.StringIO, "closed": closed}


def progress_of(verbose):
    """A training of 4 epochs of which 1 was done before, 2 run and 1 is skipped."""
    progress = Progress(verbose, "Toy", 3)
    progress.go_on(4, 1)
    for epoch in (2, 3):
        progress.epoch({"phase": "train", "epoch": epoch, "loss": 0.25, "label_change": np.nan})
    progress.skip(1)
    progress.close()
    return progress


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("verbose", [0, 1, 2])
def test_any_stderr_will_do(stream, verbose, monkeypatch):
    expected = DCEC(3, **TINY).fit(X)
    monkeypatch.setattr(sys, "stderr", STREAMS[stream]())
    model = DCEC(3, verbose=verbose, **TINY).fit(X)
    np.testing.assert_array_equal(model.transform(X), expected.transform(X))


@pytest.mark.parametrize("name", ["DCEC", "DMAE", "DualAESpectral", "DCCS"])
@pytest.mark.parametrize("verbose", [0, 1, 2])
def test_every_estimator_fits_without_streams(name, verbose, monkeypatch):
    for stream in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, stream, None)
    estimator = getattr(skdeepcluster, name)
    budget = {"n_init": 1, "pretrain_epochs": 8, "max_epochs": 2, "random_state": 0}
    model = estimator(3, verbose=verbose, **budget).fit(X)
    assert model.labels_.shape == (40,)


@pytest.mark.parametrize("stream", ["None", "only write"])
@pytest.mark.parametrize("verbose", [1, 2])
def test_any_stdout_will_do(stream, verbose, monkeypatch):
    out = STREAMS[stream]()
    monkeypatch.setattr(sys, "stdout", out)
    progress_of(verbose)
    if stream == "only write":
        lines = "Toy train epoch 2: loss=0.25\nToy train epoch 3: loss=0.25\n"
        assert out.text == (lines if verbose == 2 else "")


def test_nothing_is_shown_at_verbose_0(capfd, monkeypatch):
    err = OnlyWrite()
    monkeypatch.setattr(sys, "stderr", err)
    progress_of(0).tell("a text")
    DCEC(3, verbose=0, **TINY).fit(X)
    assert capfd.readouterr() == ("", "")
    assert err.text == ""


@pytest.mark.parametrize("verbose", [0, 2])
def test_no_bar_is_made_where_none_is_shown(verbose, monkeypatch):
    monkeypatch.setattr(module.tqdm, "__new__", lambda *args, **kwargs: pytest.fail("a bar"))
    assert progress_of(verbose).bar is None


def test_a_line_per_epoch(capsys):
    DCEC(3, verbose=2, **TINY).fit(X)
    settings, *lines = capsys.readouterr().out.splitlines()
    assert settings.startswith("DCEC settings: ")
    assert " pretrain_epochs=2," in settings
    assert " max_epochs=2," in settings
    assert [line.split(":")[0] for line in lines] == [
        "DCEC pretrain epoch 1",
        "DCEC pretrain epoch 2",
        "DCEC cluster epoch 1",
        "DCEC cluster epoch 2",
    ]
    assert all(" reconstruction=" in line for line in lines)


@pytest.mark.parametrize("make", [OnlyWrite, io.StringIO, Terminal])
def test_the_bar_counts_the_epochs(make, monkeypatch):
    err = make()
    monkeypatch.setattr(sys, "stderr", err)
    progress = progress_of(1)
    assert (progress.bar.n, progress.bar.total) == (3, 3)
    text = err.text if isinstance(err, OnlyWrite) else err.getvalue()
    assert "Toy train: 100%" in text
    assert "3/3" in text
    assert "loss=0.25" in text


@pytest.mark.parametrize(("make", "seconds"), [(Terminal, 0.1), (io.StringIO, 10.0)])
def test_a_file_gets_few_lines(make, seconds, monkeypatch):
    monkeypatch.setattr(sys, "stderr", make())
    progress = Progress(1, "Toy", 3)
    assert progress.bar.mininterval == seconds
    progress.close()


def test_a_text_is_written_above_the_bar(capsys):
    progress = Progress(1, "Toy", 3)
    progress.tell("a text")
    progress.close()
    assert capsys.readouterr().out == "Toy a text\n"
