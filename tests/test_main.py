"""``python -m skdeepcluster`` prints a table and draws a picture."""

import re
import subprocess
import sys

import pytest

from skdeepcluster import __main__, _base, _dcec, _dmae, _dual_ae_spectral


@pytest.fixture
def quick(monkeypatch):
    for module in (_base, _dcec, _dmae, _dual_ae_spectral):
        budgets = [name for name in vars(module) if name.endswith("_UPDATES")]
        assert budgets
        for budget in budgets:
            monkeypatch.setattr(module, budget, 8)


def test_table_and_picture(quick, capsys, tmp_path):
    picture = tmp_path / "digits.png"
    __main__.main(["--output", str(picture), "--seed", "1"])
    out, err = capsys.readouterr()
    number = r"\s+0\.\d{3}"
    for name in ("KMeans", "SpectralClustering", "DCEC", "DMAE", "DualAESpectral"):
        assert re.search(rf"^{name}{number}{number}{number}\s+\d+\.\d$", out, re.MULTILINE)
    assert "DCEC" in err  # the progress bar
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert len(picture.read_bytes()) > 10_000


def test_says_what_is_missing_without_matplotlib(quick, capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    __main__.main(["--output", str(tmp_path / "digits.png")])
    assert 'pip install -c constraints.txt ".[plot]"' in capsys.readouterr().out
    assert not (tmp_path / "digits.png").exists()


def test_runs_as_a_module():
    command = [sys.executable, "-m", "skdeepcluster", "--help"]
    assert "clusters load_digits" in subprocess.run(
        command, capture_output=True, text=True, check=True
    ).stdout.replace("\n", " ")
