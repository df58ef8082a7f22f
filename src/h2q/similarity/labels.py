"""Labels of a training set, checked once."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from h2q.checks import as_labels

__all__ = ["ClassLabels", "as_class_labels"]


@dataclass(frozen=True)
class ClassLabels:
    """Labels from which similarity can be learned; `as_class_labels` makes them.

    Attributes
    ----------
    values : ndarray of shape (n,) or (n, c)
        int64 class ids from 0, or bool multi-hot rows.
    n_classes : int
        Number of classes.
    """

    values: NDArray[Any]
    n_classes: int

    def __len__(self) -> int:
        return len(self.values)

    def similar_fraction(self) -> float:
        """Return the share of the pairs of different items that have a label in common.

        >>> as_class_labels(np.array([0, 0, 1, 1])).similar_fraction()
        0.3333333333333333
        """
        n = len(self.values)
        if self.values.ndim == 1:
            counts = np.unique(self.values, return_counts=True)[1].astype(np.float64)
            return float((counts * (counts - 1)).sum() / (n * (n - 1)))
        rows = self.values.astype(np.float32)
        pairs = sum(int((part @ rows.T > 0).sum()) for part in np.array_split(rows, -(-n // 1024)))
        alone = int(self.values.any(axis=1).sum())
        return (pairs - alone) / (n * (n - 1))


def as_class_labels(labels: "ArrayLike | ClassLabels", n: int | None = None) -> ClassLabels:
    """Check labels of a training set; those that are checked already are returned as they are.

    Parameters
    ----------
    labels : array-like of shape (n,) or (n, c), or ClassLabels
        Class ids, or multi-hot rows.
    n : int, optional
        Number of items that they must be for.

    Raises
    ------
    ValueError
        If there is one class only, or fewer items than classes, or not `n` labels.

    Examples
    --------
    >>> as_class_labels([0, 1, 1, 2]).n_classes
    3
    >>> as_class_labels([4, 4, 4])
    Traceback (most recent call last):
    ...
    ValueError: labels hold one class only: similarity is learned from pairs with and without a label in common; ...
    """
    if isinstance(labels, ClassLabels):
        return labels
    values = as_labels(labels, n)
    used = np.unique(values) if values.ndim == 1 else np.flatnonzero(values.any(axis=0))
    if len(used) < 2:
        raise ValueError(
            "labels hold one class only: similarity is learned from pairs with and without a label in common; add "
            "items of a second class"
        )
    n_classes = int(used.max()) + 1 if values.ndim == 1 else values.shape[1]
    if len(values) < n_classes:
        raise ValueError(
            f"labels name {n_classes} classes (ids from 0), but there are only {len(values)} items; number the classes "
            "0, 1, 2 ... without gaps, and give at least one item a class"
        )
    return ClassLabels(values, n_classes)
