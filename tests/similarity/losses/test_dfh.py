"""The class centers of DFH."""

from itertools import product
from typing import Any

import pytest
import torch

from h2q.similarity.losses import DFH
from h2q.similarity.losses.dfh import update_centers


def test_each_center_is_the_best_while_the_others_are_fixed(make_batch: Any) -> None:
    """|B - Y C|^2 / 2 + push sum_(c < d) C_c . C_d is smallest: every other center of one class is no better."""
    codes, labels, _ = make_batch(12, 4, multi_hot=True)
    codes, labels = codes.sign(), labels.double()
    centers = update_centers(torch.ones(5, 4, dtype=torch.float64), codes, labels, push=1.5)

    def objective(centers: torch.Tensor) -> float:
        products = centers @ centers.T
        fit = (codes - labels @ centers).square().sum() / 2
        return float(fit + 1.5 * (products.sum() - products.trace()) / 2)

    last = centers.clone()
    for other in product((-1.0, 1.0), repeat=4):
        last[4] = torch.tensor(other)
        assert objective(centers) <= objective(last) + 1e-12


def test_classes_that_a_batch_lacks_keep_their_center() -> None:
    centers = torch.tensor([[1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    labels = torch.tensor([[0.0, 1.0, 0.0]])
    new = update_centers(centers, torch.tensor([[-1.0, -1.0]]), labels, push=0.0)
    assert new.tolist() == [[1, -1], [-1, -1], [-1, 1]]


def test_centers_follow_in_training_mode_only_and_are_part_of_the_state(make_batch: Any) -> None:
    z, labels, _ = make_batch(9)
    loss = DFH(n_bits=8, n_classes=5)
    loss.eval()
    before = loss(z, labels).item()
    assert loss(z, labels).item() == before
    assert not loss.centers.any()
    loss.train()
    loss(z, labels)
    assert loss.centers[labels.unique()].any(dim=1).all()
    other = DFH(n_bits=8, n_classes=5)
    other.load_state_dict(loss.state_dict())
    assert torch.equal(other.centers, loss.centers)


@pytest.mark.parametrize("center", [1.0, -1.0])
def test_a_bit_on_which_the_codes_are_divided_stays(center: float) -> None:
    codes, labels = torch.tensor([[1.0], [-1.0]]), torch.tensor([[1.0], [1.0]])
    assert update_centers(torch.tensor([[center]]), codes, labels, push=0.0).item() == center


def test_the_weights_may_be_small() -> None:
    assert DFH(eta=0.5, mu=0.5, n_bits=4, n_classes=2).mu == 0.5
