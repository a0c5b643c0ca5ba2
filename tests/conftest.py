"""The suite fits hundreds of tiny networks, which one thread does faster than two."""

import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch and scikit-learn are imported
os.environ.setdefault("MPLBACKEND", "Agg")  # pictures without a screen, also in docstrings

collect_ignore = ["conftest.py"]  # it has no examples, and doc has one of the same name


@pytest.fixture(autouse=True)
def _the_same_in_every_run():
    """Bit-equality needs one number of threads; networks that a test builds draw their weights."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)
