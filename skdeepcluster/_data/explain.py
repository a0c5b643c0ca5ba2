"""Explain input that is not a matrix of numbers: what it is, and how to convert it."""

import datetime
from collections.abc import Iterable, Mapping
from numbers import Number
from pathlib import PurePath
from typing import Any

import numpy as np
import scipy.sparse as sp
from torch import Tensor

MISSING = (
    "Input X contains NaN.\nFill in missing values before clustering, for example with "
    "make_pipeline(SimpleImputer(), estimator), or drop the samples that have them. The page on "
    "tables in the user guide shows a pipeline that does so."
)
DATES = "Turn dates and times into numbers, for example into days since the first date."


def explain(X: Any) -> str:
    """What `X` holds instead of numbers, and the remedy; "" if it holds numbers only.

    Parameters
    ----------
    X : object
        What the user passed.

    Returns
    -------
    str
        One or two sentences about the first entry that is not a number.
    """
    fields = getattr(getattr(X, "dtype", None), "names", None)
    if fields:
        return (
            f"X is a record array with the fields {', '.join(fields)}. Pass "
            "numpy.lib.recfunctions.structured_to_unstructured(X)."
        )
    if isinstance(X, tuple) and len(X) == 2:
        return (
            "X is a tuple that is not an array. If it is a pair (data, labels), pass the data "
            "alone: X[0]."
        )
    cells = _cells(X)
    if cells.ndim == 0:
        return _explain_no_array(cells.item())
    columns = [cells] if cells.ndim == 1 else cells.reshape(len(cells), -1).T
    for number, column in enumerate(columns):
        for cell in column:
            if cell is not None and not isinstance(cell, Number | np.bool_):
                return _explain_column(cell, column, *_names(X, cells.ndim, number))
    return ""


def _cells(X: Any) -> np.ndarray:
    """The entries of `X` as Python objects; its items if they have different shapes."""
    try:
        np.asarray(X)  # fails on lists that are ragged
        return np.asarray(X, dtype=object)
    except (ValueError, TypeError, RuntimeError):
        return np.fromiter(X, dtype=object, count=len(X))


def _names(X: Any, ndim: int, number: int) -> tuple[str, str]:
    """A column of `X` in words, and as the user writes it."""
    name, code = "X", "X"
    if hasattr(type(X), "columns"):
        key = list(getattr(X, "column_names", X.columns))[number]
        name, code = f"Column {key!r} of X", f"X[{key!r}]"
    elif ndim == 2:
        name, code = f"Column {number} of X", f"X[:, {number}]"
    # items of pyarrow are not numbers for numpy
    return name, f"np.asarray({code})" if type(X).__module__.startswith("pyarrow") else code


def _explain_no_array(X: Any) -> str:
    """What an object is that numpy cannot read, and how to convert it to an array."""
    what = f"X is an object of type {type(X).__name__}, which numpy cannot read as an array."
    if isinstance(X, str | PurePath):
        return (
            f"X is {str(X)[:40]!r}, a single {type(X).__name__}. If it is a folder of pictures, "
            "read it first: X, files = skdeepcluster.datasets.load_images(X). Read files of numbers"
            " with numpy or pandas."
        )
    if isinstance(X, bytes):
        return _explain_text(X, "X", "X")
    if isinstance(X, Mapping):
        return f"{what} Pass pandas.DataFrame(X) if its values are the columns."
    if isinstance(X, Iterable):
        return f"{what} Collect the samples first: pass np.stack(list(X))."
    return f"{what} Pass an array with one sample in each row."


def _explain_column(cell: Any, column: np.ndarray, name: str, code: str) -> str:
    """What a column with `cell` in it holds, and how to convert it to numbers."""
    if type(cell).__name__ == "NAType":  # of pandas, which need not be installed
        return MISSING
    if isinstance(cell, str | bytes | PurePath):
        return _explain_text(cell, name, code)
    if isinstance(cell, Mapping):
        return f"{name} holds dictionaries. Make them columns: pandas.DataFrame(list({code}))."
    if isinstance(cell, datetime.date | datetime.time | datetime.timedelta):
        return f"{name} holds objects of type {type(cell).__name__}. {DATES}"
    if sp.issparse(cell):
        return f"{name} holds sparse arrays. Join them: pass scipy.sparse.vstack(list({code}))."
    shapes = list(dict.fromkeys(map(_shape, column)))
    if shapes == [()]:
        return f"{name} holds objects of type {type(cell).__name__}, which are not numbers."
    stacked = f"torch.stack(list({code}))" if isinstance(cell, Tensor) else f"np.stack({code})"
    if len(shapes) > 1 or None in shapes:
        some = " and ".join("a ragged list" if s is None else str(s) for s in shapes[:2])
        return (
            f"{name} holds samples of different shapes, for example {some}. All samples must have "
            "the same shape: resize or crop images, pad or average sequences, drop missing "
            f"samples, then pass {stacked}."
        )
    other = "" if name == "X" else " Use np.column_stack to join the result with other columns."
    return (
        f"{name} holds one {type(cell).__name__} of shape {shapes[0]} in each row. Make one array "
        f"of them: pass {stacked}.{other}"
    )


def _shape(cell: Any) -> tuple[int, ...] | None:
    """Shape of an entry, () for one value, None if its own items have different shapes."""
    try:
        return tuple(np.shape(cell))
    except ValueError:
        return None


def _explain_text(cell: str | bytes | PurePath, name: str, code: str) -> str:
    """What text holds: numbers, vectors or words, and how to convert it to numbers."""
    text = cell.decode(errors="replace") if isinstance(cell, bytes) else str(cell)
    begin = f"{name} holds text, for example {text[:40]!r}."
    numbers = text.strip("[]() \n").replace(",", " ").split()
    try:
        count = len([float(number) for number in numbers])
    except ValueError:
        count = 0
    if count == 1:
        return f"{begin} Turn it into numbers: pass np.asarray(X, dtype=float)."
    if count > 1:
        separator = "," if "," in text else " "
        return (
            f"{begin} These are vectors that were saved as text. Read them back: pass np.stack("
            f'[np.fromstring(text.strip("[]()"), sep="{separator}") for text in {code}]).'
        )
    return (
        f"{begin} Convert X to numbers first: categories with OneHotEncoder, texts with "
        "TfidfVectorizer in a pipeline, both from scikit-learn; read files into arrays, for "
        "example pictures with skdeepcluster.datasets.load_images(folder). The page on tables in "
        "the user guide shows a pipeline for categories."
    )
