"""A code for each class, far from all others: the hash centers of CSQ and the codebook of OrthoHash."""

from math import comb

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import hadamard
from torch import Tensor

from h2q.checks import check_integer, check_n_bits

__all__ = ["CODEBOOKS", "class_codes", "majority_codes"]

CODEBOOKS = ("hadamard", "bernoulli", "balanced", "auto")


def class_codes(n_classes: int, n_bits: int, *, codebook: str = "auto", random_state: int = 0) -> Tensor:
    """Return a code in {-1, 1} for each class, all different.

    Parameters
    ----------
    n_classes : int
        At least 1, at most 2^n_bits.
    n_bits : int
        Bits k.
    codebook : {"auto", "hadamard", "bernoulli", "balanced"}
        "hadamard": rows of [H; -H] with H the Hadamard matrix of order k: at least k/2 bits apart, but k must be a
        power of 2 and n_classes at most 2 k. "bernoulli": each bit by a fair coin. "balanced":
        k // 2 bits of each code, drawn at random, are -1. "auto": "hadamard" where it can be.
    random_state : int
        Of the coin.

    Returns
    -------
    Tensor of shape (n_classes, n_bits)
        float32.

    Raises
    ------
    ValueError
        If there are fewer codes than classes.

    Notes
    -----
    Yuan et al., "Central Similarity Quantization for Efficient Image and Video Retrieval", CVPR 2020, algorithm 1.

    Examples
    --------
    >>> class_codes(3, 2)
    tensor([[ 1.,  1.],
            [ 1., -1.],
            [-1., -1.]])
    """
    check_n_bits(n_bits)
    check_integer(n_classes, "n_classes", low=1)
    check_integer(random_state, "random_state", low=0)
    if codebook not in CODEBOOKS:
        raise ValueError(f"codebook must be one of {', '.join(CODEBOOKS)}; got {codebook!r}")
    possible = n_bits & (n_bits - 1) == 0 and n_classes <= 2 * n_bits
    if codebook == "hadamard" and not possible:
        raise ValueError(
            f'codebook="hadamard" needs n_bits, a power of 2, and at most 2 n_bits classes; got {n_bits} bits and '
            f'{n_classes} classes: pass codebook="bernoulli"'
        )
    if codebook in ("hadamard", "auto") and possible:
        matrix = hadamard(n_bits, dtype=np.float32)
        return torch.from_numpy(np.concatenate([matrix, -matrix])[:n_classes].copy())
    n_codes = comb(n_bits, n_bits // 2) if codebook == "balanced" else 2**n_bits
    if n_classes > n_codes:
        kind = "balanced codes" if codebook == "balanced" else "codes"
        raise ValueError(f"n_bits={n_bits} gives {n_codes} {kind}, too few for {n_classes} classes; take more bits")
    return torch.from_numpy(_different_codes(n_classes, n_bits, codebook == "balanced", random_state))


def _different_codes(n_classes: int, n_bits: int, balanced: bool, random_state: int) -> NDArray[np.float32]:
    """Draw codes; a code that another class has is drawn again."""
    rng = np.random.default_rng(random_state)
    codes: dict[bytes, NDArray[np.float32]] = {}
    while len(codes) < n_classes:
        if balanced:
            code = np.where(rng.permutation(n_bits) < n_bits // 2, -1, 1).astype(np.float32)
        else:
            code = np.where(rng.random(n_bits) < 0.5, -1, 1).astype(np.float32)
        codes.setdefault(code.tobytes(), code)
    return np.stack(list(codes.values()))


def majority_codes(labels: Tensor, codes: Tensor, ties: Tensor) -> Tensor:
    """Return, for each item, the bit that most of its classes' codes have; `ties` has the bit where they are even.

    Parameters
    ----------
    labels : Tensor of shape (n, c)
        Multi-hot rows.
    codes : Tensor of shape (c, k)
        In {-1, 1}.
    ties : Tensor of shape (k,)
        In {-1, 1}.

    Examples
    --------
    >>> codes = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    >>> majority_codes(torch.tensor([[1.0, 0.0], [1.0, 1.0]]), codes, torch.tensor([1.0, -1.0]))
    tensor([[ 1.,  1.],
            [ 1., -1.]])
    """
    votes = labels @ codes
    return torch.where(votes == 0, ties, votes.sign())
