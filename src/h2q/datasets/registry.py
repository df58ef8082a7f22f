"""Data sets by name, and folders and list files by path."""

import importlib
import inspect
import os
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from h2q.checks import check_integer
from h2q.datasets import image_folder, list_files
from h2q.datasets.dataset import ImageDataset
from h2q.datasets.locations import data_folder, search_folders
from h2q.datasets.sources import SOURCES, DatasetSource

__all__ = ["DATASETS", "load_dataset"]


def _dataset_names() -> tuple[str, ...]:
    """Import every module of the package, so that each data set registers itself, and return their names."""
    import h2q.datasets

    for module in pkgutil.iter_modules(h2q.datasets.__path__, "h2q.datasets."):
        importlib.import_module(module.name)
    return tuple(sorted(SOURCES, key=lambda name: (SOURCES[name].position, name)))


DATASETS = _dataset_names()


def load_dataset(
    name: str | os.PathLike[str],
    root: str | os.PathLike[str] | None = None,
    *,
    random_state: int = 0,
    skip_broken: bool = False,
    download: bool = False,
    fold_sizes: Mapping[str, float] | None = None,
    **options: Any,
) -> ImageDataset:
    """Load a data set with the folds of a published protocol.

    Parameters
    ----------
    name : str or path
        A name in `DATASETS`; or the path of a folder with one sub-folder per class, of a folder with list files
        (``train.txt``, ``test.txt``, ``database.txt``), or of one list file (``path label label ...``).
    root : path, optional
        The folder of the data set. By default a folder called `name` is looked for in `search_folders`; for "cifar10"
        the sample of 6,000 images in a source checkout comes last.
    random_state : int
        Seed of the folds: the same images and seed give the same folds.
    skip_broken : bool
        Whether to leave out what is missing or broken and list it in ``skipped``; this decodes every image once.
    download : bool
        Whether to fetch the data set if it is missing and its source allows that (extra ``download``), into `root`, or
        the folder called `name` in `data_folder`.
    fold_sizes : mapping, optional
        For a folder or a list file of your own: the number of "train", "query" and "validation" images, as counts (int)
        or shares (float); of each class for a folder. The rest is the database.
    **options
        Those of the data set: ``overlap`` and ``labels`` of list files (`h2q.datasets.list_files.load`), ``overlap`` of
        "imagenet-100", ``min_images`` of "nus-wide", ``unlabeled`` of "coco".

    Returns
    -------
    ImageDataset

    Raises
    ------
    FileNotFoundError
        If there are no such data, or an image is missing.
    FileFormatError
        If a file of the data set is damaged; names it.
    ValueError
        If the name is not known, a class is empty, or the images are too few to be split.
    TypeError
        If the data set has no such option.

    Examples
    --------
    >>> dataset = load_dataset("digits")
    >>> len(dataset.images), dataset.images[0].size, dataset.n_classes
    (1797, (8, 8), 10)
    >>> {fold: len(positions) for fold, positions in dataset.folds.items()}
    {'train': 500, 'query': 100, 'validation': 100, 'database': 1097}
    """
    random_state = check_integer(random_state, "random_state", low=0)
    settings = {"random_state": random_state, "skip_broken": skip_broken, **options}
    if isinstance(name, str) and name in SOURCES:
        if fold_sizes is not None:
            raise ValueError(f"fold_sizes is for folders and list files of your own; {name} has published folds")
        _check_options(SOURCES[name].load, options, name)
        return _load_published(SOURCES[name], None if root is None else Path(root), download, settings)
    path = Path(name) if root is None else Path(root) / name
    if not path.exists():
        if path.suffix or len(path.parts) > 1:
            raise FileNotFoundError(f"there is no file or folder {path}")
        raise ValueError(f"{str(path)!r} is neither a data set ({', '.join(DATASETS)}) nor a folder or list file")
    load = list_files.load if path.is_file() or list_files.find_lists(path) else image_folder.load
    _check_options(load, options, str(path))
    return load(path, fold_sizes=fold_sizes, **settings)


def _check_options(load: Any, options: Mapping[str, Any], name: str) -> None:
    """Raise a TypeError that names the options that there are if one is unknown."""
    common = ("folder", "source", "random_state", "skip_broken", "fold_sizes", "single_label", "by_name", "name")
    takes = [option for option in inspect.signature(load).parameters if option not in common]
    unknown = [option for option in options if option not in takes]
    if unknown:
        raise TypeError(f"{name} has no option {', '.join(unknown)}; it has {', '.join(takes) or 'none'}")


def _load_published(
    source: DatasetSource, root: Path | None, download: bool, settings: Mapping[str, Any]
) -> ImageDataset:
    folder_name = source.folder or source.name
    if not source.needs_files:
        return source.load(root, **settings)
    place = root or _find(folder_name, None if download else source.sample)
    if place is None and not download:
        looked = ", ".join(str(folder / folder_name) for folder in search_folders()) or str(data_folder() / folder_name)
        advice = source.no_download or "pass download=True to fetch it"
        raise FileNotFoundError(f"no {source.name} in {looked}; {advice}, or name its folder with root or H2Q_DATA")
    place = place or data_folder() / folder_name
    try:
        return source.load(place, **settings)
    except FileNotFoundError:
        if not download:
            raise
    if source.download is None:
        raise ValueError(source.no_download)
    source.download(place)
    return source.load(place, **settings)


def _find(folder_name: str, sample: str | None) -> Path | None:
    """Return the folder of a data set, or the file of its sample."""
    places = [folder / name for name in (folder_name, sample) if name for folder in search_folders()]
    return next((place for place in places if place.exists()), None)
