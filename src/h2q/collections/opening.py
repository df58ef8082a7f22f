"""Collections of any kind, opened by what is stored."""

from pathlib import Path

from h2q.collections.pictures import PictureCollection
from h2q.collections.texts import TextCollection

__all__ = ["collection_class", "open_collection"]


def open_collection(path: Path) -> PictureCollection | TextCollection:
    """Open a collection, of pictures or of texts, that an update made.

    Raises
    ------
    FileNotFoundError
        If there is none.

    Examples
    --------
    >>> open_collection(Path("nowhere"))
    Traceback (most recent call last):
    ...
    FileNotFoundError: there is no collection at nowhere: make one with h2q images index or h2q texts index
    """
    kind = collection_class(path)
    if kind is None:
        raise FileNotFoundError(f"there is no collection at {path}: make one with h2q images index or h2q texts index")
    return kind.open(path)


def collection_class(path: Path) -> type[PictureCollection] | type[TextCollection] | None:
    """Return the class of the collection at a path; None: there is no collection.

    Examples
    --------
    >>> collection_class(Path("nowhere")) is None
    True
    """
    for kind in (PictureCollection, TextCollection):
        if (path / f"{kind.kind}.json").exists():
            return kind
    return None
