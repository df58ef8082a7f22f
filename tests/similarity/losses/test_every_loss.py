"""What holds for every loss: the plain loops' values, gradients, odd batches, other types, invariances."""

import copy
import inspect
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from h2q.similarity import losses
from h2q.similarity.losses import LOSSES, UNSUPERVISED_LOSSES, ClassifierLoss, PairLoss, SimilarityLoss, make_loss
from h2q.similarity.losses.hyp2 import HyP2

NAMES = list(LOSSES)
STRAIGHT_THROUGH = ("BiHalf", "GreedyHash", "JMLH")
GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "losses.json").read_text())


def by_loops(naive: ModuleType, loss: Any, z: Tensor, sets: list[set[int]]) -> float:
    """The same loss of the same batch, by plain loops."""
    rows, name = z.tolist(), type(loss).__name__
    if name == "CosineEmbedding":
        return naive.cosine_embedding(rows, sets, loss.margin)
    if name == "HyP2":
        return naive.hyp2(rows, sets, loss.proxies.tolist(), loss.margin)
    if name == "CSQ":
        return naive.csq(rows, sets, loss.centers.tolist(), loss.ties.tolist())
    if name == "OrthoHash":
        return naive.orthohash(rows, sets, loss.codebook.tolist())
    if name == "ADSH":
        database = [set(row.nonzero().flatten().tolist()) if row.ndim else {int(row)} for row in loss.labels]
        return naive.adsh(rows, sets, loss.codes.tolist(), database, [0] * len(rows), 0.0, loss.dissimilar)
    plain: Callable[..., float] = getattr(naive, name.lower())
    state = {key: getattr(loss, key, None) for key in list(inspect.signature(plain).parameters)[2:]}
    state = {key: value.tolist() if isinstance(value, Tensor) else value for key, value in state.items()}
    return plain(rows, sets, **{key: value for key, value in state.items() if value is not None})


@pytest.mark.parametrize("multi_hot", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_the_value_is_the_plain_loops(
    name: str, multi_hot: bool, naive: ModuleType, make_batch: Any, build: Any
) -> None:
    for n, n_bits, scale in ((9, 8, 1.0), (2, 8, 1.0), (14, 16, 0.1), (7, 8, 3.0)):
        loss = build(name, n_bits, multi_hot=multi_hot)
        z, labels, sets = make_batch(n, n_bits, multi_hot=multi_hot, scale=scale)
        assert loss(z, labels).item() == pytest.approx(by_loops(naive, loss, z, sets), rel=1e-10)


@given(seed=st.integers(0, 2**20), n=st.integers(1, 8), n_bits=st.sampled_from([3, 8, 12]), multi_hot=st.booleans())
def test_any_batch_of_the_pair_losses_is_the_plain_loops(
    naive: ModuleType, seed: int, n: int, n_bits: int, multi_hot: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(n, n_bits, generator=generator, dtype=torch.float64)
    labels = torch.randint(2, (n, 3) if multi_hot else (n,), generator=generator)
    sets = [set(row.nonzero().flatten().tolist()) if row.ndim else {int(row)} for row in labels]
    for name in ("CosineEmbedding", "DCH", "DHN", "DPSH", "WGLHH", "HashNet", "DBDH", "DSH", "DTSH", "MIHash"):
        loss = make_loss(name, n_bits=n_bits, n_classes=3)
        assert loss(z, labels).item() == pytest.approx(by_loops(naive, loss, z, sets), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=["class ids", "multi-hot"])
@pytest.mark.parametrize("name", NAMES)
def test_golden_values(name: str, case: dict[str, Any]) -> None:
    z = torch.tensor(case["embeddings"], dtype=torch.float64)
    labels = torch.zeros(len(z), GOLDEN["n_classes"], dtype=torch.long)
    for row, own in zip(labels, case["labels"], strict=True):
        row[own] = 1
    options: dict[str, Any] = {"margin": GOLDEN["margin"]} if name in ("CosineEmbedding", "HyP2") else {}
    if name == "ADSH":
        options |= {"labels": labels, "dissimilar": -1.0}
    loss: Any = make_loss(name, n_bits=z.shape[1], n_classes=GOLDEN["n_classes"], **options).double()
    codebook = torch.tensor(GOLDEN["codebook"], dtype=torch.float64)
    state = {"weight": GOLDEN["proxies"], "bias": GOLDEN["bias"], "codebook": GOLDEN["codebook"], "ties": case["ties"]}
    loss.eval()
    with torch.no_grad():
        for key, value in (state | {"centers": GOLDEN["codebook"]}).items():
            if isinstance(getattr(loss, key, None), Tensor):
                getattr(loss, key).copy_(torch.tensor(value, dtype=torch.float64))
        if name == "HyP2":
            loss.proxies.copy_(torch.tensor(GOLDEN["proxies"], dtype=torch.float64))
        elif name == "CSQ":
            loss.centers, loss.ties = codebook, torch.tensor(case["ties"], dtype=torch.float64)
        elif name == "OrthoHash":
            loss.codebook = codebook
        elif name == "ADSH":
            loss.codes = torch.tensor(case["codes"], dtype=torch.float64)
    value = loss(z, labels, torch.arange(len(z))) if name == "ADSH" else loss(z, labels)
    assert value.item() == pytest.approx(case["losses"][name], rel=1e-12)


@pytest.mark.parametrize("multi_hot", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_right(name: str, multi_hot: bool, make_batch: Any, build: Any) -> None:
    loss = build(name, multi_hot=multi_hot)
    z, labels, _ = make_batch(5, multi_hot=multi_hot)
    parameters = tuple(loss.parameters())
    assert bool(parameters) == isinstance(loss, (HyP2, ClassifierLoss))
    if name in STRAIGHT_THROUGH:  # whose gradients are those of the codes by design
        assert all(gradient.any() for gradient in torch.autograd.grad(loss(z.requires_grad_(), labels), parameters))
        return
    assert torch.autograd.gradcheck(lambda rows, *_: loss(rows, labels), (z.requires_grad_(), *parameters))


@pytest.mark.parametrize("name", NAMES)
def test_class_ids_are_one_hot_rows(name: str, make_batch: Any, build: Any) -> None:
    z, labels, _ = make_batch(9)
    one_hot = torch.nn.functional.one_hot(labels, 5)
    value = build(name)(z, labels).item()
    for dtype in (torch.bool, torch.uint8, torch.int32, torch.float32):
        assert build(name, multi_hot=True)(z, one_hot.to(dtype)).item() == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("multi_hot", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_the_items_does_not_matter(name: str, multi_hot: bool, make_batch: Any, build: Any) -> None:
    loss = build(name, multi_hot=multi_hot)
    z, labels, _ = make_batch(9, multi_hot=multi_hot)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    assert loss(z[order], labels[order]).item() == pytest.approx(loss(z, labels).item(), rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_only_directions_count_where_a_loss_says_so(name: str, make_batch: Any, build: Any) -> None:
    loss = build(name)
    z, labels, _ = make_batch(9)
    scales = torch.linspace(0.2, 5, 9, dtype=torch.float64)[:, None]
    same = loss(scales * z, labels).item() == pytest.approx(loss(z, labels).item(), rel=1e-9)
    assert same == (loss.unit_norm or name == "GreedyHash")  # whose value depends on signs only


def _gradient(loss: nn.Module, z: Tensor, labels: Tensor) -> tuple[float, Tensor]:
    z = z.detach().clone().requires_grad_()
    value = loss(z, labels)
    value.backward()
    assert z.grad is not None
    return value.item(), z.grad


@pytest.mark.parametrize("name", NAMES)
def test_odd_batches_have_finite_values_and_gradients(name: str, make_batch: Any, build: Any) -> None:
    z, _, _ = make_batch(6)
    same = z[:1].repeat(6, 1)
    batches = {
        "no dissimilar pair": (z, torch.zeros(6, dtype=torch.long)),
        "no similar pair": (z[:5], torch.arange(5)),
        "one item": (z[:1], torch.tensor([2])),
        "no item": (z[:0], torch.zeros(0, dtype=torch.long)),
        "all in one place": (same, torch.tensor([0, 0, 1, 1, 2, 2])),
        "opposite": (torch.cat([z[:3], -z[:3]]), torch.tensor([0, 1, 2, 0, 1, 2])),
        "a row of zeros": (torch.cat([torch.zeros_like(z[:1]), z[1:]]), torch.tensor([0, 0, 1, 1, 2, 2])),
        "all zeros": (torch.zeros_like(z), torch.tensor([0, 0, 1, 1, 2, 2])),
        "huge": (1e4 * z, torch.tensor([0, 0, 1, 1, 2, 2])),
        "tiny": (1e-12 * z, torch.tensor([0, 0, 1, 1, 2, 2])),
    }
    for dtype in (torch.float32, torch.float64):
        loss = build(name).to(dtype)
        for what, (rows, labels) in batches.items():
            value, gradient = _gradient(loss, rows.to(dtype), labels)
            assert torch.isfinite(torch.tensor(value)), what
            assert torch.isfinite(gradient).all(), what
            assert gradient.abs().max() < 1e6 if len(rows) and what != "tiny" else True, what
            if what == "no item" or (what == "one item" and isinstance(loss, PairLoss) and name != "DBDH"):
                assert value == 0, what
                assert not gradient.any(), what


@pytest.mark.parametrize("name", NAMES)
def test_items_without_a_label_are_allowed(name: str, make_batch: Any, build: Any) -> None:
    z, labels, _ = make_batch(6, multi_hot=True)
    labels[[1, 4]] = 0
    loss = build(name, multi_hot=True)
    value, gradient = _gradient(loss, z, labels)
    assert torch.isfinite(torch.tensor(value))
    assert torch.isfinite(gradient).all()
    if name in ("CSQ", "OrthoHash", "OrthoArc", "DPN", "GreedyHash", "JMLH", "SDHC"):
        kept = [0, 2, 3, 5]
        assert value == pytest.approx(loss(z[kept], labels[kept]).item(), rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_float32_halves_and_autocast(name: str, make_batch: Any, build: Any) -> None:
    z, labels, _ = make_batch(24, 16)
    exact = build(name, 16)(z, labels).item()
    loss = build(name, 16).float()
    assert loss(z.float(), labels).item() == pytest.approx(exact, rel=1e-4)
    half = z.to(torch.bfloat16)
    rounded = loss(half.float(), labels)
    assert loss(half, labels).item() == rounded.item()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(z.float(), labels)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(exact, rel=1e-4)
    value, gradient = _gradient(loss, half, labels)
    assert gradient.dtype == torch.bfloat16
    assert gradient.abs().max() > 0


@pytest.mark.parametrize("name", NAMES)
def test_bad_batches_are_refused_by_name(name: str, make_batch: Any, build: Any) -> None:
    z, labels, _ = make_batch(6)
    loss = build(name)
    with pytest.raises((TypeError, ValueError), match="labels"):
        loss(z, labels[:4])
    with pytest.raises((TypeError, ValueError), match="labels"):
        loss(z, labels.double())
    with pytest.raises((TypeError, ValueError), match="labels"):
        build(name, multi_hot=True)(z, torch.full((6, 5), 2))
    with pytest.raises(ValueError, match="embeddings"):
        loss(z[0], labels)
    with pytest.raises(ValueError, match="embeddings"):
        loss(torch.ones(6, 8, dtype=torch.long), labels)
    with pytest.raises((TypeError, ValueError), match="embeddings"):
        loss(z.numpy(), labels)
    if loss.needs_n_classes and name != "CosineEmbedding":
        with pytest.raises(ValueError, match="labels must be class ids from 0 to 4"):
            loss(z, labels + 4)
        with pytest.raises(ValueError, match="labels have 7 classes"):
            loss(z, torch.zeros(6, 7))


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_is_a_module_like_any_other(name: str, make_batch: Any, build: Any) -> None:
    loss = build(name)
    z, labels, _ = make_batch(6)
    value = loss(z, labels).item()
    assert isinstance(loss, SimilarityLoss)
    assert copy.deepcopy(loss)(z, labels).item() == value
    assert pickle.loads(pickle.dumps(loss))(z, labels).item() == value
    other = build(name)
    other.load_state_dict(loss.state_dict())
    assert other(z, labels).item() == value
    assert type(loss).__name__ in repr(loss)
    kinds = {p.kind for key, p in inspect.signature(type(loss).__init__).parameters.items() if key != "self"}
    assert kinds <= {inspect.Parameter.KEYWORD_ONLY}


def test_the_names() -> None:
    assert NAMES == [
        "CosineEmbedding", "DCH", "DHN", "DPSH", "WGLHH", "HashNet", "HyP2", "ADSH", "CSQ", "OrthoHash",
        "BiHalf", "DBDH", "DFH", "DPN", "DSH", "DTSH", "GreedyHash", "JMLH", "MIHash", "OrthoArc", "SDHC",
    ]  # fmt: skip
    assert list(UNSUPERVISED_LOSSES) == ["BiHalfUnsupervised", "CIBHash"]
    assert type(make_loss("hashnet", n_bits=8, n_classes=3)) is LOSSES["HashNet"]
    with pytest.raises(ValueError, match=r"loss must be one of .*; got 'DSHH'"):
        make_loss("DSHH", n_bits=8, n_classes=3)
    with pytest.raises(TypeError, match="DCH has no option gama; it has gamma, similar_fraction"):
        make_loss("DCH", n_bits=8, n_classes=3, gama=2)
    with pytest.raises(ValueError, match="n_classes must be at least 1"):
        make_loss("GreedyHash", n_bits=8, n_classes=0)
    with pytest.raises(ValueError, match="use train_head"):
        make_loss("ADSH", n_bits=8, n_classes=3)


def test_the_room_gives_every_loss_by_its_name() -> None:
    for name, loss in [*LOSSES.items(), *UNSUPERVISED_LOSSES.items()]:
        assert getattr(losses, name) is loss
    for name in ("DSHH", "_DCH"):
        with pytest.raises(AttributeError, match=name):
            getattr(losses, name)


def test_a_loss_of_ones_own_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LOSSES, "Mine", LOSSES["DCH"])
    monkeypatch.setitem(UNSUPERVISED_LOSSES, "MineWithoutLabels", UNSUPERVISED_LOSSES["CIBHash"])
    assert losses.Mine is LOSSES["DCH"]
    assert losses.MineWithoutLabels is UNSUPERVISED_LOSSES["CIBHash"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("CosineEmbedding", {"margin": 1.5}, "margin must be a finite number at least -1 and at most 1; got 1.5"),
        ("CosineEmbedding", {"margin": "0"}, "margin must be a number; got '0'"),
        ("DCH", {"gamma": 0}, "gamma must be a finite number above 0; got 0"),
        ("DCH", {"gamma": float("nan")}, "gamma must be a finite number"),
        ("DCH", {"similar_fraction": 1.0}, "similar_fraction must be below 1"),
        ("DCH", {"similar_fraction": 0.0}, "similar_fraction must be a finite number above 0"),
        ("DHN", {"scale": -1.0}, "scale must be a finite number above 0; got -1.0"),
        ("DPSH", {"scale": True}, "scale must be a number; got True"),
        ("WGLHH", {"alpha": 0.0}, "alpha must be"),
        ("WGLHH", {"similar_weight": "equal"}, 'similar_weight must be a number above 0, "balanced" or None'),
        ("WGLHH", {"similar_weight": -1.0}, "similar_weight must be"),
        ("WGLHH", {"form": "paper"}, "form must be"),
        ("HashNet", {"alpha": -0.5}, "alpha must be"),
        ("HashNet", {"growth": -1.0}, "growth must be"),
        ("HashNet", {"similar_fraction": 2}, "similar_fraction must be below 1"),
        ("HyP2", {"beta": -0.1}, "beta must be"),
        ("HyP2", {"pairs": "some"}, "pairs must be"),
        ("HyP2", {"margin": 2}, "margin must be"),
        ("ADSH", {"gamma": -1.0}, "gamma must be"),
        ("ADSH", {"dissimilar": 0.5}, "dissimilar must be a finite number at most 0"),
        ("ADSH", {"dissimilar": "soft"}, "dissimilar must be"),
        ("CSQ", {"codebook": "random"}, "codebook must be one of"),
        ("CSQ", {"random_state": -2}, "random_state must be at least 0"),
        ("BiHalf", {"gamma": -1.0}, "gamma must be"),
        ("DBDH", {"balance": -1.0}, "balance must be"),
        ("DFH", {"eta": -1.0}, "eta must be"),
        ("DFH", {"mu": -1.0}, "mu must be"),
        ("DFH", {"push": -1.0}, "push must be"),
        ("DPN", {"margin": 0.0}, "margin must be"),
        ("DPN", {"codebook": "random"}, "codebook must be one of"),
        ("DSH", {"margin": 0.0}, "margin must be"),
        ("DTSH", {"margin": -1.0}, "margin must be"),
        ("DTSH", {"scale": 0.0}, "scale must be"),
        ("JMLH", {"kl_weight": -1.0}, "kl_weight must be"),
        ("MIHash", {"n_bins": 0}, "n_bins must be"),
        ("OrthoArc", {"margin": 3.0}, "margin must be"),
        ("SDHC", {"variance": -1.0}, "variance must be"),
        ("OrthoHash", {"scale": 0.0}, "scale must be"),
        ("OrthoHash", {"margin": -0.1}, "margin must be"),
    ],
)
def test_bad_options_are_refused_by_name(name: str, options: dict[str, Any], message: str, build: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        build(name, **options)
