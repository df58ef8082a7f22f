"""A back end of Vicinity whose vectors are binary codes."""

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from h2q.errors import require
from h2q.index import BinaryIndex
from h2q.quantization import RefinedQuantizer
from h2q.quantization.base import BaseQuantizer

require("vicinity", "vicinity")
from vicinity import Metric, Vicinity  # noqa: E402
from vicinity.backends.base import AbstractBackend, BaseArgs  # noqa: E402

__all__ = ["H2QArguments", "H2QBackend", "load"]

_INDEX = "codes.h2q"
_METRICS = {Metric.COSINE: "cosine", Metric.L2_SQUARED: "euclidean", Metric.INNER_PRODUCT: "inner_product"}

Neighbors = list[tuple[NDArray[np.int64], NDArray[np.float32]]]


class _BackendType(StrEnum):
    """Vicinity's own list of back ends is closed."""

    H2Q = "h2q"


@dataclass
class H2QArguments(BaseArgs):
    """Arguments of `H2QBackend`.

    Attributes
    ----------
    metric : Metric
        Cosine, squared Euclidean distance or inner product.

    Examples
    --------
    >>> H2QArguments(metric=Metric.COSINE).metric.value
    'cosine'
    """

    metric: Metric = Metric.COSINE


class H2QBackend(AbstractBackend[H2QArguments]):
    """Vectors as codes of a quantizer, searched by float queries: a byte or less in place of 32.

    ``Vicinity(items, H2QBackend.from_vectors(vectors))`` behaves as with any other back end; `load` reads what its
    ``save`` wrote.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> digits = load_digits()
    >>> store = Vicinity(list(range(1797)), H2QBackend.from_vectors(digits.data, n_bytes=5, random_state=0))
    >>> [item for item, distance in store.query(digits.data[3], k=1)[0]]
    [3]
    """

    argument_class = H2QArguments

    def __init__(self, index: BinaryIndex, arguments: H2QArguments) -> None:
        super().__init__(arguments)
        self.index = index
        # Vicinity counts positions, and moves them up when items before them leave; ids stay.
        self._ids = np.sort(np.asarray(index.ids))

    @classmethod
    def from_vectors(
        cls,
        vectors: Any,
        metric: str | Metric = "cosine",
        quantizer: BaseQuantizer | None = None,
        n_bytes: int | None = None,
        random_state: Any = None,
    ) -> Self:
        """Return a back end that holds the codes of these vectors.

        Parameters
        ----------
        vectors : ndarray of shape (n, d)
            Vectors.
        metric : {"cosine", "l2_squared", "inner_product"}
            Distance that the back end estimates.
        quantizer : BaseQuantizer, optional
            A fitted quantizer. Default: a `RefinedQuantizer`, fitted on these vectors.
        n_bytes : int, optional
            Bytes a vector takes, if a quantizer is fitted here. Default: a byte for 8 dimensions.
        random_state : int, RandomState, Generator, optional
            Seed of the quantizer that is fitted here.

        Raises
        ------
        ValueError
            If the metric is another one, or the vectors cannot be quantized.
        """
        chosen = Metric.from_string(metric)
        if chosen not in _METRICS:
            known = ", ".join(supported.value for supported in _METRICS)
            raise ValueError(f"metric must be one of {known}; got {chosen.value!r}")
        if quantizer is None:
            size = max(2, np.shape(vectors)[1] // 8) if n_bytes is None else n_bytes
            quantizer = RefinedQuantizer(size, random_state=random_state).fit(vectors)
        index = BinaryIndex(quantizer=quantizer, metric=_METRICS[chosen])
        index.add(vectors)
        return cls(index, H2QArguments(chosen))

    def __len__(self) -> int:
        return len(self.index)

    @property
    def backend_type(self) -> Any:
        """The type of the back end."""
        return _BackendType.H2Q

    @property
    def dim(self) -> int:
        """Dimensions of a vector."""
        return int(self.index.quantizer.n_features_in_)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a back end that `save` wrote."""
        return cls(BinaryIndex.open(path / _INDEX), H2QArguments.load(path / "arguments.json"))

    def save(self, path: Path) -> None:
        """Write the back end to a folder."""
        self.index.save(path / _INDEX)
        self.arguments.dump(path / "arguments.json")

    def insert(self, vectors: Any) -> None:
        """Add vectors behind the others."""
        self._ids = np.concatenate([self._ids, np.sort(self.index.add(vectors))])

    def delete(self, indices: list[int]) -> None:
        """Remove the vectors at these positions."""
        self.index.remove(self._ids[indices])
        self._ids = np.delete(self._ids, indices)

    def query(self, vectors: Any, k: int) -> Neighbors:
        """Return positions and estimated distances of the k nearest vectors, for each query."""
        neighbors = self.index.search(vectors, min(k, len(self)))
        return [
            (np.searchsorted(self._ids, ids), np.array(distances, np.float32))
            for ids, distances in zip(neighbors.ids, neighbors.distances, strict=True)
        ]

    def threshold(self, vectors: Any, threshold: float, max_k: int) -> Neighbors:
        """Return those of the `max_k` nearest whose estimated distance is below a threshold."""
        return [
            (positions[distances < threshold], distances[distances < threshold])
            for positions, distances in self.query(vectors, max_k)
        ]


def load(folder: str | Path) -> Vicinity[Any]:
    """Read a `Vicinity` with an `H2QBackend` that its ``save`` wrote; `Vicinity.load` knows its own back ends only.

    Parameters
    ----------
    folder : path
        The folder.

    Returns
    -------
    Vicinity
        Items, metadata and back end.

    Examples
    --------
    >>> import tempfile
    >>> from sklearn.datasets import load_digits
    >>> folder = Path(tempfile.mkdtemp()) / "store"
    >>> vectors = load_digits().data
    >>> store = Vicinity(list(range(1797)), H2QBackend.from_vectors(vectors, n_bytes=5, random_state=0))
    >>> store.save(folder)
    >>> len(load(folder).items)
    1797
    """
    path = Path(folder)
    content = json.loads((path / "data.json").read_text(encoding="utf-8"))
    return Vicinity(content["items"], H2QBackend.load(path), metadata=content["metadata"])
