"""README prints what it says, and links to files that are there."""

import contextlib
import io
import json
import re
from pathlib import Path

import pytest

from skdeepcluster import _dccs

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
REPOSITORY = "https://github.com/skdeepcluster/skdeepcluster/blob/main/"
PICTURES = "https://raw.githubusercontent.com/skdeepcluster/skdeepcluster/main/"


def words(text):
    """Words and numbers; cluster numbers as the place where each first occurs."""
    found = [float(w) if re.fullmatch(r"\d+\.\d+", w) else w for w in re.findall(r"[\w.]+", text)]
    clusters = [w for w in found if isinstance(w, str) and w.isdigit()]
    return [clusters.index(w) if w in clusters else w for w in found]


def test_the_code_prints_what_stands_below_it(monkeypatch):
    monkeypatch.setattr(_dccs, "_CLUSTER_UPDATES", 40)  # half of the time, the same two digits
    blocks = re.findall(r"```python\n(.*?)```\n+```\n(.*?)```", README, re.S)
    assert blocks
    for code, output in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, {})
        got, expected = words(printed.getvalue()), words(output)
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            # processors differ in bfloat16, and with it in the second digit of an accuracy
            assert one == (pytest.approx(other, abs=0.015) if isinstance(other, float) else other)


def test_links_lead_to_files():
    links = re.findall(r"(?:\]\(|src=\")(.*?)[)\"]", README)
    assert len(links) > 5
    for link in links:
        assert link.startswith((REPOSITORY, PICTURES)), f"{link} does not work on PyPI"
        assert (ROOT / link.removeprefix(REPOSITORY).removeprefix(PICTURES)).is_file()


SETS = {
    "USPS": "usps",
    "MNIST test set": "mnist_test",
    "optdigits": "optdigits",
    "digits": "digits",
    "COIL-20": "coil20_32",
    "Fashion, first 10 000": "fashion_10k",
    "R8, tf-idf": "r8",
    "20newsgroups, tf-idf": "20newsgroups",
}


def test_the_table_of_accuracies_is_what_was_measured():
    section = (ROOT / "doc" / "choosing.rst").read_text().split("Images and texts\n---")[1]
    table = section.split(".. list-table::")[1].split("\n\n* ")[0]
    rows = [re.findall(r"- (.*)", "- " + row) for row in table.split("   * - ")[1:]]
    measured = [
        json.loads(line)
        for line in (ROOT / "doc" / "benchmarks" / "accuracy.jsonl").read_text().splitlines()
    ]
    header, *rows = rows
    assert [row[0] for row in rows] == list(SETS)
    for name, *cells in rows:
        means = []
        for method in (name.replace(" |shy| ", "") for name in header[1:]):
            key = (SETS[name], method)
            runs = [r["acc"] for r in measured if (r["set"], r["configuration"]) == key]
            means.append(f"{sum(runs) / len(runs):.3f}"[1:])
        best = max(means)
        assert cells == [f"**{mean}**" if mean == best else mean for mean in means]
