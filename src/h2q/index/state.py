"""The content of an index at one moment; it never changes, so that searches need no lock."""

from dataclasses import dataclass, replace
from typing import Any

from h2q.index.manifest import QuantizerFile
from h2q.index.segments import Segment

__all__ = ["IndexState"]


@dataclass(frozen=True)
class IndexState:
    """The content of an index.

    Attributes
    ----------
    n_bits : int
        Bits of a code.
    segments : tuple of Segment
        The items.
    next_id : int
        Id of the next item that is added without one.
    quantizer : object or None
        Fitted quantizer that turns embeddings into codes.
    options : dict
        Options of the index.
    uid : str
        Names the index that the folder holds; empty before the first save.
    generation : str
        Names the save that wrote this state; empty before the first.
    quantizer_file : QuantizerFile or None
        File that holds the quantizer; None: not saved yet.
    """

    n_bits: int
    segments: tuple[Segment, ...]
    next_id: int
    quantizer: Any
    options: dict[str, Any]
    uid: str = ""
    generation: str = ""
    quantizer_file: QuantizerFile | None = None

    def __len__(self) -> int:
        """Return the number of items."""
        return sum(len(segment) for segment in self.segments)

    def unsaved(self) -> "IndexState":
        """Return the same content as a new index that no file holds yet."""
        segments = tuple(replace(segment, file=None) for segment in self.segments)
        return replace(self, segments=segments, uid="", generation="", quantizer_file=None)
