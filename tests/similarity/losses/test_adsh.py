"""ADSH's own part: the term with positions, and the update of the codes."""

from itertools import pairwise, product
from types import ModuleType

import pytest
import torch
from torch import Tensor

from h2q.similarity.losses import ADSH, update_codes


def _problem(multi_hot: bool = False) -> tuple[ADSH, Tensor, Tensor, list[set[int]]]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (12, 3), generator=generator) if multi_hot else torch.arange(12) % 3
    loss = ADSH(labels=labels, n_bits=5, gamma=3.0).double()
    loss.codes = torch.randn(12, 5, generator=generator, dtype=torch.float64).sign()
    z = torch.randn(4, 5, generator=generator, dtype=torch.float64)
    return (
        loss,
        z,
        torch.tensor([8, 1, 5, 11]),
        [set(row.nonzero().flatten().tolist()) if row.ndim else {int(row)} for row in labels],
    )


def _value(naive: ModuleType, loss: ADSH, codes: Tensor, z: Tensor, positions: Tensor, sets: list[set[int]]) -> float:
    places = positions.tolist()
    own = [sets[place] for place in places]
    return naive.adsh(z.tolist(), own, codes.tolist(), sets, places, gamma=loss.gamma, dissimilar=loss.dissimilar)


@pytest.mark.parametrize("multi_hot", [False, True])
def test_the_loss_with_positions_is_the_plain_loops(multi_hot: bool, naive: ModuleType) -> None:
    loss, z, positions, sets = _problem(multi_hot)
    expected = _value(naive, loss, loss.codes, z, positions, sets)
    assert loss(z, loss.labels[positions], positions).item() == pytest.approx(expected, rel=1e-12)
    assert torch.autograd.gradcheck(lambda rows: loss(rows, loss.labels[positions], positions), z.requires_grad_())


def test_the_update_of_one_bit_is_the_best_of_all(naive: ModuleType) -> None:
    loss, _, positions, sets = _problem()
    loss.codes = loss.codes[:, :1]
    z = torch.tensor([[0.3], [-2.0], [0.1], [1.0]], dtype=torch.float64)
    loss.step_codes(z, positions)
    reached = _value(naive, loss, loss.codes, z, positions, sets)
    best = min(
        _value(naive, loss, torch.tensor(bits).reshape(12, 1).double(), z, positions, sets)
        for bits in product([-1, 1], repeat=12)
    )
    assert reached == pytest.approx(best, rel=1e-12)


def test_updates_never_make_j_larger_and_end_where_no_bit_helps(naive: ModuleType) -> None:
    loss, z, positions, sets = _problem()
    values = [_value(naive, loss, loss.codes, z, positions, sets)]
    for _ in range(6):
        loss.step_codes(z, positions)
        values.append(_value(naive, loss, loss.codes, z, positions, sets))
    assert all(after <= before + 1e-12 for before, after in pairwise(values))
    assert values[1] < values[0]
    for row, bit in product(range(12), range(5)):
        flipped = loss.codes.clone()
        flipped[row, bit] *= -1
        assert _value(naive, loss, flipped, z, positions, sets) >= values[-1] - 1e-12


def test_update_codes_leaves_its_arguments_alone() -> None:
    codes, embeddings, linear = torch.ones(3, 2), torch.eye(2), torch.ones(3, 2)
    assert update_codes(codes, embeddings, linear).tolist() == [[-1.0, -1.0]] * 3
    assert codes.tolist() == [[1.0, 1.0]] * 3


def test_balanced_similarity_and_no_tanh(naive: ModuleType) -> None:
    labels = torch.tensor([0, 0, 1, 2, 2, 2])
    loss = ADSH(labels=labels, n_bits=3, dissimilar="balanced", squash=False)
    assert loss.dissimilar == pytest.approx(-14 / 22)
    z = torch.tensor([[2.0, -1.0, 0.5]])
    loss.codes = torch.ones(6, 3)
    similar = (labels == 1).float() + (labels != 1) * loss.dissimilar
    assert loss(z, torch.tensor([1])).item() == pytest.approx((1.5 - 3 * similar).square().mean().item(), rel=1e-6)


def test_the_codes_are_state() -> None:
    loss, z, positions, _ = _problem()
    loss.step_codes(z, positions)
    other = ADSH(labels=loss.labels, n_bits=5, gamma=3.0)
    assert not other.codes.any()
    other.load_state_dict(loss.state_dict())
    assert torch.equal(other.codes, loss.codes.float())
    assert not list(loss.parameters())


def test_bad_labels_are_refused() -> None:
    loss, z, _, _ = _problem()
    with pytest.raises(ValueError, match="labels must be of the training set's kind"):
        loss(z, torch.zeros(4, 3, dtype=torch.long))
    with pytest.raises(ValueError, match="labels must be a tensor of the training set's class ids"):
        ADSH(labels=torch.zeros(0, dtype=torch.long), n_bits=4)
