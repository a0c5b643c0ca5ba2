"""The suite fits hundreds of tiny networks, which one thread does faster than two."""

import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch and scikit-learn are imported
os.environ.setdefault("MPLBACKEND", "Agg")  # pictures without a screen, also in docstrings

collect_ignore = ["conftest.py"]  # it has no examples, and doc has one of the same name


@pytest.fixture(autouse=True)
def _one_thread():
    """Bit-equality holds at an equal number of threads."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
