"""DCCS: what its paper and its documentation say."""

import copy
import functools
import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from _instances import BatchNormPair, digits, plan_of, small
from scipy import sparse
from sklearn.datasets import load_digits, make_blobs
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score
from skorch.callbacks import Callback
from torch import nn

from skdeepcluster import DCCS, _dccs
from skdeepcluster._data.rows import Rows
from skdeepcluster._data.scaling import Scaler
from skdeepcluster._engine import trainer as training
from skdeepcluster._engine.method import affine
from skdeepcluster._engine.phases import Batch, Run
from skdeepcluster._engine.plan import Data, make_plan
from skdeepcluster._start.neighbors import nearest_neighbors
from skdeepcluster.augment import random_crop, random_photo
from skdeepcluster.functional import softmax_divergence
from skdeepcluster.metrics import clustering_accuracy
from skdeepcluster.nn import (
    CategoryStyleNetwork,
    Critic,
    FeatureEncoder,
    Grayscale,
    ResidualBlock,
    Sobel,
    category_style_autoencoder,
    mlp_autoencoder,
)

# a few sums of float32 products of the order of 1
FLOAT32 = {"rtol": 1e-5, "atol": 1e-6}
IMAGES = {"image_shape": (8, 8)}
# table 5 of the paper
ABLATION = {
    "M1": {"mutual_information": None, "augmentation_weight": 0.0},
    "M2": {"augmentation_weight": 0.0},
    "M3": {"mutual_information": None},
    "M4": {},
}
# without the term that the paper does not have, and from nothing
PURE = {"balance_weight": 0.0, "init": None}


def dccs(**parameters):
    quick = {"init": "k-means", "pretrain_epochs": 2, "max_epochs": 3, "tol": 0.0}
    return small(DCCS, **{"n_clusters": 4, "random_state": 0, **quick, **parameters})


def fit(X=None, **parameters):
    """Fitted on digits; that so short a training may leave clusters empty is not at issue."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return dccs(**parameters).fit(digits()[0] if X is None else X)


@functools.cache
def fitted(images=False):
    """Not to be changed."""
    return fit(**(IMAGES if images else {}))


def scaled(model, X):
    return torch.from_numpy(model._model.plan.scaler(X)).view(-1, *(model.image_shape_ or (64,)))


def run_of(model, module, rows=None, seed=0):
    """A training of a module with the settings of a fitted estimator."""
    return Run(module, rows, model._model.plan, generator=generator(seed))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def photos(n=12, side=8, channels=3):
    return np.random.default_rng(0).uniform(size=(n, channels, side, side)).astype(np.float32)


class At(Callback):
    """Calls a function at an event of training."""

    def __init__(self, event, action):
        setattr(self, event, lambda net, **kwargs: action(net))


class Epochs(Callback):
    """The phase of each epoch."""

    def __init__(self):
        self.phases = []

    def on_epoch_end(self, net, **kwargs):
        self.phases.append(net.phase.name)


# ---------------------------------------------------------------- equations, by hand

K, STYLE, FEATURES, N = 3, 2, 4, 6
# each term has a weight of its own, so that none is mistaken for another
WEIGHTS = {
    "information_weight": 0.3,
    "adversarial_weight": 0.7,
    "augmentation_weight": 1.3,
    "balance_weight": 1.7,
    "gradient_penalty": 5.0,
}


def tiny(style_length=None, discriminator=True, **parameters):
    """A training of linear networks with 4 features, 3 categories and 2 styles."""
    torch.manual_seed(0)
    module = CategoryStyleNetwork(
        nn.Linear(FEATURES, K + STYLE),
        nn.Linear(K + STYLE, FEATURES),
        Critic(K + STYLE, (6, 5)),
        Critic(FEATURES + K + STYLE, (6,)) if discriminator else None,
        torch.tensor([0.5, 0.3, 0.2]),
        style_length=style_length,
    )
    model = DCCS(K, n_components=STYLE, **{**WEIGHTS, **parameters})
    return Run(module, None, plan_of(model, samples()), generator=generator())


def represent(run, x, augment=lambda x: x):
    """The losses of the encoder's step."""
    return _dccs._represent(run.module, Batch(x, {}, augment, run))


def samples():
    return torch.randn(N, FEATURES, generator=generator(1))


def shifted(x):
    return 0.5 * x + 0.3


def softmax(a):
    e = np.exp(a - a.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def scores_and_slopes(critic, z):
    """Of an MLP with leaky rectifiers, and the gradient at each row of z."""
    *hidden, last = [m for m in critic.layers if isinstance(m, nn.Linear)]
    slope = np.eye(z.shape[1])[None].repeat(len(z), axis=0)
    for layer in hidden:
        weight, bias = (p.detach().numpy() for p in (layer.weight, layer.bias))
        z = z @ weight.T + bias
        slope = slope @ weight.T * np.where(z > 0, 1, 0.2)[:, None]
        z = np.where(z > 0, z, 0.2 * z)
    weight, bias = (p.detach().numpy() for p in (last.weight, last.bias))
    return (z @ weight.T + bias)[:, 0], (slope @ weight.T)[..., 0]


def embeddings(module, x):
    """Categories and styles side by side."""
    weight, bias = (p.detach().numpy() for p in module.encoder.parameters())
    outputs = x.astype(float) @ weight.T + bias
    return np.hstack([softmax(outputs[:, :K]), outputs[:, K:]])


def test_the_critic_s_loss_is_equation_14(monkeypatch):
    run = tiny()
    module, x = run.module, samples()
    drawn = torch.eye(K + STYLE)[[0, 1, 2, 0, 1, 2]] + 0.1
    monkeypatch.setattr(_dccs, "_draw_prior", lambda module, run, n: drawn[:n])
    mix = torch.rand(N, 1, generator=generator(3)).numpy()
    run.generator.manual_seed(3)
    losses = _dccs._criticise(module, Batch(x, {}, lambda x: x, run))
    assert list(losses) == ["critic", "penalty"]
    z = embeddings(module, x.numpy())
    prior = drawn.numpy()
    between = prior + mix * (z - prior)
    _, slopes = scores_and_slopes(module.critic, between)
    penalty = np.square(np.linalg.norm(slopes, axis=1) - 1).mean()
    gap = scores_and_slopes(module.critic, z)[0].mean()
    gap -= scores_and_slopes(module.critic, prior)[0].mean()
    np.testing.assert_allclose(losses["critic"].item(), 0.7 * gap, **FLOAT32)
    np.testing.assert_allclose(losses["penalty"].item(), 0.7 * 5.0 * penalty, **FLOAT32)
    # the encoder is not the critic's to change
    sum(losses.values()).backward()
    assert all(p.grad is None for p in module.encoder.parameters())
    assert all(p.grad is not None for p in module.critic.parameters())


@pytest.mark.parametrize("mutual_information", ["discriminator", "decoder", None])
def test_the_encoder_s_loss_is_equation_12(mutual_information):
    by_pairs = mutual_information == "discriminator"
    run = tiny(discriminator=by_pairs, mutual_information=mutual_information)
    module, x = run.module, samples()
    losses = represent(run, x, augment=shifted)
    z = embeddings(module, x.numpy())
    q = z[:, :K]
    other = embeddings(module, shifted(x).numpy())[:, :K]
    prior = module.prior.numpy()
    weight, bias = (p.detach().numpy() for p in module.decoder.parameters())
    error = np.square(z @ weight.T + bias - x.numpy()).mean()
    expected = {
        "adversarial": -0.7 * scores_and_slopes(module.critic, z)[0].mean(),
        "augmentation": 1.3 * (q * np.log(q / other)).sum(axis=1).mean(),
        "balance": 1.7 * (q.mean(axis=0) * np.log(q.mean(axis=0) / prior)).sum(),
        "uncertainty": -1.7 * (q * np.log(q)).sum(axis=1).mean(),
        "reconstruction": error * (0.3 if mutual_information == "decoder" else 1.0),
    }
    if by_pairs:
        joint, apart = (
            scores_and_slopes(module.discriminator, np.hstack([x.numpy(), pair]))[0]
            for pair in (z, np.roll(z, 1, axis=0))
        )
        both = np.log1p(np.exp(-joint)).mean() + np.log1p(np.exp(apart)).mean()
        expected["information"] = 0.3 * both / 2
    assert set(losses) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(losses[name].item(), value, err_msg=name, **FLOAT32)


@pytest.mark.parametrize("mutual_information", ["discriminator", "decoder", None])
def test_the_decoder_tells_the_encoder_only_where_it_is_the_mutual_information(mutual_information):
    run = tiny(mutual_information=mutual_information)
    represent(run, samples())["reconstruction"].backward()
    reached = run.module.encoder.weight.grad is not None
    assert reached == (mutual_information == "decoder")
    assert run.module.decoder.weight.grad.abs().max() > 0


def test_a_decoder_of_no_weight_still_learns():
    run = tiny(mutual_information="decoder", information_weight=0.0)
    represent(run, samples())["reconstruction"].backward()
    assert run.module.encoder.weight.grad is None
    assert run.module.decoder.weight.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("term", "parts"),
    [
        ("adversarial", {"encoder", "critic"}),
        ("information", {"encoder", "discriminator"}),
        ("augmentation", {"encoder"}),
        ("balance", {"encoder"}),
        ("uncertainty", {"encoder"}),
    ],
)
def test_what_each_term_has_gradients_of(term, parts):
    run = tiny()
    represent(run, samples(), augment=shifted)[term].backward()
    reached = {
        name.split(".")[0] for name, p in run.module.named_parameters() if p.grad is not None
    }
    assert reached == parts


def test_the_divergence_of_the_same_view_is_zero():
    """Acceptance check 2 of the specification: nothing random, and no batch statistics."""
    model = fitted()
    x = scaled(model, digits()[0])
    module = copy.deepcopy(model.module_).eval()
    run = run_of(model, module)
    loss = represent(run, x)["augmentation"]
    assert loss.item() == 0.0
    module.zero_grad()
    loss.backward()
    gradients = [p.grad for p in module.encoder.parameters() if p.grad is not None]
    assert max(gradient.abs().max() for gradient in gradients) < 1e-6
    # another view has some
    assert represent(run, x, augment=shifted)["augmentation"] > 1e-3


def test_pairs_apart_are_never_of_one_sample():
    run = tiny()
    module, seen = run.module, []
    module.discriminator.register_forward_pre_hook(lambda m, inputs: seen.append(inputs[0]))
    x = samples()
    represent(run, x)
    (pairs,) = seen
    features, z = pairs[:, :FEATURES], pairs[:, FEATURES:]
    torch.testing.assert_close(features, torch.cat([x, x]))
    own = module.embed(x)
    torch.testing.assert_close(z[:N], own)
    assert ((z[N:] - own).abs().amax(dim=1) > 1e-3).all()
    # each takes part once: the product of the two marginals
    torch.testing.assert_close(z[N:].sort(dim=0).values, own.sort(dim=0).values)


def drawn_from(prior, width, n):
    """Draws from a prior, with styles of this width."""
    encoder, decoder = mlp_autoencoder((4,), len(prior) + width, (5,))
    critic = Critic(len(prior) + width, (4,))
    module = CategoryStyleNetwork(encoder, decoder, critic, None, prior)
    plan = plan_of(DCCS(len(prior), n_components=width), samples())
    return _dccs._draw_prior(module, Run(module, None, plan, generator=generator()), n)


def test_draws_from_the_prior():
    """One-hot categories of the probabilities asked for, and small Gaussian styles."""
    prior = torch.tensor([0.6, 0.3, 0.1])
    n = 20_000
    category, style = drawn_from(prior, 50, n).split([3, 50], dim=1)
    assert torch.equal(category.sum(dim=1), torch.ones(n))
    assert set(category.unique().tolist()) == {0.0, 1.0}
    deviation = (prior * (1 - prior) / n).sqrt()
    assert ((category.mean(dim=0) - prior).abs() < 5 * deviation).all()
    assert float(style.std()) == pytest.approx(0.1, rel=0.02)  # the paper's, of its 50 styles
    assert float(style.mean()) == pytest.approx(0.0, abs=5 * 0.1 / 1e3)
    assert float(style.norm(dim=1).mean()) == pytest.approx(0.7, rel=0.01)
    # independent of each other
    assert np.abs(np.corrcoef(style.T)[np.triu_indices(50, 1)]).max() < 0.04


@pytest.mark.parametrize("width", [1, 5, 200])
def test_styles_have_one_length_whatever_their_number(width):
    style = drawn_from(torch.ones(2) / 2, width, 20_000)[:, 2:]
    assert float(style.square().sum(dim=1).mean()) == pytest.approx(0.49, rel=0.05)


# ---------------------------------------------------------------- training, as it is run


class Steps(Callback):
    """Which step each batch of the cluster phase took, and what it changed."""

    def __init__(self):
        self.names, self.changed, self.buffers = [], [], []
        self.epochs = 0

    def on_epoch_begin(self, net, **kwargs):
        self.epochs += net.phase.name == "cluster"

    def on_batch_begin(self, net, **kwargs):
        module = net.module_
        self.before = copy.deepcopy(dict(module.named_parameters()))
        self.before_buffers = copy.deepcopy(dict(module.named_buffers()))

    def on_batch_end(self, net, **kwargs):
        if net.phase.name != "cluster":
            return
        self.names.append(net.step_.name)
        for now, before, found in (
            (net.module_.named_parameters(), self.before, self.changed),
            (net.module_.named_buffers(), self.before_buffers, self.buffers),
        ):
            moved = {k.split(".")[0] for k, v in now if not torch.equal(v, before[k])}
            found.append(moved)


@pytest.mark.parametrize("n_critic", [1, 3])
def test_critic_and_encoder_take_turns_over_epochs_and_leave_each_other_alone(n_critic):
    """Acceptance checks 5 and 6, by 5 batches an epoch."""
    steps = Steps()
    model = fit(n_critic=n_critic, max_epochs=7, callbacks=[steps])
    assert not any("collapsed" in row for row in model.history_)
    turn = [*["critic"] * n_critic, "encoder"]
    assert steps.epochs == 7
    assert steps.names == list(itertools.islice(itertools.cycle(turn), 35))
    own = {"critic": {"critic"}, "encoder": {"encoder", "decoder", "discriminator"}}
    assert all(moved == own[name] for name, moved in zip(steps.names, steps.changed, strict=True))
    # the critic sees embeddings by batch statistics, as the encoder's step does
    assert all("encoder" in moved for moved in steps.buffers)


def test_the_critic_sees_the_encoder_in_train_mode(monkeypatch):
    seen = []

    class Inputs(Callback):
        def on_batch_begin(self, net, batch=None, **kwargs):
            self.z = None
            if net.phase.name == "cluster":
                twin = copy.deepcopy(net.module_).train()
                with torch.no_grad():
                    self.z = twin.embed(batch.x)
                    self.quiet = twin.eval().embed(batch.x)
                    self.critic = net.module_.critic

    inputs = Inputs()
    criticise = _dccs._criticise

    def recorded(module, batch):
        hook = module.critic.register_forward_pre_hook(lambda m, args: seen.append(args[0]))
        losses = criticise(module, batch)
        hook.remove()
        assert torch.equal(seen[-2][: len(batch)], inputs.z)
        assert not torch.allclose(seen[-2][: len(batch)], inputs.quiet, atol=1e-3)
        return losses

    monkeypatch.setattr(_dccs, "_criticise", recorded)
    dccs(callbacks=[inputs], precision="32").fit(digits()[0])
    assert len(seen) > 0


def test_every_batch_of_the_cluster_phase_is_whole_and_fresh():
    sizes = []

    class Sizes(Callback):
        def on_batch_begin(self, net, batch=None, **kwargs):
            if net.phase.name == "cluster":
                sizes.append(len(batch))

    fit(callbacks=[Sizes()], max_epochs=2)
    assert sizes == [16] * 10  # 82 samples


def test_adam_has_the_betas_of_the_paper():
    seen = {}

    def look(net):
        for step in net.phase.steps:
            (group,) = net.optimizer_of(step).param_groups
            seen[net.phase.name, step.name] = group["betas"]

    fit(callbacks=[At("on_train_begin", look)])
    assert seen["cluster", "critic"] == seen["cluster", "encoder"] == (0.5, 0.9)


@pytest.mark.parametrize(
    ("n", "batch_size", "n_critic"),
    [(1000, 128, 4), (1000, 128, 1), (100, 128, 4), (70_000, 64, 2)],
)
@pytest.mark.parametrize("adversarial_weight", [1.0, 0.0])
def test_the_default_budget_is_of_updates_of_the_encoder(
    n, batch_size, n_critic, adversarial_weight
):
    model = DCCS(batch_size=batch_size, n_critic=n_critic, adversarial_weight=adversarial_weight)
    data, given = Data("vectors", n, 64, None), model._given()
    scaler = Scaler("none", np.zeros(1), np.ones(1))
    plan = make_plan(data, given, DCCS.defaults(data, given), scaler)
    pretrain, imitate, cluster = DCCS.make_phases(plan)
    an_epoch = max(math.ceil(n / batch_size), 3)
    turn = n_critic + 1 if adversarial_weight else 1
    growth = max(1.0, n / 10_000) ** 0.5
    for phase, updates, batches in ((pretrain, 600, 1), (imitate, 150, 1), (cluster, 160, turn)):
        assert phase.epochs * an_epoch / batches >= growth * updates
        # imitation is a quarter of whole epochs
        slack = an_epoch / 4 if phase is imitate else 0
        assert (phase.epochs - 1) * an_epoch / batches < growth * updates + slack


def columns(model, phase="cluster"):
    rows = [row for row in model.history_ if row["phase"] == phase]
    measured = {"label_change", "cluster_sizes", "wasserstein", "wasserstein_change", "collapsed"}
    return set().union(*rows) - {"phase", "epoch"} - measured


@pytest.mark.parametrize(
    ("parameters", "losses"),
    [
        (PURE | ABLATION["M1"], {"critic", "penalty", "adversarial"}),
        (PURE | ABLATION["M2"], {"critic", "penalty", "adversarial", "information"}),
        (PURE | ABLATION["M3"], {"critic", "penalty", "adversarial", "augmentation"}),
        (
            PURE | ABLATION["M4"],
            {"critic", "penalty", "adversarial", "information", "augmentation"},
        ),
        # its decoder is the mutual information: under the name that it has in any case
        (
            PURE | {"mutual_information": "decoder"},
            {"critic", "penalty", "adversarial", "augmentation"},
        ),
        (PURE | {"adversarial_weight": 0.0}, {"information", "augmentation"}),
        ({"information_weight": 0.0, "adversarial_weight": 0.0}, {"augmentation", "balance",
                                                                  "uncertainty"}),
    ],
)  # fmt: skip
def test_every_term_can_be_switched_off(parameters, losses):
    model = fit(**parameters, max_epochs=2)
    assert columns(model) == losses | {"reconstruction"}
    assert (model.module_.discriminator is None) == (
        parameters.get("mutual_information", "discriminator") != "discriminator"
    )


def test_no_weight_trains_no_critic():
    states = []

    def look(net):
        if net.phase.name == "cluster":
            states.append(copy.deepcopy(net.module_.critic.state_dict()))

    steps = Steps()
    model = fit(adversarial_weight=0.0, callbacks=[steps, At("on_train_begin", look)])
    for name, value in model.module_.critic.state_dict().items():
        assert torch.equal(value, states[0][name])
    assert set(steps.names) == {"encoder"}


@pytest.mark.parametrize(
    "change",
    [
        {"information_weight": 5.0},
        {"adversarial_weight": 0.3},
        {"augmentation_weight": 0.3},
        {"balance_weight": 0.3},
        {"gradient_penalty": 1.0},
        {"n_critic": 2},
        {"critic_units": (8, 8)},
        {"mutual_information": "decoder"},
        {"mutual_information": None},
        {"cluster_prior": [0.4, 0.3, 0.2, 0.1]},
        {"cluster_prior": "estimated"},
        {"n_neighbors": 2},
        {"augmentation": "masking"},
        {"augmentation": "adversarial"},
        {"augmentation": None},
        {"init": "spectral"},
        {"init": None},
        {"learning_rate_schedule": "constant"},
    ],
    ids=lambda change: "-".join(f"{name}={value}" for name, value in change.items()),
)
def test_every_parameter_acts(change):
    X, _ = digits()
    changed = fit(**change).transform(X)
    assert not np.allclose(changed, fitted().transform(X), atol=1e-4)


def test_the_discriminator_learns_where_the_encoder_rests():
    """Acceptance check 3: chance to begin with, then well under it."""
    X = load_digits(return_X_y=True)[0][:512]
    losses = []

    def freeze(net):
        for parameter in net.module_.encoder.parameters():
            parameter.grad = None

    fit(
        X,
        **IMAGES,
        n_clusters=10,
        n_components=50,
        critic_units=(256, 128),
        init=None,
        augmentation_weight=0.0,
        adversarial_weight=0.0,
        balance_weight=0.0,
        information_weight=1.0,
        max_epochs=20,
        batch_size=128,
        learning_rate=6e-3,
        learning_rate_schedule="constant",
        precision="32",
        callbacks=[
            At("on_grad_computed", freeze),
            At("on_batch_end", lambda net: losses.append(float(net.losses_["information"][-1]))),
        ],
    )
    assert len(losses) == 80
    assert losses[0] == pytest.approx(np.log(2), abs=0.02)
    assert np.mean(losses[-4:]) < 0.3


# ---------------------------------------------------------------- phases


def phases_of(model):
    return list(dict.fromkeys(row["phase"] for row in model.history_))


@pytest.mark.parametrize(
    ("parameters", "phases"),
    [
        ({}, ["pretrain", "imitate", "cluster"]),
        ({"n_init": 2}, ["pretrain", "imitate", "cluster"]),
        ({"init": None}, ["cluster"]),
        ({"init": None, "n_init": 2, "pretrain_epochs": 3}, ["start", "cluster"]),
    ],
)
def test_phases(parameters, phases):
    model = fit(**parameters)
    assert phases_of(model) == phases
    assert columns(model, "cluster") >= {"critic", "adversarial"}
    if "start" in phases:
        assert len([row for row in model.history_ if row["phase"] == "start"]) == 3
        assert columns(model, "start") == columns(model, "cluster")
    if "pretrain" in phases:
        assert columns(model, "pretrain") == {"information", "reconstruction"}
        assert columns(model, "imitate") == {"information", "reconstruction", "imitation"}


@pytest.mark.parametrize("init", ["graph", "k-means", "spectral"])
def test_categories_imitate_the_start_partition(init):
    found = {}

    def look(net):
        targets = net.run.targets
        if net.phase.name == "imitate":
            found["p"] = targets["p"].numpy()
        if net.phase.name == "cluster":
            found["q"] = targets["q"].numpy()

    fit(init=init, pretrain_epochs=40, max_epochs=1, callbacks=[At("on_train_begin", look)])
    assert set(np.unique(found["p"])) == {0.0, 1.0}
    np.testing.assert_array_equal(found["p"].sum(axis=1), 1)
    assert (found["p"].argmax(axis=1) == found["q"].argmax(axis=1)).mean() > 0.9


def test_the_start_is_a_partition_of_the_styles():
    # with categories that have learned nothing, 3 of 15 fits to digits joined two of them
    class Pretrained(nn.Module):
        """The styles are the samples; the categories are noise of a hundred times the length."""

        prior = torch.zeros(3)

        def embed(self, x):
            noise = 1e4 * (1e4 * x[:, :3]).sin()
            return torch.cat([noise.softmax(dim=1), 0.01 * x], dim=1)

        def forward(self, x):
            z = self.embed(x)
            return z, z[:, :3]

    X, y = make_blobs(90, 4, centers=3, random_state=0)
    plan = plan_of(DCCS(3, init="graph", cluster_prior="start"), X)
    rows = Rows(X, Scaler.fit(X, "none"), None, torch.device("cpu"), resident=True)
    run = Run(Pretrained(), rows, plan, generator=generator())
    found = _dccs._start(run)["p"].argmax(dim=1)
    assert adjusted_rand_score(y, found) == 1.0
    np.testing.assert_allclose(run.module.prior, 1 / 3)


def test_an_image_starts_from_the_mean_of_its_style_and_of_its_views_styles():
    model, X = fitted(images=True), digits()[0]
    rows = Rows(X, model._model.plan.scaler, (1, 8, 8), torch.device("cpu"), resident=True)
    judged = np.arange(len(X) // 2)  # only these are nodes of the judge's graph
    run = run_of(model, copy.deepcopy(model.module_), rows)
    run.augment, run.judge = lambda x, generator: -x, (judged, None)
    x = rows.take(np.arange(len(X)))
    with torch.no_grad():
        own, of_views = (run.module.embed(each)[:, 4:] for each in (x, -x))
    expected = own.clone()
    expected[judged] = (own[judged] + of_views[judged]) / 2
    torch.testing.assert_close(_dccs._pretrained(run), expected, **FLOAT32)
    assert (own - of_views).abs().max() > 0.1


@pytest.mark.parametrize(
    ("parameters", "is_affine"),
    [
        ({}, True),
        ({"init": "k-means"}, True),
        ({"init": None}, False),
        ({"augmentation": "photo"}, False),
        ({"augmentation": random_crop}, False),
    ],
    ids=["auto", "k-means", "from nothing", "photo", "function"],
)
def test_images_are_cropped_until_there_are_clusters(parameters, is_affine):
    model = DCCS(3, image_shape=(8, 8), **parameters)
    *start, cluster = DCCS.make_phases(plan_of(model, digits()[0]))
    assert (cluster.augment is affine) == is_affine
    assert all(phase.augment is None for phase in start)


@pytest.mark.parametrize(("init", "length"), [("graph", 0.7), (None, None)])
def test_styles_are_directions_unless_the_paper_s(init, length):
    X, _ = digits()
    model = fit(init=init, max_epochs=1)
    lengths = np.linalg.norm(model.transform(X)[:, 4:], axis=1)
    assert model.module_.style_length == length
    if length:
        np.testing.assert_allclose(lengths, length, rtol=1e-5)
    else:
        assert lengths.std() > 1e-3


def test_categories_are_even_to_begin_with_where_nothing_is_imitated():
    X, _ = digits()
    first = {}
    for init in (None, "graph"):
        model = fit(init=init, pretrain_epochs=0, max_epochs=0)
        first[init] = model.predict_proba(X).max(axis=1).mean()
    assert first[None] < 0.3 < first["graph"]


# ---------------------------------------------------------------- the prior of the categories


@pytest.mark.parametrize(
    "prior",
    [
        [0.5, 0.5],
        [0.2] * 5,
        np.full((4, 1), 0.25),
        [0.5, 0.5, 0.5, -0.5],
        [0.5, 0.3, 0.2, 0.0],
        [0.5, 0.3, 0.3, 0.1],
        [1.0, 1.0, 1.0, 1.0],
        [0.5, 0.3, 0.2, np.nan],
        0.25,
    ],
    ids=str,
)
def test_an_impossible_prior_is_refused(prior):
    with pytest.raises(ValueError, match="cluster_prior"):
        dccs(cluster_prior=prior).fit(digits()[0])


@pytest.mark.parametrize("kind", [list, tuple])
def test_a_prior_is_what_it_says(kind):
    shares = [0.4, 0.3, 0.2, 0.1]
    model = fit(cluster_prior=kind(shares), max_epochs=1)
    assert model.module_.prior.dtype == torch.float32
    np.testing.assert_allclose(model.module_.prior, shares, rtol=1e-6)


def test_a_prior_that_is_no_array_of_numbers_is_refused():
    with pytest.raises(ValueError, match="positive probabilities that sum to 1"):
        dccs(cluster_prior=["a", "b", "c", "d"]).fit(digits()[0])


def test_an_array_as_prior_goes_on_in_warm_start():
    X, shares = digits()[0], np.array([0.4, 0.3, 0.2, 0.1])
    model = fit(X, cluster_prior=shares, warm_start=True, max_epochs=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X)
        model.set_params(cluster_prior=shares[::-1])
        with pytest.raises(ValueError, match="cluster_prior"):
            model.fit(X)


def unbalanced(seed=0):
    return make_blobs([160, 50, 30], n_features=8, random_state=seed)


@pytest.mark.parametrize("sizes", [(160, 50, 30), (30, 160, 50), (50, 30, 160)])
def test_an_array_as_prior_names_its_clusters(sizes):
    X, y = unbalanced()
    shares = np.array(sizes) / sum(sizes)
    model = fit(X, n_clusters=3, cluster_prior=shares, pretrain_epochs=4, max_epochs=2)
    assert adjusted_rand_score(y, model.labels_) == 1.0
    np.testing.assert_array_equal(np.bincount(model.labels_), sizes)


@pytest.mark.parametrize("cluster_prior", ["estimated", "uniform"])
def test_an_estimated_prior_follows_the_clusters(cluster_prior):
    X, y = unbalanced()
    model = fit(X, n_clusters=3, cluster_prior=cluster_prior, pretrain_epochs=4, max_epochs=6)
    assert adjusted_rand_score(y, model.labels_) == 1.0
    prior = model.module_.prior.numpy()
    if cluster_prior == "uniform":
        np.testing.assert_array_equal(prior, np.full(3, 1 / 3, np.float32))
    else:
        np.testing.assert_allclose(prior, np.bincount(model.labels_) / len(X), atol=0.05)
        mean = model.predict_proba(X).mean(axis=0)
        np.testing.assert_allclose(prior, mean, rtol=1e-4)


def test_an_estimated_prior_leaves_every_category_some_probability():
    model = fit(cluster_prior="estimated", max_epochs=0)
    with torch.no_grad():
        layer = [m for m in model.module_.encoder if isinstance(m, nn.Linear)][-1]
        layer.bias[0] -= 1e3
    rows = model._model.rows(model._check(digits()[0]))
    _dccs._look(run_of(model, model.module_, rows))
    # a tenth of an even one, then scaled to a sum of one
    assert float(model.module_.prior[0]) == pytest.approx(0.025 / 1.025, rel=1e-4)
    assert float(model.module_.prior.sum()) == pytest.approx(1)


# ---------------------------------------------------------------- refusals and guards


@pytest.mark.parametrize("critic_units", [(), [], (16, 0), (16, -1), (2.5,), ("16",)], ids=str)
def test_widths_of_the_critic_are_refused(critic_units):
    with pytest.raises(ValueError, match="critic_units="):
        dccs(critic_units=critic_units).fit(digits()[0])


def joined(net):
    """Makes one category take nearly all."""
    with torch.no_grad():
        layer = [m for m in net.run.module.encoder.modules() if isinstance(m, nn.Linear)][-1]
        layer.bias[0] += 1e3


def test_from_nothing_a_collapse_ends_no_training_and_is_told_of():
    X, epochs = digits()[0], 3
    model = dccs(init=None, max_epochs=epochs, callbacks=[At("on_epoch_end", joined)])
    with pytest.warns(ConvergenceWarning, match="Only 1 of n_clusters=4"):
        model.fit(X)
    assert len(model.history_) == epochs


def test_from_nothing_one_cluster_of_nearly_all_is_told_of():
    X = np.concatenate([np.zeros((50, 4)), np.eye(4)[:3]]) + 1  # most samples are alike
    model = dccs(n_clusters=2, init=None, max_epochs=2, scaling="none", n_neighbors=1)

    def split(net):
        """Tells the samples that differ from the others."""
        with torch.no_grad():
            layer = [m for m in net.run.module.encoder.modules() if isinstance(m, nn.Linear)][-1]
            features = net.run.module.encoder.eval()[:-1](torch.from_numpy(X).float())
            alike, others = features[:50].mean(dim=0), features[50:].mean(dim=0)
            layer.weight[0] = 1e3 * (alike - others)
            layer.bias[0] = -(layer.weight[0] @ (alike + others)) / 2
            layer.weight[1], layer.bias[1] = -layer.weight[0], -layer.bias[0]

    model.set_params(callbacks=[At("on_epoch_end", split)])
    with pytest.warns(ConvergenceWarning, match="one cluster holds 94% .* random weights"):
        model.fit(X)
    assert len(model.history_) == 2


def test_a_collapse_ends_training_that_began_with_a_partition():
    model = dccs(max_epochs=3, callbacks=[At("on_epoch_end", joined)])
    model.set_params(pretrain_epochs=0)
    collapsed = "Clusters collapsed in phase 'cluster', epoch 1: .* Fit went back to the state"
    with pytest.warns(ConvergenceWarning, match=collapsed):
        model.fit(digits()[0])


# ---------------------------------------------------------------- architectures


def test_the_paper_s_parameters():
    X = photos(12, 28, 1) * 2 - 1
    seen = []

    def look(net):
        for step in net.phase.steps:
            (group,) = net.optimizer_of(step).param_groups
            seen.append((net.phase.name, step.name, group["lr"], group["betas"]))

    batches = []
    quick = {
        "max_epochs": 2,
        "batch_size": 4,
        "callbacks": [
            At("on_epoch_end", look),
            At("on_batch_end", lambda net: batches.append(net.step_.name)),
        ],
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = DCCS(10, random_state=0, **{**DCCS.PAPER, **quick}).fit(X)
    assert len(model.history_) == 2
    assert batches == ["critic"] * 4 + ["encoder", "critic"]
    assert {(*step, round(rate, 9), betas) for *step, rate, betas in seen} == {
        ("cluster", name, 1e-4, (0.5, 0.9)) for name in ("critic", "encoder")
    }
    module = model.module_
    assert module.encoder.features(torch.zeros(2, 1, 28, 28)).flatten(1).shape == (2, 3200)
    assert [m.in_features for m in module.critic.layers if isinstance(m, nn.Linear)] == [
        *(60, 1024, 512)
    ]
    assert module.discriminator.layers[0].in_features == 3200 + 60
    assert module.style_length is None
    x = torch.rand(200, 1, 28, 28)
    views = DCCS.make_augmentation(model._model.plan)(x, generator())
    assert views.shape == x.shape
    np.testing.assert_array_equal(model.predict(X), model.labels_)
    # and no others than there are
    assert set(DCCS.PAPER) <= set(DCCS().get_params())


@pytest.mark.parametrize(
    ("preprocessing", "first"),
    [("auto", Grayscale), ("grayscale", Grayscale), ("sobel", Grayscale), (None, nn.Conv2d)],
)
def test_preprocessing(preprocessing, first):
    X = photos()
    model = fit(X, preprocessing=preprocessing, n_clusters=2, init=None)
    features = model.module_.encoder.features
    assert isinstance(features[0], first)
    assert any(isinstance(m, Sobel) for m in features) == (preprocessing == "sobel")
    Z = model.transform(X)
    if preprocessing is not None:
        # colours of one luminance are one to the network
        gray = Grayscale()(torch.from_numpy(X)).expand(X.shape).contiguous().numpy()
        np.testing.assert_allclose(model.transform(gray), Z, atol=1e-4)
    assert model.inverse_transform(Z).shape == X.shape


@pytest.mark.parametrize("preprocessing", ["grayscale", "sobel"])
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {**IMAGES, "architecture": "mlp"},
        {**IMAGES, "architecture": BatchNormPair()},
        {**IMAGES, "architecture": lambda s, m: category_style_autoencoder(s, m, width=4)},
    ],
)
def test_preprocessing_is_refused_where_it_does_nothing(preprocessing, parameters):
    with pytest.raises(ValueError, match=f"preprocessing='{preprocessing}' is for images"):
        dccs(preprocessing=preprocessing, **parameters).fit(digits()[0])


@pytest.mark.parametrize("side", [3, pytest.param(32, marks=pytest.mark.slow)])
def test_residual_encoder(side):
    X = photos(4, side)
    quick = {"batch_size": 2, "init": None, "max_epochs": 1}
    model = fit(X, architecture="resnet", augmentation="photo", n_clusters=2, **quick)
    assert any(isinstance(m, ResidualBlock) for m in model.module_.encoder.modules())
    assert columns(model) >= {"adversarial", "critic"}
    np.testing.assert_array_equal(model.predict(X), model.labels_)
    assert model.inverse_transform(model.transform(X)).shape == X.shape


def test_architectures():
    X, _ = digits()
    assert not isinstance(fitted().module_.encoder, FeatureEncoder)
    model = fitted(images=True)
    assert isinstance(model.module_.encoder, FeatureEncoder)
    # the discriminator sees the last map, else the sample
    assert model.module_.discriminator.layers[0].in_features == 64 * 2 * 2 + 8
    own = fit(X, init=None, max_epochs=0, architecture=BatchNormPair(), **IMAGES)
    assert own.module_.discriminator.layers[0].in_features == 64 + 8


def test_an_encoder_of_the_user_in_two_parts_shows_its_features():
    X, _ = digits()
    encoder, decoder = category_style_autoencoder((1, 8, 8), 8, width=4)
    model = fit(X, init=None, max_epochs=1, architecture=(encoder, decoder), **IMAGES)
    assert model.module_.discriminator.layers[0].in_features == 8 * 2 * 2 + 8


@pytest.mark.parametrize(("n_features", "width"), [(3, 10), (10, 10), (30, 30), (64, 50)])
def test_default_width_of_the_style(n_features, width):
    X = np.random.default_rng(0).normal(size=(40, n_features))
    model = fit(X, n_clusters=2, n_components="auto", init=None, max_epochs=0)
    assert model.transform(X).shape == (40, 2 + width)


# ---------------------------------------------------------------- views


@pytest.mark.parametrize("augmentation", ["affine", "crop", "photo"])
def test_changes_of_images_are_refused_for_vectors(augmentation):
    with pytest.raises(ValueError, match=f"augmentation='{augmentation}' needs images"):
        dccs(augmentation=augmentation).fit(digits()[0])


def text():
    return sparse.random(60, 300, density=0.02, format="csr", random_state=0)


@pytest.mark.parametrize(
    ("X", "parameters", "expected"),
    [
        ("vectors", {}, "swap"),
        ("vectors", {"augmentation": None}, None),
        ("images", {}, "crop"),
        ("text", {}, "masking"),
    ],
)
def test_what_auto_stands_for(X, parameters, expected):
    data = {"vectors": digits()[0], "images": digits()[0].reshape(-1, 1, 8, 8), "text": text()}
    model = fit(data[X], n_clusters=2, max_epochs=0, init=None, **parameters)
    assert model.settings_["augmentation"] == expected


@pytest.mark.parametrize("augmentation", ["masking", "swap", "adversarial", None])
def test_views_of_text(augmentation):
    X = text()
    model = fit(X, n_clusters=2, augmentation=augmentation)
    np.testing.assert_array_equal(model.predict(X), model.labels_)
    assert np.isfinite(model.score(X))


@pytest.mark.parametrize(
    "augmentation", ["affine", "crop", "photo", "masking", "swap", "adversarial", None]
)
def test_views_of_images(augmentation):
    X = photos()
    model = fit(X, n_clusters=2, augmentation=augmentation, max_epochs=2)
    assert columns(model) >= {"augmentation"}
    np.testing.assert_array_equal(model.predict(X), model.labels_)


def view_of(x, **parameters):
    """Images if x has four dimensions."""
    X = digits()[0].reshape(-1, 1, 8, 8) if x.ndim == 4 else digits()[0]
    return DCCS.make_augmentation(plan_of(DCCS(**parameters), X))(x, generator())


def test_a_fifth_of_the_words_is_left_out():
    kept = view_of(torch.ones(100, 300), augmentation="masking")
    assert float(kept.mean()) == pytest.approx(0.8, abs=5 * (0.16 / 30_000) ** 0.5)


def test_a_tenth_of_the_features_is_swapped():
    x = torch.arange(200.0 * 64).view(200, 64)
    changed = (view_of(x) != x).float().mean()
    assert float(changed) == pytest.approx(0.1 * 199 / 200, abs=5 * (0.09 / 12_800) ** 0.5)


@pytest.mark.parametrize(("name", "function"), [("photo", random_photo), ("auto", random_crop)])
def test_images_are_changed_as_the_function_does(name, function):
    x = torch.rand(5, 3, 8, 8)
    view = view_of(x, augmentation=name)
    assert torch.equal(view, function(x, generator()))


class RandomShift(nn.Module):
    """Draws from the global generator, as the random transforms of torchvision do."""

    def __init__(self):
        super().__init__()
        self.shapes = set()

    def forward(self, x):
        self.shapes.add(tuple(x.shape[1:]))
        by = int(torch.randint(3, ()))
        return x.roll(by, dims=-1)


def test_a_random_transform():
    X = digits()[0].reshape(-1, 1, 8, 8)
    transform = RandomShift()
    models = [fit(X, augmentation=transform, max_epochs=2) for _ in range(2)]
    assert transform.shapes == {(1, 8, 8)}
    np.testing.assert_array_equal(*(model.transform(X) for model in models))


def constants_of(X, **parameters):
    found = {}
    at = At("on_train_begin", lambda net: found.update(net.run.constants))
    fit(X, callbacks=[at], init=None, max_epochs=1, **parameters)
    return found


@pytest.mark.parametrize(
    ("images", "augmentation", "names"),
    [
        (False, "swap", {"partners"}),
        (False, None, {"partners"}),
        (False, "adversarial", {"partners", "reach"}),
        (True, "crop", set()),
        (True, "swap", set()),
        (True, None, {"partners"}),
        (True, "adversarial", {"partners", "reach"}),
    ],
)
def test_neighbors_are_views_of_vectors_and_of_images_that_are_not_augmented(
    images, augmentation, names
):
    X, _ = digits()
    parameters = IMAGES if images else {}
    found = constants_of(X, augmentation=augmentation, n_neighbors=3, **parameters)
    assert set(found) == names
    features = scaled(fitted(images), X).flatten(1).numpy()
    distances, index = nearest_neighbors(features, 10, np.random.RandomState(0))
    if "partners" in names:
        np.testing.assert_array_equal(found["partners"], index[:, :3])
    if "reach" in names:
        np.testing.assert_allclose(found["reach"], distances[:, 9] / 4, rtol=1e-5)


@pytest.mark.parametrize(("n", "columns"), [(82, 5), (24, 5), (20, 4), (11, 1), (7, 0), (4, 0)])
def test_no_more_neighbors_than_a_cluster_has(n, columns):
    found = constants_of(digits(n)[0])
    assert (found["partners"].shape[1] if "partners" in found else 0) == columns


def test_half_of_the_views_are_of_neighbors():
    n = 2000
    x = torch.arange(float(n)).view(n, 1).expand(n, FEATURES)
    partners = torch.stack([(torch.arange(n) + by) % n for by in (1, 2, 3, 4)], dim=1)

    class Whole:
        def take(self, index):
            return x[index]

    run, seen = tiny(), []
    run.rows = Whole()
    batch = Batch(x, {"partners": partners}, lambda x: seen.append(x) or x, run)
    _dccs._encode_view(run.module, batch)
    by = (seen[0][:, 0] - x[:, 0]) % n
    assert torch.equal(seen[0], seen[0][:, :1].expand_as(x))  # whole samples
    shares = np.bincount(by.int(), minlength=5) / n
    assert len(shares) == 5
    np.testing.assert_allclose(shares, [0.5, *[0.125] * 4], atol=5 * (0.25 / n) ** 0.5)


@pytest.mark.parametrize("images", [False, True])
@pytest.mark.parametrize("training", [True, False])
def test_the_adversarial_step(images, training):
    """Of the length asked, in a direction that changes the category more than others do."""
    X, _ = digits()
    model = fitted(images)
    module = copy.deepcopy(model.module_).train(training)
    x = scaled(model, X)
    reach = torch.linspace(0.5, 2, len(x))
    module.zero_grad()
    before = copy.deepcopy(module.state_dict())
    drawing = generator()
    step = _dccs._adversarial_step(module, x, reach, drawing)
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert module.encoder.training == training
    assert all(p.grad is None for p in module.parameters())
    assert not step.requires_grad
    torch.testing.assert_close(step.flatten(1).norm(dim=1), reach)
    module.eval()
    with torch.no_grad():
        logits = module.encode(x)[1]
        random = torch.randn(x.shape, generator=drawing)
        random *= (reach / random.flatten(1).norm(dim=1)).view(-1, *[1] * (x.ndim - 1))
        changes = [
            softmax_divergence(logits, module.encode(x + by)[1]).mean() for by in (step, random)
        ]
    assert changes[0] > 2 * changes[1]


# ---------------------------------------------------------------- what is answered


@pytest.mark.parametrize("images", [False, True])
def test_embedding_and_centers(images):
    X, _ = digits()
    model = fitted(images)
    Z, Q = model.transform(X), model.predict_proba(X)
    np.testing.assert_array_equal(Q.argmax(axis=1), model.labels_)
    np.testing.assert_allclose(Q.sum(axis=1), 1, rtol=1e-6)
    assert Z.shape == (len(X), 8)
    np.testing.assert_array_equal(Z[:, :4], Q)
    means = [Z[model.labels_ == k].mean(axis=0) for k in range(4)]
    np.testing.assert_allclose(model.cluster_centers_, means, atol=1e-6)
    assert model.inverse_transform(model.cluster_centers_).shape == (4, 64)


@pytest.mark.parametrize("images", [False, True])
def test_answers_do_not_depend_on_the_other_rows(images):
    """Batch statistics are of training."""
    X, _ = digits()
    model = fitted(images)
    Z = model.transform(X)
    for rows in ([0], [80, 3], slice(10, 30)):
        np.testing.assert_array_equal(model.transform(X[rows]), Z[rows])
        np.testing.assert_array_equal(model.predict(X[rows]), model.labels_[rows])


@pytest.mark.parametrize(
    "weights",
    [{}, {"adversarial_weight": 0.3, "balance_weight": 1.7}, {"adversarial_weight": 0.0}],
)
def test_score_is_minus_the_documented_objective(weights):
    X, _ = digits()
    model = fit(X, **weights)
    module = model.module_
    with torch.no_grad():
        z, q = module(scaled(model, X))
        distance = (module.prior_score - module.critic(z)).double().numpy()
    q = q.double().numpy()
    objective = (
        weights.get("adversarial_weight", 1.0) * distance
        - weights.get("balance_weight", 1.0) * (q * np.log(q)).sum(axis=1)
    ).mean()
    assert model.score(X) == pytest.approx(-objective, rel=1e-4)
    # of each sample on its own
    halves = [model.score(X[:41]), model.score(X[41:])]
    assert model.score(X) == pytest.approx(np.mean(halves), rel=1e-5)


def test_the_measured_distance_is_that_of_the_embeddings():
    X, _ = digits()
    model = fitted()
    module, last = model.module_, model.history_[-1]
    with torch.no_grad():
        scores = module.critic(torch.from_numpy(model.transform(X)).float())
        prior = _dccs._draw_prior(module, run_of(model, module, seed=1), 50_000)
        drawn = module.critic(prior)
    assert last["wasserstein"] == pytest.approx(float(module.prior_score - scores.mean()), abs=1e-5)
    # the draws of the last look were others
    error = 5 * float(drawn.std()) * (1 / 10_000 + 1 / 50_000) ** 0.5
    assert float(module.prior_score) == pytest.approx(float(drawn.mean()), abs=error)


def test_history():
    model = fit(max_epochs=25, n_critic=2)
    rows = [row for row in model.history_ if row["phase"] == "cluster"]
    looks = [row["epoch"] for row in rows if row["cluster_sizes"] is not None]
    assert looks == [3, 6, 9, 12, 15, 18, 21, 24, 25]  # ten at most
    measured = [row["epoch"] for row in rows if "wasserstein" in row]
    assert measured == looks
    distances = [row["wasserstein"] for row in rows if "wasserstein" in row]
    changes = [row["wasserstein_change"] for row in rows if "wasserstein" in row]
    np.testing.assert_allclose(changes[1:], np.diff(distances), atol=1e-7)
    assert math.isfinite(changes[0])
    assert rows[-1]["cluster_sizes"] == tuple(np.bincount(model.labels_, minlength=4))
    # even at most: the entropy of a category
    assert all(0 <= row["uncertainty"] <= math.log(4) for row in rows)


# ---------------------------------------------------------------- the stop rule


@pytest.mark.parametrize(
    ("label_change", "change", "adversarial_weight", "settled"),
    [
        (0.0, 0.01, 1.0, True),
        (0.0, -0.01, 1.0, True),
        (0.0, 0.2, 1.0, False),
        (0.0, -0.2, 1.0, False),
        (0.0, -math.inf, 1.0, False),
        (0.1, 0.01, 1.0, False),
        (0.1, 0.2, 1.0, False),
        (0.0, 0.2, 0.0, True),
        (0.1, 0.2, 0.0, False),
    ],
)
def test_both_labels_and_distance_must_settle(label_change, change, adversarial_weight, settled):
    model = DCCS(tol=0.05, adversarial_weight=adversarial_weight)
    measures = {"wasserstein": 0.5, "wasserstein_change": change}
    plan = plan_of(model, digits()[0])
    run = Run(None, None, plan, label_change=label_change, measures=measures)
    assert _dccs._settled(run) is settled


@pytest.mark.parametrize(("steady", "tol", "ends"), [(1e9, 2.0, 1), (0.0, 2.0, 6), (1e9, 0.0, 6)])
def test_training_ends_when_both_have_settled(monkeypatch, steady, tol, ends):
    monkeypatch.setattr(training, "_FEWEST_UPDATES", 0)
    monkeypatch.setattr(_dccs, "_STEADY", steady)
    model = fit(max_epochs=6, tol=tol)
    assert model.converged_ == (ends == 1)
    assert len([row for row in model.history_ if row["phase"] == "cluster"]) == ends


# ---------------------------------------------------------------- memory and warm starts


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """Parameters whose pretraining lies in memory, with a callback and without."""
    parameters = {"memory": str(tmp_path_factory.mktemp("memory")), "max_epochs": 1}
    fit(**parameters)
    fit(**parameters, callbacks=[Epochs()])
    return parameters


@pytest.mark.parametrize(
    ("change", "epochs"),
    [
        ({"adversarial_weight": 0.3}, 0),
        ({"augmentation_weight": 0.3}, 0),
        ({"information_weight": 0.3}, 0),
        ({"balance_weight": 0.3}, 0),
        ({"gradient_penalty": 1.0}, 0),
        ({"n_critic": 2}, 0),
        ({"critic_units": (8,)}, 0),
        ({"cluster_prior": "estimated"}, 0),
        ({"mutual_information": "decoder"}, 0),
        ({"mutual_information": None}, 0),
        ({"init": "graph"}, 0),
        ({"n_clusters": 3}, 2),
        ({"n_neighbors": 2}, 2),
        ({"augmentation": "masking"}, 2),
    ],
    ids=str,
)
def test_pretraining_is_kept_for_other_weights(change, epochs, kept):
    counted = Epochs()
    fit(**{**kept, **change}, callbacks=[counted])
    assert counted.phases.count("pretrain") == epochs
    assert counted.phases.count("imitate") == 1


def test_what_is_kept_is_the_pretraining_of_those_weights(kept):
    X, _ = digits()
    change = {"critic_units": (8,), "mutual_information": None, "max_epochs": 3}
    cached, plain = (fit(**{**kept, **change, **more}) for more in ({}, {"memory": None}))
    np.testing.assert_array_equal(cached.transform(X), plain.transform(X))
    np.testing.assert_equal(cached.history_, plain.history_)


@pytest.mark.parametrize(
    "change",
    [
        {"cluster_prior": "estimated"},
        {"cluster_prior": [0.4, 0.3, 0.2, 0.1]},
        {"mutual_information": None},
        {"critic_units": (8,)},
        {"preprocessing": None},
    ],
    ids=str,
)
def test_warm_start_refuses_another_network_or_prior(change):
    X, _ = digits()
    model = fit(X, warm_start=True, max_epochs=1)
    with pytest.raises(ValueError, match=rf"{next(iter(change))}=.*warm_start=False"):
        model.set_params(**change).fit(X)


@pytest.mark.filterwarnings("ignore:n_critic=1 has no effect on the training")
def test_warm_start_goes_on_with_other_weights():
    X, _ = digits()
    model = fit(X, warm_start=True)
    before = copy.deepcopy(model.module_.critic.state_dict())
    model.set_params(adversarial_weight=0.0).fit(X)
    assert phases_of(model) == ["cluster"]
    for name, value in model.module_.critic.state_dict().items():
        assert torch.equal(value, before[name])


# ---------------------------------------------------------------- clusters


@pytest.mark.parametrize("n", [2, 3, 5])
def test_a_handful_of_samples(n):
    X = np.random.default_rng(0).normal(size=(n, 3))
    model = fit(X, n_clusters=2)
    np.testing.assert_array_equal(model.predict(X), model.labels_)
    assert np.isfinite(model.score(X))


def test_blobs():
    X, y = make_blobs(300, centers=4, n_features=6, random_state=0)
    # after 10 epochs of pretraining, every fourth random_state puts one sample on the wrong side
    model = fit(X, init="auto", pretrain_epochs=30, max_epochs=10)
    assert adjusted_rand_score(y, model.labels_) == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_digits(seed):
    X, y = load_digits(return_X_y=True)
    labels = DCCS(10, **IMAGES, random_state=seed).fit_predict(X)
    assert clustering_accuracy(y, labels) >= 0.93


@pytest.mark.slow
def test_the_prior_alone_gives_even_and_certain_categories():
    """Acceptance check 4: 3000 updates of the encoder by the critic's score only."""
    X, _ = load_digits(return_X_y=True)
    model = DCCS(
        10,
        **PURE,
        **ABLATION["M1"],
        hidden_units=(128,),
        critic_units=(128, 64),
        max_epochs=550,
        batch_size=64,
        learning_rate=6e-3,
        tol=0.0,
        precision="32",
        random_state=0,
    ).fit(X)
    Q, Z = model.predict_proba(X), model.transform(X)
    np.testing.assert_allclose(Q.mean(axis=0), 0.1, rtol=0.3)
    assert Q.max(axis=1).mean() > 0.9
    assert Z[:, 10:].std() == pytest.approx(0.1, rel=0.2)
    assert abs(model.history_[-1]["wasserstein"]) < 0.3


def test_budgets_of_numpy_integers():
    """Products of small ones are not in their range."""
    X, _ = digits()
    parameters = {"n_critic": 2, "n_neighbors": 3, "batch_size": 20, "n_clusters": 3}
    narrow = {name: np.uint8(value) for name, value in parameters.items()}
    expected, model = (
        small(DCCS, random_state=0, **{**p, "pretrain_epochs": 1}).fit(X)
        for p in (parameters, narrow)
    )
    np.testing.assert_array_equal(model.predict_proba(X), expected.predict_proba(X))
