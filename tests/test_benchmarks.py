"""The data sets that doc/benchmarks fetches, without the network."""

import gzip
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.utils import Bunch

BENCHMARKS = Path(__file__).parents[1] / "doc" / "benchmarks"


@pytest.fixture
def fetch(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import fetch

    yield fetch
    del sys.modules["fetch"]


def test_images_from_openml(fetch, tmp_path, monkeypatch):
    digits = load_digits()
    asked = []

    def fetch_openml(name, version, as_frame):
        asked.append((name, version, as_frame))
        return Bunch(data=digits.data, target=(digits.target + 1).astype(str))

    monkeypatch.setattr(fetch, "fetch_openml", fetch_openml)
    fetch.from_openml(tmp_path / "optdigits.npz")
    assert asked == [("optdigits", 1, False)]
    with np.load(tmp_path / "optdigits.npz") as archive:
        np.testing.assert_array_equal(archive["x"], digits.images.astype(np.uint8), strict=True)
        np.testing.assert_array_equal(archive["y"], digits.target, strict=True)


def test_coil20(fetch, tmp_path, monkeypatch):
    image = pytest.importorskip("PIL.Image")
    pixels = np.kron(np.arange(1024, dtype=np.uint8).reshape(32, 32), np.ones((4, 4), np.uint8))
    with zipfile.ZipFile(tmp_path / "coil.zip", "w") as archive:
        for number, name in enumerate(["obj10__0", "obj2__1", "obj2__0"]):
            with archive.open(f"coil-20-proc/{name}.png", "w") as file:
                image.fromarray(pixels + np.uint8(number)).save(file, "PNG")
    monkeypatch.setattr(fetch, "COIL20", (tmp_path / "coil.zip").as_uri())
    fetch.coil20(tmp_path / "coil20_32.npz")
    with np.load(tmp_path / "coil20_32.npz") as archive:
        x, y = archive["x"], archive["y"]
    np.testing.assert_array_equal(y, [1, 1, 9])
    reduced = pixels[::4, ::4]
    expected = np.stack([reduced + np.uint8(n) for n in (2, 1, 0)])
    np.testing.assert_array_equal(x, expected, strict=True)


def test_battery(fetch, tmp_path, monkeypatch):
    (tmp_path / "wut").mkdir()
    lines = {"data": "1.5 2\n3 4\n", "labels0": "1\n2\n", "labels1": "0\n1\n"}
    for part, text in lines.items():
        (tmp_path / "wut" / f"x2.{part}.gz").write_bytes(gzip.compress(text.encode()))
    monkeypatch.setattr(fetch, "BATTERY", str(tmp_path))
    monkeypatch.setattr(fetch, "TABLES", {"wut": "x2"})
    fetch.battery(tmp_path / "battery.npz")
    with np.load(tmp_path / "battery.npz") as archive:
        assert sorted(archive.files) == ["wut/x2|X", "wut/x2|y0", "wut/x2|y1"]
        np.testing.assert_array_equal(archive["wut/x2|X"], [[1.5, 2.0], [3.0, 4.0]])
        np.testing.assert_array_equal(archive["wut/x2|y1"], [0, 1])


def test_no_path_leaves_the_repository():
    pages = [*BENCHMARKS.glob("*.py"), *BENCHMARKS.parent.glob("**/*.rst")]
    assert len(pages) > 30
    outside = [page.name for page in pages if "shared/" in page.read_text()]
    assert outside == []
