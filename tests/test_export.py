"""Exported graphs give the labels of the estimator, for any number of samples."""

import numpy as np
import onnxruntime
import pytest
import torch
from _instances import ESTIMATORS, digits, small
from sklearn.cluster import KMeans
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skdeepcluster import DCCS, DCEC, DMAE, DualAESpectral, export_onnx, export_torch

X = digits()[0].astype(np.float32)
DATA = {
    "vectors": (X, {}),
    "images": (X.reshape(-1, 1, 8, 8), {}),
    "images in different light": (
        np.pad(X.reshape(-1, 1, 8, 8), [(0, 0), (0, 0), (2, 2), (2, 2)])
        + np.arange(len(X))[:, None, None, None] % 7,
        {},
    ),
    "larger images": (np.kron(X.reshape(-1, 1, 8, 8), np.ones((3, 4))), {"max_pixels": 400}),
}
CASES = [
    *[pytest.param(e, "vectors", {}, id=f"{e.__name__}, vectors") for e in ESTIMATORS],
    *[pytest.param(e, "images", {}, id=f"{e.__name__}, images") for e in (DCCS, DualAESpectral)],
    pytest.param(DCEC, "larger images", {}, id="DCEC, larger images"),
    pytest.param(DCCS, "images in different light", {}, id="DCCS, images in different light"),
    pytest.param(DMAE, "vectors", {"architecture": None, "augmentation": None}, id="DMM"),
]


def fitted(estimator, name, parameters):
    data, shape = DATA[name]
    data = data.astype(np.float32)
    return small(estimator, n_clusters=4, random_state=0, **shape, **parameters).fit(data), data


@pytest.mark.parametrize(("estimator", "name", "parameters"), CASES)
def test_onnxruntime_gives_the_same_answers(estimator, name, parameters, tmp_path, capfd):
    model, data = fitted(estimator, name, parameters)
    export_onnx(model, tmp_path / "model.onnx")
    assert capfd.readouterr() == ("", "")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for some in (data, data[:1], data[:7]):
        labels, responsibilities, embedding = session.run(None, {"X": some})
        assert labels.tolist() == model.predict(some).tolist()
        np.testing.assert_allclose(responsibilities, model.predict_proba(some), atol=1e-4)
        np.testing.assert_allclose(embedding, model.transform(some), rtol=1e-3, atol=1e-4)


def test_an_exported_program_gives_the_same_answers(tmp_path):
    model, data = fitted(DMAE, "images", {})
    before = {name: value.clone() for name, value in model.module_.state_dict().items()}
    torch.export.save(export_torch(model), tmp_path / "model.pt2")
    program = torch.export.load(tmp_path / "model.pt2").module()
    for some in (data, data[:1]):
        labels, responsibilities, _ = program(torch.from_numpy(some))
        assert labels.tolist() == model.predict(some).tolist()
        np.testing.assert_allclose(
            responsibilities.detach().numpy(), model.predict_proba(some), atol=1e-4
        )
    for name, value in model.module_.state_dict().items():
        assert torch.equal(value, before[name])


def test_an_estimator_that_is_not_fitted_is_refused(tmp_path):
    with pytest.raises(NotFittedError):
        export_onnx(DCEC(3), tmp_path / "model.onnx")


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("skdeepcluster._export.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"export_onnx needs onnxscript: .*skdeepcluster\[onnx\]"):
        export_onnx(DCEC(3), tmp_path / "model.onnx")


def test_an_old_onnxscript_is_named(tmp_path, monkeypatch):
    def export(*args, **kwargs):
        raise ModuleNotFoundError("No module named 'onnxscript._framework_apis.torch_2_11'")

    monkeypatch.setattr(torch.onnx, "export", export)
    model, _ = fitted(DCEC, "vectors", {})
    with pytest.raises(ImportError, match=r"pip install --upgrade onnx onnxscript.*torch_2_11"):
        export_onnx(model, tmp_path / "model.onnx")


class OwnNetwork(torch.nn.Module):
    """It asks for the values of a sample, which a graph does not know."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(64, 4)

    def forward(self, x):
        return self.layer(x if float(x.detach().sum()) < 1e9 else -x)


@pytest.mark.parametrize(
    "model", [KMeans(), make_pipeline(StandardScaler(), DCEC())], ids=["KMeans", "pipeline"]
)
def test_the_export_takes_only_estimators_of_this_kind(model):
    with pytest.raises(TypeError, match=r"not (KMeans|Pipeline)\. For a pipeline pass its last"):
        export_torch(model)


def test_a_network_that_cannot_be_exported_is_refused(tmp_path):
    pair = OwnNetwork(), torch.nn.Linear(4, 64)
    model, _ = fitted(DCEC, "vectors", {"architecture": pair, "n_components": 4})
    with pytest.raises(ValueError, match="torch cannot export the network of this DCEC"):
        export_onnx(model, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()
