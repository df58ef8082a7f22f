"""Codes for classes."""

import numpy as np
import pytest
import torch

from h2q.similarity.losses.codebooks import class_codes, majority_codes


@pytest.mark.parametrize(("n_classes", "n_bits"), [(10, 16), (32, 16), (100, 64), (2, 1)])
def test_hadamard_codes_are_half_the_bits_apart_or_all_of_them(n_classes: int, n_bits: int) -> None:
    codes = class_codes(n_classes, n_bits)
    assert codes.shape == (n_classes, n_bits)
    products = (codes @ codes.T)[~torch.eye(n_classes, dtype=torch.bool)]
    assert set(products.tolist()) <= {0.0, -float(n_bits)}


@pytest.mark.parametrize(("n_classes", "n_bits"), [(10, 12), (100, 48), (33, 16), (16, 4), (1, 3), (200, 100)])
def test_coin_codes_are_different_balanced_and_the_seeds(n_classes: int, n_bits: int) -> None:
    codes = class_codes(n_classes, n_bits, codebook="bernoulli", random_state=3)
    assert set(codes.unique().tolist()) <= {-1.0, 1.0}
    assert len(np.unique(codes.numpy(), axis=0)) == n_classes
    assert torch.equal(codes, class_codes(n_classes, n_bits, codebook="bernoulli", random_state=3))
    if n_classes * n_bits > 100:
        assert abs(codes.mean().item()) < 4 / (n_classes * n_bits) ** 0.5
        assert not torch.equal(codes, class_codes(n_classes, n_bits, codebook="bernoulli", random_state=4))


def test_balanced_codes_have_half_of_their_bits_at_minus_one() -> None:
    for n_classes, n_bits in ((10, 12), (3, 7), (6, 4)):
        codes = class_codes(n_classes, n_bits, codebook="balanced", random_state=1)
        assert ((codes == -1).sum(dim=1) == n_bits // 2).all()
        assert len(np.unique(codes.numpy(), axis=0)) == n_classes
    with pytest.raises(ValueError, match="n_bits=4 gives 6 balanced codes, too few for 7 classes"):
        class_codes(7, 4, codebook="balanced")


def test_auto_takes_coins_where_there_is_no_hadamard_matrix() -> None:
    for n_classes, n_bits in ((10, 48), (33, 16)):
        assert torch.equal(class_codes(n_classes, n_bits), class_codes(n_classes, n_bits, codebook="bernoulli"))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r'needs n_bits, a power of 2.*got 12 bits and 3 classes: pass codebook="bern'):
        class_codes(3, 12, codebook="hadamard")
    with pytest.raises(ValueError, match="n_bits=3 gives 8 codes, too few for 9 classes"):
        class_codes(9, 3)
    with pytest.raises(ValueError, match="n_classes must be at least 1"):
        class_codes(0, 8)
    with pytest.raises(ValueError, match="random_state must be at least 0"):
        class_codes(2, 8, random_state=-1)


def test_the_majority_of_three() -> None:
    codes = torch.tensor([[1.0, 1, -1], [1, -1, -1], [-1, 1, 1]])
    ties = torch.tensor([-1.0, -1, 1])
    labels = torch.tensor([[1.0, 1, 1], [1, 0, 1], [0, 0, 1]])
    assert majority_codes(labels, codes, ties).tolist() == [[1, 1, -1], [-1, 1, 1], [-1, 1, 1]]
