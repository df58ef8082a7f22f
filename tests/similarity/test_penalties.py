"""Penalties against plain loops, and what descending them alone does to embeddings."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from h2q.similarity.losses import LOSSES
from h2q.similarity.penalties import OWN_PENALTY, PENALTIES, WeightedPenalty, dch, hswd

GOLDEN = Path(__file__).parents[1] / "golden"
FIXED = [name for name in PENALTIES if name != "hswd"]


@pytest.fixture(scope="module")
def naive(load_module: Callable[[Path], ModuleType]) -> ModuleType:
    return load_module(GOLDEN / "make_losses.py")


def _rows(n: int = 7, k: int = 6, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(n, k, generator=torch.Generator().manual_seed(n), dtype=torch.float64)


@pytest.mark.parametrize("scale", [0.01, 1.0, 5.0])
@pytest.mark.parametrize("name", FIXED)
def test_the_value_is_the_plain_loops(name: str, scale: float, naive: ModuleType) -> None:
    rows = _rows(scale=scale)
    assert PENALTIES[name](rows).item() == pytest.approx(naive.PENALTIES[name](rows.tolist()), rel=1e-9)


def test_golden_values() -> None:
    for case in json.loads((GOLDEN / "losses.json").read_text())["cases"]:
        rows = torch.tensor(case["embeddings"], dtype=torch.float64)
        assert set(case["penalties"]) == set(FIXED)
        for name, value in case["penalties"].items():
            assert PENALTIES[name](rows).item() == pytest.approx(value, rel=1e-12)


def test_hswd_is_the_plain_loops_on_the_same_coins(naive: ModuleType) -> None:
    rows = _rows(9, 4)
    coins = 2 * torch.randint(0, 2, (9, 4), generator=torch.Generator().manual_seed(3)) - 1
    expected = naive.hswd(rows.tolist(), coins.double().tolist())
    assert hswd(rows, torch.Generator().manual_seed(3)).item() == pytest.approx(expected, rel=1e-12)
    assert hswd(rows, torch.Generator().manual_seed(4)).item() != pytest.approx(expected, rel=1e-6)


def test_hswd_is_the_optimal_transport_of_each_bit() -> None:
    from scipy.optimize import linear_sum_assignment

    rows = _rows(12, 3)
    ideal = 2 * torch.randint(0, 2, (12, 3), generator=torch.Generator().manual_seed(3)).double() - 1
    costs = []
    for bit in range(3):
        cost = (rows[:, bit, None] - ideal[None, :, bit]).square().numpy()
        costs.append(cost[linear_sum_assignment(cost)].mean())
    assert hswd(rows, torch.Generator().manual_seed(3)).item() == pytest.approx(sum(costs) / 3, rel=1e-12)


@pytest.mark.parametrize("name", list(PENALTIES))
def test_gradients_are_right(name: str) -> None:
    def value(rows: Tensor) -> Tensor:
        return PENALTIES[name](rows, torch.Generator().manual_seed(0))

    assert torch.autograd.gradcheck(value, _rows().requires_grad_())


@pytest.mark.parametrize("name", list(PENALTIES))
@pytest.mark.parametrize("rows", [torch.zeros(3, 4), torch.ones(1, 4), 1e6 * torch.ones(3, 4), torch.ones(2, 1)])
def test_odd_rows_have_finite_values_and_gradients(name: str, rows: Tensor) -> None:
    rows = rows.clone().requires_grad_()
    value = PENALTIES[name](rows)
    value.backward()
    assert rows.grad is not None
    assert torch.isfinite(value)
    assert torch.isfinite(rows.grad).all()


@pytest.mark.parametrize("name", list(PENALTIES))
def test_halves_are_computed_with_as_float32(name: str) -> None:
    half = _rows().bfloat16()
    value = PENALTIES[name](half, torch.Generator().manual_seed(0))
    assert value.dtype == torch.float32
    assert value.item() == PENALTIES[name](half.float(), torch.Generator().manual_seed(0)).item()


def _descend(penalty: Callable[..., Tensor], rows: Tensor) -> Tensor:
    rows = rows.clone().requires_grad_()
    optimizer = torch.optim.Adam([rows], lr=0.02)
    generator = torch.Generator().manual_seed(0)
    for _ in range(400):
        optimizer.zero_grad()
        penalty(rows, generator).backward()
        optimizer.step()
    return rows.detach()


@pytest.mark.parametrize("name", ["l2", "l1", "dhn"])
def test_they_bring_embeddings_to_their_signs(name: str) -> None:
    rows = _rows(40, 6)
    reached = _descend(PENALTIES[name], rows)
    assert torch.equal(reached.sign(), rows.sign())
    assert (reached.abs() - 1).abs().max() < 0.1


def test_dch_brings_entries_to_one_size_and_leaves_the_norm() -> None:
    rows = _rows(40, 6)
    reached = _descend(dch, rows).abs()
    assert (reached.std(dim=1) / reached.mean(dim=1)).max() < 0.2
    assert dch(7 * rows).item() == pytest.approx(dch(rows).item(), rel=1e-12)


def test_hswd_also_balances_the_bits() -> None:
    rows = _rows(40, 6) + 1.0
    assert (rows > 0).double().mean() > 0.8
    reached = _descend(hswd, rows)
    assert 0.4 < (reached > 0).double().mean() < 0.6


def test_the_published_term_of_dhn_draws_to_one_and_the_implementations_to_zero() -> None:
    half = torch.full((1, 4), 0.5, requires_grad=True)
    slopes = {}
    for name in ("dhn", "dhn_implementation"):
        (slopes[name],) = torch.autograd.grad(PENALTIES[name](half), half)
    assert (slopes["dhn"] < 0).all()
    assert (slopes["dhn_implementation"] > 0).all()


def test_every_loss_has_its_penalty_or_says_that_it_has_none() -> None:
    assert set(OWN_PENALTY) == set(LOSSES)
    assert {name for name in OWN_PENALTY.values() if name is not None} <= set(PENALTIES)
    assert {name for name, penalty in OWN_PENALTY.items() if penalty is None} == {
        "HashNet", "ADSH", "OrthoHash", "BiHalf", "DBDH", "DFH", "DPN", "JMLH", "MIHash", "OrthoArc",
    }  # fmt: skip


@pytest.mark.parametrize("name", list(PENALTIES))
def test_bad_embeddings_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="embeddings must be a tensor of floating-point rows"):
        PENALTIES[name](torch.ones(3))
    with pytest.raises(ValueError, match="embeddings must be"):
        PENALTIES[name](torch.ones(3, 2, dtype=torch.long))
    with pytest.raises(ValueError, match="embeddings are empty"):
        PENALTIES[name](torch.ones(0, 2))


def test_a_weighted_penalty_is_named_or_a_function() -> None:
    embeddings = torch.tensor([[0.5, -1.0]])
    assert WeightedPenalty("l2", 0.1)(embeddings).item() == pytest.approx(0.025)
    assert WeightedPenalty(lambda z: z.sum(), 2.0)(embeddings).item() == pytest.approx(-1.0)
    with pytest.raises(ValueError, match=r"penalty must be one of .*; got 'l3'"):
        WeightedPenalty("l3", 0.1)
    with pytest.raises(ValueError, match=r"weight must be a finite number at least 0; got -0\.5"):
        WeightedPenalty("l2", -0.5)
    with pytest.raises(TypeError, match="the penalty l2 has no option sharpness; it has none"):
        WeightedPenalty("l2", 0.1, {"sharpness": 2})
    with pytest.raises(TypeError, match="the penalty dch has no option sharpness; it has gamma"):
        WeightedPenalty("dch", 0.1, {"sharpness": 2})


def test_embeddings_go_through_tanh_only_where_that_is_asked_for() -> None:
    rows = _rows()
    assert WeightedPenalty("l2", 0.1).activate(rows) is rows
    assert torch.equal(WeightedPenalty("l2", 0.1, tanh=True).activate(rows), torch.tanh(rows))
