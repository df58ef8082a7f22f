"""Settings of an index of another engine, and the format of its items, which the first additions decide."""

from dataclasses import asdict, dataclass
from typing import Any

from numpy.typing import NDArray

from h2q.errors import FileFormatError
from h2q.index.ids import check_ids, kind_of, new_integers
from h2q.index.metadata import conform
from h2q.index.options import check_options

__all__ = ["ItemFormat", "Settings"]


@dataclass(frozen=True)
class Settings:
    """Settings of an index, stored beside its items.

    Attributes
    ----------
    n_bits : int
        Bits of a code.
    metric : str
        Distance of embeddings.
    keep_embeddings : bool
        Whether the engine keeps the embeddings of the items.
    fingerprint : str or None
        Fingerprint of the quantizer that makes the codes.
    n_features : int or None
        Dimensions of the embeddings; None without a quantizer.
    has_scalars : bool
        Whether a scalar is stored beside each code.
    """

    n_bits: int
    metric: str = "cosine"
    keep_embeddings: bool = False
    fingerprint: str | None = None
    n_features: int | None = None
    has_scalars: bool = False

    @classmethod
    def of(cls, n_bits: int | None, quantizer: Any, keep_embeddings: bool, metric: str) -> "Settings":
        """Check the options of a new index, and return its settings; see `h2q.index.BinaryIndex`."""
        n_bits = check_options(n_bits, quantizer, keep_embeddings, metric)
        if quantizer is None:
            return cls(n_bits, metric)
        scalars = quantizer.scalar_tables() is not None
        return cls(n_bits, metric, keep_embeddings, quantizer.fingerprint(), int(quantizer.n_features_in_), scalars)

    def to_json(self) -> dict[str, Any]:
        """Return the settings as a JSON document."""
        return {"h2q_index": 1, **asdict(self)}

    @classmethod
    def from_json(cls, document: Any, place: str) -> "Settings":
        """Return the settings in a JSON document; errors name `place`."""
        if not isinstance(document, dict) or document.get("h2q_index") != 1:
            raise FileFormatError(f"{place} is not an index of h2q, or from a newer version")
        try:
            return cls(**{key: value for key, value in document.items() if key != "h2q_index"})
        except TypeError as error:
            raise FileFormatError(f"{place} has settings that this h2q does not know: {error}") from error


@dataclass(frozen=True)
class ItemFormat:
    """Kind of the ids, and metadata columns; the first additions decide them, and they never change.

    Attributes
    ----------
    id_type : {"integer", "string"} or None
        Kind of the ids; None: no item was added yet.
    schema : pyarrow.Schema or None
        Metadata columns; None: there are none yet.
    """

    id_type: str | None = None
    schema: Any = None

    def fit(
        self, n: int, ids: NDArray[Any] | None, metadata: Any, next_id: int
    ) -> tuple["ItemFormat", NDArray[Any], Any]:
        """Return the format with `n` new items, their ids, and their metadata with the columns of the format.

        Raises
        ------
        TypeError, ValueError
            If ids or metadata do not fit.
        """
        ids = new_integers(n, next_id, self.id_type) if ids is None else check_ids(ids, n, self.id_type)
        table = None if metadata is None else conform(metadata, self.schema)
        return ItemFormat(kind_of(ids), self.schema if table is None else table.schema), ids, table
