"""How a data set registers itself: a new one is a new module of this package that calls `register`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from h2q.datasets.dataset import ImageDataset

__all__ = ["SOURCES", "DatasetSource", "register"]


@dataclass(frozen=True)
class DatasetSource:
    """A data set that has a name.

    Attributes
    ----------
    name : str
        The name in `load_dataset` and on the command line.
    load : callable
        ``load(folder, *, random_state, skip_broken, **options)`` gives an `ImageDataset`.
    download : callable, optional
        ``download(folder)`` fetches it.
    no_download : str
        Where to get it, if it cannot be downloaded by a program.
    folder : str, optional
        The folder that is looked for in `search_folders`; by default the name.
    sample : str, optional
        A file in `search_folders` that takes the place of a missing folder.
    needs_files : bool
        False if a package has the data, and `load` ignores the folder.
    position : int
        Place in lists of names: lower comes first.
    """

    name: str
    load: Callable[..., ImageDataset]
    download: Callable[[Path], None] | None = None
    no_download: str = ""
    folder: str | None = None
    sample: str | None = None
    needs_files: bool = True
    position: int = 100


SOURCES: dict[str, DatasetSource] = {}


def register(source: DatasetSource) -> None:
    """Add a data set.

    Raises
    ------
    ValueError
        If another data set has this name.
    """
    known = SOURCES.get(source.name)
    if known is not None and known.load.__module__ != source.load.__module__:
        raise ValueError(f"name must be unused; {source.name!r} is registered by {known.load.__module__}")
    SOURCES[source.name] = source
