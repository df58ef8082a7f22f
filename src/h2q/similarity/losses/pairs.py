"""What pairwise losses share: which pairs are similar, how similar their embeddings are, and means over pairs.

A pair is two *different* items of a batch; it is similar if they have at least one label in common.
"""

import torch
from torch import Tensor

from h2q.checks import check_number
from h2q.errors import describe

__all__ = [
    "as_multi_hot",
    "balanced_weights",
    "check_batch",
    "check_fraction",
    "check_size",
    "cosine_similarities",
    "distinct_pairs",
    "likelihood_losses",
    "mean_where",
    "similar_pairs",
    "unit_rows",
]


def check_batch(embeddings: Tensor, labels: Tensor) -> None:
    """Raise if these are not embeddings (n, k) with labels (n,) or (n, c)."""
    for name, value in (("embeddings", embeddings), ("labels", labels)):
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a torch tensor; got {describe(value)}: use torch.as_tensor")
    if embeddings.ndim != 2 or not embeddings.is_floating_point():
        raise ValueError(f"embeddings must be floating-point rows (n, k); got {describe(embeddings)}")
    if labels.ndim not in (1, 2) or len(labels) != len(embeddings):
        raise ValueError(
            f"labels must be class ids (n,) or multi-hot rows (n, c) of the {len(embeddings)} embeddings; got "
            f"{describe(labels)}"
        )
    if labels.ndim == 1 and (labels.is_floating_point() or labels.dtype == torch.bool):
        raise TypeError(f"labels must be whole numbers where they are class ids; got {describe(labels)}")
    if labels.ndim == 2 and not ((labels == 0) | (labels == 1)).all():
        raise ValueError("labels with two dimensions must be multi-hot rows of 0 and 1; got other values")


def check_size(embeddings: Tensor) -> None:
    """Raise if entries are so large that squared norms overflow; NaN and infinity are left to the loss."""
    limit = float(torch.finfo(embeddings.dtype).max) ** 0.5 / 10
    largest = float(embeddings.detach().abs().max()) if embeddings.numel() else 0.0
    if limit < largest < float("inf"):
        raise ValueError(
            f"embeddings have entries up to {largest:.1e}: above {limit:.1e} squared norms overflow in "
            f"{str(embeddings.dtype).removeprefix('torch.')}; scale them, or add weight decay"
        )


def as_multi_hot(labels: Tensor, n_classes: int, dtype: torch.dtype) -> Tensor:
    """Return labels as multi-hot rows (n, n_classes) of `dtype`.

    >>> as_multi_hot(torch.tensor([2, 0]), 3, torch.float32)
    tensor([[0., 0., 1.],
            [1., 0., 0.]])
    """
    if labels.ndim == 2:
        if labels.shape[1] != n_classes:
            raise ValueError(f"labels have {labels.shape[1]} classes, but the loss was made for {n_classes}")
        return labels.to(dtype)
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < n_classes:
        raise ValueError(
            f"labels must be class ids from 0 to {n_classes - 1}, the {n_classes} classes that the loss was made for; "
            f"got {int(labels.min())} to {int(labels.max())}"
        )
    return torch.nn.functional.one_hot(labels.long(), n_classes).to(dtype)


def similar_pairs(labels: Tensor, others: Tensor | None = None) -> Tensor:
    """Return which of `labels` and `others` (themselves by default) have a label in common: bool (n, m).

    >>> similar_pairs(torch.tensor([[1, 1, 0], [0, 1, 1], [0, 0, 1]]))
    tensor([[ True,  True, False],
            [ True,  True,  True],
            [False,  True,  True]])
    """
    others = labels if others is None else others
    if labels.ndim == 1:
        return labels[:, None] == others[None, :]
    return labels.float() @ others.float().T > 0


def distinct_pairs(n: int, device: torch.device) -> Tensor:
    """Return which of n x n pairs are two different items: all but the diagonal."""
    return ~torch.eye(n, dtype=torch.bool, device=device)


def mean_where(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of the values where the mask is true; 0, with gradients of 0, where it never is.

    >>> mean_where(torch.tensor([1.0, 2.0, 6.0]), torch.tensor([True, False, True])).item()
    3.5
    """
    return torch.where(mask, values, 0).sum() / mask.sum().clamp_min(1)


def unit_rows(embeddings: Tensor) -> Tensor:
    """Return rows scaled to norm 1; a row of zeros stays one, with finite gradients."""
    norms = torch.linalg.vector_norm(embeddings, dim=1, keepdim=True)
    return embeddings / torch.where(norms > 0, norms, 1)


def cosine_similarities(embeddings: Tensor, others: Tensor | None = None) -> Tensor:
    """Return the cosine similarity of each row with each of `others` (themselves by default): (n, m)."""
    rows = unit_rows(embeddings)
    return rows @ (rows if others is None else unit_rows(others)).T


def likelihood_losses(logits: Tensor, similar: Tensor) -> Tensor:
    """Return -log p(s | logit) with p(s = 1) the logistic function of the logit: log(1 + e^x) - s x."""
    return torch.nn.functional.softplus(logits) - torch.where(similar, logits, 0)


def balanced_weights(similar: Tensor, pairs: Tensor, similar_fraction: float | None, dtype: torch.dtype) -> Tensor:
    """Return weights with which similar and dissimilar pairs count the same: N / N1 and N / N0.

    Parameters
    ----------
    similar, pairs : Tensor of shape (n, n)
        Which pairs are similar, and which are pairs at all.
    similar_fraction : float or None
        N1 / N; None: that of this batch. A kind that the batch lacks then weighs nothing, for there is none of it.
    dtype : torch.dtype
        Of the weights.
    """
    if similar_fraction is not None:
        fraction = torch.tensor(similar_fraction, dtype=dtype, device=similar.device)
    else:
        fraction = (similar & pairs).sum().to(dtype) / pairs.sum().clamp_min(1)
    return torch.where(similar, 1 / fraction, 1 / (1 - fraction)).nan_to_num(posinf=0.0)


def check_fraction(similar_fraction: float | None) -> float | None:
    """Return the share of similar pairs if it is None or between 0 and 1, both not allowed."""
    if similar_fraction is None:
        return None
    fraction = check_number(similar_fraction, "similar_fraction", above=0)
    if fraction >= 1:
        raise ValueError(f"similar_fraction must be below 1: N1 / N of the training set; got {similar_fraction}")
    return fraction
