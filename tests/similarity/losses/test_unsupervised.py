"""The losses for images without labels, against the plain loops."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from h2q.similarity.losses import UNSUPERVISED_LOSSES, BiHalfUnsupervised, CIBHash, UnsupervisedLoss

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "losses.json").read_text())
NAMES = list(UNSUPERVISED_LOSSES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("n", "n_bits", "scale"), [(9, 8, 1.0), (2, 8, 1.0), (14, 16, 0.1), (7, 8, 3.0)])
def test_the_value_is_the_plain_loops(
    name: str, n: int, n_bits: int, scale: float, naive: ModuleType, make_batch: Any
) -> None:
    z, context = (make_batch(n, n_bits, scale=scale, seed=seed)[0] for seed in (0, 1))
    value = UNSUPERVISED_LOSSES[name]()(z, context).item()
    assert value == pytest.approx(getattr(naive, name.lower())(z.tolist(), context.tolist()), rel=1e-10)


def test_options(naive: ModuleType, make_batch: Any) -> None:
    z, context = (make_batch(9, seed=seed)[0] for seed in (0, 1))
    rows = z.tolist(), context.tolist()
    value = CIBHash(temperature=0.7, kl_weight=2.0)(z, context).item()
    assert value == pytest.approx(naive.cibhash(*rows, 0.7, 2.0), rel=1e-10)
    assert BiHalfUnsupervised(gamma=0.0)(z, context).item() == pytest.approx(
        naive.bihalfunsupervised(*rows, 0.0), rel=1e-10
    )
    bad = ((CIBHash, {"temperature": 0.0}), (CIBHash, {"kl_weight": -1.0}), (BiHalfUnsupervised, {"gamma": -1.0}))
    for loss, options in bad:
        with pytest.raises(ValueError, match=f"{next(iter(options))} must be"):
            loss(**options)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", GOLDEN["cases"], ids=["first", "second"])
def test_golden_values(name: str, case: dict[str, Any]) -> None:
    z = torch.tensor(case["embeddings"], dtype=torch.float64)
    context = z.roll(-1, dims=0) if name == "CIBHash" else torch.tensor(case["codes"], dtype=torch.float64)
    assert UNSUPERVISED_LOSSES[name]()(z, context).item() == pytest.approx(case["unsupervised"][name], rel=1e-12)


def test_the_second_argument_of_the_divergence_is_held_fixed(make_batch: Any) -> None:
    z, view = (make_batch(6, seed=seed)[0].requires_grad_() for seed in (0, 1))
    loss = CIBHash(kl_weight=1.0)
    contrastive = CIBHash(kl_weight=0.0)
    whole, part = (torch.autograd.grad(each(z, view), z)[0] for each in (loss, contrastive))
    p, q = torch.sigmoid(z), torch.sigmoid(view)
    logs = torch.log(p / q) - torch.log((1 - p) / (1 - q))
    assert torch.allclose(whole - part, logs * p * (1 - p) / (2 * len(z)), atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_odd_batches_and_types(name: str, make_batch: Any) -> None:
    loss = UNSUPERVISED_LOSSES[name]()
    z, _, _ = make_batch(6)
    batches = {"none": z[:0], "one": z[:1], "all in one place": z[:1].repeat(6, 1), "zeros": 0 * z, "huge": 1e4 * z}
    for what, rows in batches.items():
        for dtype in (torch.float32, torch.float64, torch.bfloat16):
            rows = rows.detach().to(dtype).requires_grad_()
            value = loss(rows, rows.detach().clone())
            value.backward()
            assert rows.grad is not None
            assert torch.isfinite(value), what
            assert torch.isfinite(rows.grad).all(), what
            if what in ("none", "one"):
                assert value == 0


@pytest.mark.parametrize("name", NAMES)
def test_bad_batches_are_refused_by_name(name: str, make_batch: Any) -> None:
    loss: UnsupervisedLoss = UNSUPERVISED_LOSSES[name]()
    z, labels, _ = make_batch(6)
    with pytest.raises(ValueError, match=f"{loss.context} must be a tensor of floating-point rows"):
        loss(z, labels)
    with pytest.raises(ValueError, match=f"{loss.context} must belong to the embeddings \\(6, 8\\)"):
        loss(z, z[:4])
    with pytest.raises(ValueError, match="embeddings must be a tensor"):
        loss(z[0], z)
    wide = torch.cat([z, z], dim=1)
    if loss.context == "view":
        with pytest.raises(ValueError, match="view must belong"):
            loss(z, wide)
    else:
        assert torch.isfinite(loss(z, wide))


def test_the_weight_of_the_divergence_is_not_negative() -> None:
    assert CIBHash(kl_weight=0).kl_weight == 0
    with pytest.raises(ValueError, match="kl_weight must be"):
        CIBHash(kl_weight=-0.5)
