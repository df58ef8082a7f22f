"""The interface of every index: the exact one in process, and engines behind other addresses."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from h2q.index.items import check_quantizer
from h2q.index.neighbors import Neighbors, RadiusNeighbors

if TYPE_CHECKING:
    from h2q.index.drift import Drift

__all__ = ["DRIFT_ROWS", "Index"]

DRIFT_ROWS = 2_000  # kept embeddings that drift looks at


class Index(ABC):
    """Items with ids, searched by their binary codes.

    Items and queries are packed codes, uint8 of shape (n, ceil(n_bits / 8)), or embeddings where the index has a
    quantizer, floats of shape (n, d).

    Ids are whole numbers from 0 to 2**63 - 1, or strings that are not empty; the first items that are added decide
    which. Arrays of string ids hold Python's strings (dtype object).

    Metadata are columns beside the codes: anything that becomes an Arrow table with a row for each item
    (`pyarrow.Table`, a DataFrame of pandas or polars, a mapping of columns, a list of mappings). The first metadata
    decide the columns and their types; columns that are left out later are null.

    An index is a context manager. At the end of the block it is saved, if it has an address, and closed; where the
    block raises, it is closed without saving.

    Examples
    --------
    >>> from h2q import open_index
    >>> from h2q.index import BinaryIndex
    >>> isinstance(BinaryIndex(8), Index)
    True
    """

    @property
    @abstractmethod
    def n_bits(self) -> int:
        """Bits of a code."""

    @property
    @abstractmethod
    def quantizer(self) -> Any:
        """Fitted quantizer that turns embeddings into codes, or None."""

    @property
    @abstractmethod
    def id_type(self) -> str | None:
        """Kind of the ids: "integer", "string", or None before the first items."""

    @property
    @abstractmethod
    def metadata_schema(self) -> Any:
        """Metadata columns with their types, a `pyarrow.Schema`; None before the first metadata."""

    @property
    @abstractmethod
    def address(self) -> str | None:
        """Where the index was opened from or last saved to, as `open_index` takes it; None before the first save."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of items."""

    @abstractmethod
    def __contains__(self, item: object) -> bool:
        """Return whether there is an item with this id."""

    @abstractmethod
    def contains(self, ids: Any) -> NDArray[np.bool_]:
        """Return which of the ids are taken by an item, shape (n,)."""

    @abstractmethod
    def add(self, items: Any, ids: Any = None, metadata: Any = None) -> NDArray[Any]:
        """Add items under ids that are new, by default integers counted on from the highest; return the ids."""

    @abstractmethod
    def upsert(self, items: Any, ids: Any, metadata: Any = None) -> None:
        """Add items; those whose id is taken replace the item there, with its metadata."""

    @abstractmethod
    def remove(self, ids: Any) -> None:
        """Remove items."""

    @abstractmethod
    def codes(self, ids: Any) -> NDArray[np.uint8]:
        """Return the packed codes of items, shape (n, ceil(n_bits / 8))."""

    @abstractmethod
    def metadata(self, ids: Any, columns: Sequence[str] | None = None) -> Any:
        """Return metadata of items, all columns or some: a `pyarrow.Table` with a row for each id, in their order."""

    @abstractmethod
    def search(
        self,
        queries: Any,
        k: int = 10,
        *,
        scoring: str = "auto",
        rerank: int | None = None,
        n_bits: int | None = None,
        prefix: int | None = None,
        shortlist: int | None = None,
        where: Any = None,
        columns: Sequence[str] | None = None,
    ) -> Neighbors:
        """Return the k nearest items of each query, nearest first.

        With `n_bits`, only the first bits of the codes count. With `prefix`, the first bits choose the items whose
        whole codes are compared: `shortlist` items, or as many as the exact result needs.

        With `where`, a condition on metadata such as ``"year >= 2020 and label in ('cat', 'dog')"`` (see
        `h2q.index.filters.parse_filter`), the k nearest of the items that fulfil it. With `columns`, the result holds
        these metadata of its items.
        """

    @abstractmethod
    def search_radius(
        self,
        queries: Any,
        radius: int,
        *,
        limit: int | None = None,
        where: Any = None,
        columns: Sequence[str] | None = None,
    ) -> RadiusNeighbors:
        """Return the items within a Hamming distance of each query, all or the nearest, nearest first.

        `where` and `columns` are as for `search`.
        """

    def use_quantizer(self, quantizer: Any) -> None:
        """Take embeddings through this quantizer, which must be the one that made the codes.

        Raises
        ------
        ValueError
            If it is another one: codes of two quantizers cannot be compared.
        """
        check_quantizer(quantizer, None if self.quantizer is None else self.quantizer.fingerprint())

    def drift(self, new_embeddings: Any, *, reference: Any = None) -> "Drift":
        """Say whether new embeddings are still like those that the quantizer was fitted on, and whether to refit.

        Parameters
        ----------
        new_embeddings : array-like of shape (n, d), or iterable of such batches
            Embeddings of new items or queries, in the index or not: at least 200. At most 10,000 of them, drawn at
            random, are looked at.
        reference : array-like of shape (n_reference, d), optional
            Embeddings to compare with. Default: the statistics that the quantizer stored when it was fitted.

        Returns
        -------
        Drift
            Mean shift, bit balance and quantization error, each with its threshold; where the index keeps embeddings,
            also the recall of the codes for new items beside that for its own. Its text says what the drift costs.

        Raises
        ------
        TypeError, ValueError
            If the index has no quantizer, there are too few embeddings, they are not as wide as those of the
            quantizer, or an older version of h2q fitted the quantizer and there is nothing to compare with.
        """
        from h2q.index.drift import measure_drift  # evaluation takes long to import

        if self.quantizer is None:
            raise ValueError("the index has no quantizer, whose fit drift is measured against: open it with quantizer=")
        metric = str(getattr(self, "metric", "cosine"))
        kept = self._sample_embeddings()
        return measure_drift(self.quantizer, new_embeddings, kept=kept, reference=reference, metric=metric)

    def _sample_embeddings(self) -> NDArray[np.float32] | None:
        """Return embeddings of some items, drawn at random; None: the index keeps none that it can draw from."""
        return None

    def refit(self, quantizer: Any = None, *, embeddings: Any = None, ids: Any = None) -> None:
        """Replace the quantizer and all codes; see `h2q.index.BinaryIndex.refit`. Other engines refuse."""
        raise ValueError(
            f"{type(self).__name__} cannot replace the codes of all its items in one step: make a new index with a new "
            "quantizer (create_index(address, quantizer=...)), add the embeddings to it, then use its address"
        )

    def warm_up(self) -> None:  # noqa: B027  # engines without compiled kernels have nothing to do
        """Load what the first search would otherwise wait for."""

    @abstractmethod
    def save(self) -> None:
        """Make all changes durable at the index's address."""

    @abstractmethod
    def close(self) -> None:
        """Release files and connections without saving; the index cannot be used any more."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None and self.address is not None:
                self.save()
        finally:
            self.close()
