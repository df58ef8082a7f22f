"""Folds by seed: the same whatever the order in which the images were read."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from h2q.checks import check_integer
from h2q.datasets.dataset import FOLDS

__all__ = [
    "Protocol",
    "alternate",
    "fine_grained_folds",
    "halve_per_class",
    "scale_sizes",
    "split_at_random",
    "split_per_class",
]

Folds = dict[str, NDArray[np.int64]]
Protocol = Literal["official", "zero-shot"]


def _canonical_order(keys: Sequence[str] | Sequence[bytes]) -> NDArray[np.int64]:
    """Positions in the order of their keys (paths or digests), so that the order of files or rows does not matter."""
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)


def _cut(positions: NDArray[np.int64], sizes: Mapping[str, int]) -> Folds:
    """Cut shuffled positions into train, query and validation of these sizes, the rest being the database."""
    folds, start = {}, 0
    for fold in FOLDS[:3]:
        folds[fold] = positions[start : start + sizes[fold]]
        start += sizes[fold]
    folds["database"] = positions[start:]
    return folds


def _fit_sizes(sizes: Mapping[str, float], n: int) -> dict[str, int]:
    """Turn counts (int) and shares (float) into counts; each fold, the database too, gets at least one where it can."""
    if set(sizes) != set(FOLDS[:3]):
        raise ValueError(f"fold_sizes must have train, query, validation; got {', '.join(sizes) or 'nothing'}")
    counts = {
        fold: max(1, round(size * n)) if isinstance(size, float) and size else int(size) for fold, size in sizes.items()
    }
    if sum(counts.values()) >= n:
        raise ValueError(
            f"{n} images cannot be split into "
            + ", ".join(f"{counts[fold]} {fold}" for fold in FOLDS[:3])
            + " and at least one for the database; use more images or smaller folds"
        )
    return counts


def split_per_class(
    labels: NDArray[np.int64],
    keys: Sequence[str] | Sequence[bytes],
    sizes: Mapping[str, float],
    *,
    random_state: int,
    class_names: Sequence[str],
) -> Folds:
    """Draw the same number of images of every class for train, query and validation; the rest is the database.

    Parameters
    ----------
    labels : ndarray of int64, shape (n,)
        Class ids.
    keys : sequence of n str or bytes
        What identifies each image (its path, or a digest of its content).
    sizes : mapping
        How many "train", "query" and "validation" images of each class: a count (int) or a share of the class (float).
    random_state : int
        The same seed gives the same folds.
    class_names : sequence of str
        For errors.

    Examples
    --------
    >>> labels = np.repeat([0, 1], 10)
    >>> keys, sizes = [str(i) for i in range(20)], {"train": 3, "query": 0.1, "validation": 1}
    >>> folds = split_per_class(labels, keys, sizes, random_state=0, class_names=["cat", "dog"])
    >>> {fold: len(positions) for fold, positions in folds.items()}
    {'train': 6, 'query': 2, 'validation': 2, 'database': 10}
    """
    generator = np.random.default_rng(check_integer(random_state, "random_state", low=0))
    order = _canonical_order(keys)
    parts: list[Folds] = []
    for class_id, class_name in enumerate(class_names):
        members = generator.permutation(order[labels[order] == class_id])
        try:
            parts.append(_cut(members, _fit_sizes(sizes, len(members))))
        except ValueError as error:
            raise ValueError(f"class {class_name!r}: {error}") from error
    return {fold: np.sort(np.concatenate([part[fold] for part in parts])) for fold in FOLDS}


def split_at_random(keys: Sequence[str] | Sequence[bytes], sizes: Mapping[str, float], *, random_state: int) -> Folds:
    """Draw train, query and validation images at random, regardless of labels; the rest is the database.

    Parameters are those of `split_per_class`; shares are of all images.

    Examples
    --------
    >>> folds = split_at_random(list("abcdef"), {"train": 2, "query": 1, "validation": 1}, random_state=0)
    >>> sorted(np.concatenate(list(folds.values())).tolist())
    [0, 1, 2, 3, 4, 5]
    """
    generator = np.random.default_rng(check_integer(random_state, "random_state", low=0))
    order = generator.permutation(_canonical_order(keys))
    folds = _cut(order, _fit_sizes(sizes, len(order)))
    return {fold: np.sort(positions) for fold, positions in folds.items()}


def halve_per_class(
    labels: NDArray[np.int64], keys: Sequence[str] | Sequence[bytes], positions: NDArray[np.int64], *, random_state: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide some images between query and database, half of each class each; the odd image goes to the database.

    Parameters
    ----------
    labels : ndarray of int64, shape (n,)
        Class ids.
    keys : sequence of n str or bytes
        What identifies each image.
    positions : ndarray of int64
        The images to divide.
    random_state : int
        The same seed gives the same division.

    Examples
    --------
    >>> query, database = halve_per_class(np.array([0, 0, 0, 1, 1]), list("abcde"), np.arange(5), random_state=0)
    >>> len(query), len(database)
    (2, 3)
    """
    generator = np.random.default_rng(check_integer(random_state, "random_state", low=0))
    ordered = positions[_canonical_order([keys[i] for i in positions.tolist()])]
    query, database = [], []
    for class_id in np.unique(labels[positions]):
        members = generator.permutation(ordered[labels[ordered] == class_id])
        query.append(members[: len(members) // 2])
        database.append(members[len(members) // 2 :])
    return np.sort(np.concatenate(query)), np.sort(np.concatenate(database))


def fine_grained_folds(
    labels: NDArray[np.int64],
    keys: Sequence[str] | Sequence[bytes],
    is_training: NDArray[np.bool_],
    *,
    protocol: Protocol,
    random_state: int,
) -> Folds:
    """Return the folds of the two protocols on fine-grained classes; neither has a validation fold.

    "official", that of fine-grained hashing (Cui et al., "ExchNet", ECCV 2020): the official training images are the
    training set and the database, the official test images are the queries. "zero-shot", that of metric learning (Song
    et al., CVPR 2016): the first half of the classes is the training set, and the images of the second half are
    searched. Published results then search each image among all others; here half of each class are queries and half
    are the database.

    Parameters
    ----------
    labels : ndarray of int64, shape (n,)
        Class ids.
    keys : sequence of n str or bytes
        What identifies each image.
    is_training : ndarray of bool, shape (n,)
        The official split.
    protocol : {"official", "zero-shot"}
        Which one.
    random_state : int
        Seed of the zero-shot protocol's queries.

    Examples
    --------
    >>> labels, training = np.array([0, 0, 1, 1]), np.array([True, False, True, False])
    >>> folds = fine_grained_folds(labels, list("abcd"), training, protocol="zero-shot", random_state=0)
    >>> {fold: len(positions) for fold, positions in folds.items()}
    {'train': 2, 'query': 1, 'validation': 0, 'database': 1}
    """
    none = np.empty(0, dtype=np.int64)
    if protocol == "official":
        training = np.flatnonzero(is_training)
        return {"train": training, "query": np.flatnonzero(~is_training), "validation": none, "database": training}
    if protocol != "zero-shot":
        raise ValueError(f'protocol must be "official" or "zero-shot"; got {protocol!r}')
    known = labels < (labels.max() + 1) // 2
    query, database = halve_per_class(labels, keys, np.flatnonzero(~known), random_state=random_state)
    return {"train": np.flatnonzero(known), "query": query, "validation": none, "database": database}


def scale_sizes(sizes: Mapping[str, int], n: int, n_whole: int) -> dict[str, float]:
    """Scale the paper's sizes to a part of a data set; the sizes themselves for at least nine tenths of it.

    >>> scale_sizes({"train": 500, "query": 100, "validation": 100}, 6_000, 60_000)
    {'train': 50, 'query': 10, 'validation': 10}
    """
    share = 1.0 if n >= 0.9 * n_whole else n / n_whole
    return {fold: max(1, round(size * share)) for fold, size in sizes.items()}


def alternate(positions: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide a test list between query (its 1st, 3rd, ... entry) and validation (its 2nd, 4th, ...).

    >>> alternate(np.array([5, 6, 7]))
    (array([5, 7]), array([6]))
    """
    return positions[0::2], positions[1::2]
