"""Losses of codes: their gradients are those of the codes, passed on to the embeddings."""

from typing import Any

import pytest
import torch
from torch import Tensor

from h2q.similarity.losses import BiHalf, GreedyHash
from h2q.similarity.losses.bihalf import half_codes
from h2q.similarity.losses.classifiers import signs, straight_through


def gradient(loss: Any, z: Tensor, labels: Tensor) -> Tensor:
    z = z.detach().clone().requires_grad_()
    loss(z, labels).backward()
    assert z.grad is not None
    return z.grad


def gradient_of_codes(loss: Any, codes: Tensor, labels: Tensor) -> Tensor:
    """The gradient of the classifier's cross-entropy with respect to codes, from autograd on the codes themselves."""
    codes = codes.detach().clone().requires_grad_()
    loss.cross_entropy(codes, labels)[0].backward()
    assert codes.grad is not None
    return codes.grad


def test_the_value_is_exactly_the_codes() -> None:
    z = torch.tensor([1e-8, -3e7, 0.1, 0.0], requires_grad=True)
    assert straight_through(z, signs(z)).tolist() == [1, -1, 1, -1]


def test_greedyhash_passes_the_gradient_through_the_sign(make_batch: Any, build: Any) -> None:
    z, labels, _ = make_batch(9)
    loss: GreedyHash = build("GreedyHash")
    assert torch.equal(gradient(loss, z, labels), gradient_of_codes(loss, signs(z), labels))


def test_bihalf_adds_the_distance_to_the_codes(make_batch: Any, build: Any) -> None:
    z, labels, _ = make_batch(9)
    loss: BiHalf = build("BiHalf", gamma=3.0)
    codes = half_codes(z)
    expected = gradient_of_codes(loss, codes, labels) + 3.0 * (z - codes) / z.numel()
    assert torch.allclose(gradient(loss, z, labels), expected, atol=1e-15)


def test_jmlh_passes_the_gradient_to_the_probability(make_batch: Any, build: Any) -> None:
    z, labels, _ = make_batch(9)
    loss = build("JMLH", kl_weight=0.0)
    p = torch.sigmoid(z)
    expected = gradient_of_codes(loss, (z > 0).double(), labels) * p * (1 - p)
    assert torch.allclose(gradient(loss, z, labels), expected, atol=1e-15)
    # With the divergence alone: d/dz KL(sigma(z) || 1/2) = z sigma'(z).
    with torch.no_grad():
        loss.weight.zero_()
    loss.kl_weight = 1.0
    assert torch.allclose(gradient(loss, z, labels), z * p * (1 - p) / len(z), atol=1e-15)


@pytest.mark.parametrize("n", [2, 7, 10])
def test_half_codes_are_balanced_and_the_nearest_such_codes(n: int) -> None:
    z = torch.randn(n, 5, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    codes = half_codes(z)
    assert ((codes == 1).sum(dim=0) == n // 2).all()
    assert set(codes.unique().tolist()) == {-1.0, 1.0}
    for bit in range(5):
        swapped = codes[:, bit].clone()
        swapped[[0, n - 1]] = swapped[[n - 1, 0]]
        assert (z[:, bit] - codes[:, bit]).square().sum() <= (z[:, bit] - swapped).square().sum()
