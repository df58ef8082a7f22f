"""From the input of `fit` to a sample of rows in memory, and from `random_state` to a generator."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.checks import AllowZeroRows, as_embeddings, check_integer

__all__ = ["as_generator", "is_batches", "iterate_batches", "may_share_memory", "reservoir_sample", "sample_rows"]


def as_generator(random_state: Any) -> np.random.Generator:
    """Turn scikit-learn's `random_state` (None, int, RandomState) or a Generator into a Generator.

    >>> int(as_generator(0).integers(100)), int(as_generator(0).integers(100))
    (85, 85)
    """
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(0, 2**31 - 1))
    if random_state is None or isinstance(random_state, np.random.Generator):
        return np.random.default_rng(random_state)
    return np.random.default_rng(check_integer(random_state, "random_state", low=0))


def may_share_memory(rows: NDArray[np.float32], X: Any) -> bool:
    """Tell whether writing to the rows could change the user's `X`."""
    if not rows.flags.writeable or hasattr(X, "detach"):
        return True
    return bool(hasattr(X, "__array__") and np.may_share_memory(rows, np.asarray(X)))


def is_batches(X: Any) -> bool:
    """Tell whether `X` is an iterable of batches (2-D each) rather than one array, tensor, table or list of rows.

    >>> is_batches(np.ones((2, 3))), is_batches([[1.0, 2.0]]), is_batches(iter([])), is_batches([np.ones((2, 3))])
    (False, False, True, True)
    """
    if isinstance(X, (str, bytes, dict)) or hasattr(X, "__array__") or hasattr(X, "shape"):
        return False
    if isinstance(X, (list, tuple)):
        return bool(X) and getattr(X[0], "ndim", 0) == 2
    return hasattr(X, "__iter__")


def iterate_batches(
    batches: Iterable[Any], name: str, *, n_features: int | None = None, allow_zero_rows: AllowZeroRows = False
) -> Iterator[NDArray[np.float32]]:
    """Check each batch and yield it as float32; skip batches without rows.

    Raises
    ------
    TypeError, ValueError
        If a batch is not an array of embeddings as wide as the first, or if there are no rows.
    """
    any_rows = False
    for number, batch in enumerate(batches):
        if isinstance(batch, (list, tuple)) and batch and hasattr(batch[0], "shape") and len(batch[0].shape) == 2:
            raise TypeError(
                f"batch {number} of {name} is a {type(batch).__name__} of arrays, perhaps (embeddings, labels); give "
                f"the embeddings alone: (batch[0] for batch in {name})"
            )
        if getattr(batch, "shape", (1,))[0] == 0:
            continue
        embeddings = as_embeddings(
            batch, f"batch {number} of {name}", n_features=n_features, allow_zero_rows=allow_zero_rows
        )
        n_features, any_rows = embeddings.shape[1], True
        yield embeddings
    if not any_rows:
        raise ValueError(
            f"{name} yielded no rows: an iterable of batches must give at least one; a generator that was read once "
            "before is empty: make a new one"
        )


def reservoir_sample(
    batches: Iterable[NDArray[np.float32]], max_samples: int, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Return `max_samples` rows drawn uniformly from batches (all rows if there are fewer), in one pass.

    Every row ends in the sample with the same probability (Vitter's algorithm R). Memory: the sample and one batch.

    >>> batches = (np.full((10, 2), i, dtype=np.float32) for i in range(100))
    >>> reservoir_sample(batches, 5, np.random.default_rng(0)).shape
    (5, 2)
    """
    sample, seen = np.empty((0, 0), np.float32), 0
    for batch in batches:
        if seen == 0:
            sample = np.empty((max_samples, batch.shape[1]), np.float32)
        n_fill = min(len(batch), max(max_samples - seen, 0))
        sample[seen : seen + n_fill] = batch[:n_fill]
        rest = np.arange(seen + n_fill, seen + len(batch))
        slots = generator.integers(0, rest + 1)
        kept = slots < max_samples
        # If a slot is drawn twice, the later row wins, as it would row by row.
        unique, last = np.unique(slots[kept][::-1], return_index=True)
        rows = (rest[kept] - seen)[::-1][last]
        sample[unique] = batch[rows]
        seen += len(batch)
    return sample[: min(seen, max_samples)]


def sample_rows(
    X: Any, max_samples: int, generator: np.random.Generator, *, allow_zero_rows: AllowZeroRows = False
) -> NDArray[np.float32]:
    """Return at most `max_samples` rows of an array, memory map, list, tensor or iterable of batches, as float32.

    Of an array, only the sampled rows are read and checked. The result may be `X` itself: do not write to it.

    Raises
    ------
    TypeError, ValueError
        See `h2q.checks.as_embeddings` and `iterate_batches`.
    """
    if is_batches(X):
        return reservoir_sample(iterate_batches(X, "X", allow_zero_rows=allow_zero_rows), max_samples, generator)
    if hasattr(X, "shape") and len(X.shape) == 2 and X.shape[0] > max_samples and hasattr(X, "__getitem__"):
        rows = np.sort(generator.choice(X.shape[0], max_samples, replace=False))
        X = X.iloc[rows] if hasattr(X, "iloc") else X[rows]
    return as_embeddings(X, allow_zero_rows=allow_zero_rows)
