"""The code of the pages runs as doctests; the examples run when the pages are built."""

import pytest

collect_ignore_glob = ["*.py", "_build/*", "auto_examples/*", "benchmarks/*", "examples/*"]
collect_ignore_glob += ["generated/*"]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    """What pages write goes there."""
    monkeypatch.chdir(tmp_path)
