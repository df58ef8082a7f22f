"""One file an engine, one interface."""

from h2q.retrieval.indexes.addresses import open_index
from h2q.retrieval.indexes.binary import BinaryIndex

__all__ = ["BinaryIndex", "open_index"]
