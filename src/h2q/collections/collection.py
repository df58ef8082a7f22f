"""What all collections share: settings, an index that keeps the embeddings, and updates that take only what differs.

photos.h2q/
  pictures.json     the kind of collection, where its items come from, and the network that embeds them
  index/            a `BinaryIndex` that keeps the embeddings
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from h2q.collections.duplicates import DuplicateGroup, find_duplicates
from h2q.errors import FileFormatError
from h2q.files import read_checked_json, write_checked_json
from h2q.index import BinaryIndex, Neighbors
from h2q.progress import progress_bar
from h2q.quantization.first_rows import fit_first_rows

__all__ = ["Collection", "EmbeddedPart", "Listing", "Update"]

_INDEX = "index"
_PART = 4096  # items that are embedded, added and saved at once; the first ones decide the quantizer
_CANDIDATES = 100
_BITS_PER_RADIUS = 16


@dataclass(frozen=True)
class Update:
    """What an update of a collection did.

    Attributes
    ----------
    added, changed, removed : int
        Number of items that were new, changed, and gone.
    kept : int
        Number of items that were as before.
    unreadable : tuple of str
        Items that could not be read, each with the reason.

    Examples
    --------
    >>> update = Update(added=3, changed=0, removed=1, kept=96, unreadable=("cut.jpg (does not decode)",))
    >>> update.added + update.kept
    99
    """

    added: int
    changed: int
    removed: int
    kept: int
    unreadable: tuple[str, ...]


@dataclass(frozen=True)
class Listing:
    """What the source of a collection holds now.

    Attributes
    ----------
    states : mapping
        A tuple for each id, the values of the columns `Collection.state_columns`: it differs when an item changed.
    unreadable : tuple of str
        What cannot be an item, each with the reason.
    """

    states: Mapping[Any, tuple[Any, ...]]
    unreadable: tuple[str, ...] = ()


L = TypeVar("L", bound=Listing)


@dataclass(frozen=True, eq=False)
class EmbeddedPart:
    """Items that were read and embedded.

    Attributes
    ----------
    ids : list
        Their ids.
    embeddings : ndarray of float32, shape (n, d)
        A row for each id.
    metadata : mapping of columns or pyarrow.Table
        A row for each id.
    faults : mapping
        The reason for each id that could not be read.
    """

    ids: list[Any]
    embeddings: NDArray[np.float32]
    metadata: Any
    faults: Mapping[Any, str]


class Collection(ABC, Generic[L]):
    """An index of a person's own items, brought up to date with where they come from.

    Parameters
    ----------
    path : Path
        Where the collection is stored, a folder; made by the first update.
    source : Path, optional
        Where the items come from; needed before the first update, known afterwards.
    options : mapping
        What decides the embeddings and ids. None stands for what the collection has, or for its default.

    Raises
    ------
    FileNotFoundError
        If there is no collection, and no source is given.
    FileExistsError
        If `path` holds other files.
    ValueError
        If the collection was made with other options.
    """

    kind: ClassVar[str]  # plural noun: the name of the group of commands, and of the file of settings
    command: ClassVar[str]
    state_columns: ClassVar[tuple[str, ...]]
    defaults: ClassVar[Mapping[str, Any]]
    max_bits: ClassVar[int]

    def __init__(self, path: Path, source: Path | None = None, **options: Any) -> None:
        self.path = path
        settings = path / f"{self.kind}.json"
        if settings.exists():
            stored = read_checked_json(settings)
            if stored.get("kind") != self.kind:
                raise FileFormatError(f"{settings} is not that of a collection of {self.kind}")
            self._settings = {**self.defaults, **stored}
            self._refuse_other(options)
        elif source is None:
            raise FileNotFoundError(f"there is no collection of {self.kind} at {path}: make it with {self.command}")
        elif path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise FileExistsError(f"{path} holds other files and no collection of {self.kind}; choose another name")
        else:
            self._settings = {name: self.defaults[name] if v is None else v for name, v in options.items()}
        self.source = Path(self._settings["source"]) if source is None else source
        has_index = (path / _INDEX).is_dir()
        self.index: BinaryIndex | None = BinaryIndex.open(path / _INDEX) if has_index else None

    def _refuse_other(self, options: Mapping[str, Any]) -> None:
        other = {name: value for name, value in options.items() if value not in (None, self._settings[name])}
        if other:
            known = {name: self._settings[name] for name in other}
            made = " and ".join(f"the default {k}" if v is None else f"{k}={v}" for k, v in known.items())
            raise ValueError(f"{self.path} was made with {made}; leave the option out, or make another collection")

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a collection that an update made."""
        return cls(path)

    @abstractmethod
    def _list(self) -> L:
        """Return what the source holds now."""

    @abstractmethod
    def _embed(self, ids: Sequence[Any], listing: L, advance: Callable[[int], None]) -> EmbeddedPart:
        """Read and embed items."""

    def _whitened(self) -> bool:
        """Return whether the embeddings come from a network that was trained for something else."""
        return False

    def update(self) -> Update:
        """Take up the items that are new, changed or gone since the last update; save after every few thousand.

        An update that is interrupted goes on after the last save when it is called again. The first items, or a sample
        of them, decide the quantizer.

        Raises
        ------
        ValueError
            If the source holds no item that can be read.
        """
        listing, before = self._list(), self._known()
        now = listing.states
        if before and not now:
            raise ValueError(
                f"{self.source} holds no {self.kind} any more, and {self.path} has {len(before):,}; nothing was "
                "removed: delete the collection if they are gone for good"
            )
        changed = [item for item in now if item in before and before[item] != now[item]]
        added = [item for item in now if item not in before]
        gone = [item for item in before if item not in now]
        faults = self._take_up(added + changed, listing) if added or changed else {}
        self._remove(gone + [item for item in changed if item in faults])
        unreadable = (*listing.unreadable, *(f"{item} ({reason})" for item, reason in faults.items()))
        if self.index is None:
            first = f"; {len(unreadable):,} cannot, first {unreadable[0]}" if unreadable else ""
            raise ValueError(f"{self.source} holds no {self.kind} that can be read{first}")
        self._write_settings()
        n_added, n_changed = (sum(item not in faults for item in items) for items in (added, changed))
        return Update(n_added, n_changed, len(gone), len(before) - len(gone) - len(changed), unreadable)

    def _known(self) -> dict[Any, tuple[Any, ...]]:
        """Return the state of the items that the index holds."""
        if self.index is None or not len(self.index):
            return {}
        ids = self.index.ids
        columns = [column.to_pylist() for column in self.index.metadata(ids, self.state_columns).columns]
        return dict(zip(ids.tolist(), zip(*columns, strict=True), strict=True))

    def _take_up(self, items: Sequence[Any], listing: L) -> dict[Any, str]:
        """Embed and index items; return those that cannot be read, each with the reason."""
        if self.index is None:
            # The first part decides the quantizer: a random one.
            order = np.random.default_rng(0).permutation(len(items))
            items = [items[position] for position in order.tolist()]
        faults: dict[Any, str] = {}
        with progress_bar("indexing", len(items)) as advance:
            for start in range(0, len(items), _PART):
                part = self._embed(items[start : start + _PART], listing, advance)
                faults |= part.faults
                if part.ids:
                    self._add(part)
        return {item: faults[item] for item in sorted(faults)}

    def _add(self, part: EmbeddedPart) -> None:
        if self.index is None:
            self.path.mkdir(parents=True, exist_ok=True)
            self._write_settings()
            quantizer = fit_first_rows(part.embeddings, self.max_bits, whitened=self._whitened())
            self.index = BinaryIndex(quantizer=quantizer, keep_embeddings=True)
        self.index.upsert(part.embeddings, part.ids, part.metadata)
        self.index.save(self.path / _INDEX)

    def _remove(self, items: Sequence[Any]) -> None:
        if self.index is not None and items:
            self.index.remove(items)
            self.index.save(self.path / _INDEX)

    def _write_settings(self) -> None:
        settings = {"kind": self.kind, **self._settings, "source": str(self.source.resolve())}
        if settings != self._settings:
            self._settings = settings
            write_checked_json(self.path / f"{self.kind}.json", settings)

    def search_embeddings(self, embeddings: NDArray[np.float32], k: int = 10, *, where: str | None = None) -> Neighbors:
        """Return the k items nearest to embeddings, float32 of shape (n, d): ids, 1 - cosine from 0, and metadata."""
        index = self.opened_index()
        columns = [name for name in index.metadata_schema.names if not name.startswith("_")]
        neighbors = index.search(embeddings, k, rerank=max(_CANDIDATES, 10 * k), where=where, columns=columns)
        # Rounding makes the distance of equal items a little less than 0.
        return replace(neighbors, distances=np.maximum(neighbors.distances, 0))

    def duplicates(self, radius: int | None = None) -> Sequence[DuplicateGroup]:
        """Return the groups of items that are nearly the same; see `find_duplicates`.

        Parameters
        ----------
        radius : int, optional
            Largest distance of a pair, in bits. Default: a bit for 16 bits of the code.
        """
        return find_duplicates(self.opened_index(), self.radius(radius), self._merits)

    def radius(self, radius: int | None = None) -> int:
        """Return a radius in bits, or the one that `duplicates` takes by default."""
        return self.opened_index().n_bits // _BITS_PER_RADIUS if radius is None else radius

    @abstractmethod
    def _merits(self, ids: NDArray[Any]) -> Sequence[Any]:
        """Return for each item by what it is better than its duplicates: the largest value is the best."""

    def opened_index(self) -> BinaryIndex:
        """Return the index.

        Raises
        ------
        FileNotFoundError
            If there was no update yet.
        """
        if self.index is None:
            raise FileNotFoundError(f"{self.path} holds no {self.kind} yet: run {self.command}")
        return self.index
