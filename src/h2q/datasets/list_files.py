"""The list files that the field passes round: one image a line, ``path label label ...`` with labels of 0 and 1."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.datasets.dataset import FOLDS, ImageDataset
from h2q.datasets.screening import check_classes, screen_files
from h2q.datasets.splits import alternate, split_at_random
from h2q.errors import FileFormatError

__all__ = ["ImageList", "find_lists", "load", "read_list"]

SHARES: Mapping[str, float] = {"train": 0.4, "query": 0.1, "validation": 0.1}


@dataclass(frozen=True)
class ImageList:
    """One list file: paths as written, multi-hot labels (n, classes), and the lines that were left out."""

    paths: list[str]
    labels: NDArray[np.bool_]
    skipped: tuple[str, ...]


def read_list(path: Path, *, skip_broken: bool = False, n_classes: int | None = None) -> ImageList:
    """Read a list file.

    Paths may hold spaces: what counts are the 0s and 1s at the end of the line, as many on each line as on the first.

    Raises
    ------
    FileFormatError
        If a line has another number of labels, or none, unless `skip_broken`; names the file and the line.
    """
    paths, rows, skipped = [], [], []
    text = path.read_text(encoding="utf-8", errors="surrogateescape")
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words:
            continue
        if n_classes is None:
            n_classes = _count_labels(words)
        labels = words[len(words) - n_classes :]
        name = " ".join(words[: len(words) - n_classes])
        if _count_labels(words) != n_classes or not name or n_classes == 0:
            if not skip_broken:
                raise FileFormatError(
                    f"{path}, line {number}: expected a path and {n_classes or 'some'} labels of 0 or 1; got "
                    f"{_count_labels(words)} labels in {line[:80]!r}; correct the line, or leave such lines out with "
                    "skip_broken=True (--skip-broken)"
                )
            skipped.append(f"{path}, line {number} (damaged)")
            continue
        paths.append(name.replace("\\", "/"))
        rows.append([label == "1" for label in labels])
    if not rows:
        raise FileFormatError(f"{path} lists no images")
    return ImageList(paths, np.array(rows, dtype=np.bool_), tuple(skipped))


def _count_labels(words: list[str]) -> int:
    """Count the 0s and 1s at the end of a line; its first word is always part of the path."""
    count = 0
    while count < len(words) - 1 and words[-1 - count] in ("0", "1"):
        count += 1
    return count


def find_lists(folder: Path) -> dict[str, list[Path]]:
    """Return the list files of a folder by fold: train, test (or query), validation, database; each may be in parts.

    HashNet's lists come as ``train.txt``, ``test.txt``, ``database.txt``, or as ``test/test0.txt`` and so on.
    """
    found = {}
    for fold in ("train", "test", "query", "validation", "database"):
        for place in (folder, folder / fold, folder / "test"):
            files = sorted(path for path in place.glob(f"{fold}*.txt") if path.stem[len(fold) :].strip("_").isdigit())
            files = [place / f"{fold}.txt"] if (place / f"{fold}.txt").is_file() else files
            if files:
                found[fold] = files
                break
    return found


def strip_foreign_prefix(root: Path, paths: list[str]) -> list[str]:
    """Make paths relative to `root`: published lists hold the absolute paths of their authors' machines.

    What is cut is the shortest prefix without which the first path that can be found exists below `root`.
    """
    for path in paths:
        parts = PurePosixPath(path).parts
        for start in range(len(parts)):
            if (root / Path(*parts[start:])).is_file() and not (start == 0 and parts[0] == "/"):
                prefix = str(PurePosixPath(*parts[:start])).rstrip("/") + "/" if start else ""
                return [other.removeprefix(prefix) for other in paths]
    return [path.lstrip("/") for path in paths]


def load(
    source: Path,
    *,
    random_state: int = 0,
    skip_broken: bool = False,
    fold_sizes: Mapping[str, float] | None = None,
    single_label: bool = False,
    name: str | None = None,
) -> ImageDataset:
    """Load images from list files.

    Parameters
    ----------
    source : path
        A folder with ``train.txt``, ``test.txt`` (or ``query.txt``) and ``database.txt``, and perhaps
        ``validation.txt``; or one list file, which is split by `random_state`. Image paths are relative to the folder.
    random_state : int
        Of the split of one list file. Folds that come as files are what they are.
    skip_broken : bool
        Whether images that are missing or do not decode, and lines with a wrong number of labels, are left out.
    fold_sizes : mapping, optional
        For one list file: how many "train", "query" and "validation" images, as counts (int) or shares (float); by
        default 0.4, 0.1 and 0.1.
    single_label : bool
        Whether every image has one class: the labels are then class ids (n,).
    name : str, optional
        The name of the data set; by default that of the folder or file.

    Notes
    -----
    Without ``validation.txt`` the test list alternates between query and validation. Images that are in another fold,
    too, are taken out of the database.
    """
    root = source if source.is_dir() else source.parent
    lists = find_lists(source) if source.is_dir() else {"all": [source]}
    needed = {"train", "database"} if source.is_dir() else set()
    if needed - lists.keys() or (source.is_dir() and not {"test", "query"} & lists.keys()):
        raise FileNotFoundError(f"{source} needs the list files train.txt, test.txt (or query.txt) and database.txt")

    paths: list[str] = []
    parts: list[NDArray[np.bool_]] = []
    members: dict[str, NDArray[np.int64]] = {}
    n_classes, seen = None, {}
    skipped: list[str] = []
    for fold, files in lists.items():
        positions = []
        for file in files:
            listed = read_list(file, skip_broken=skip_broken, n_classes=n_classes)
            n_classes = listed.labels.shape[1]
            skipped += listed.skipped
            for path, row in zip(listed.paths, listed.labels, strict=True):
                if path not in seen:
                    seen[path] = len(paths)
                    paths.append(path)
                    parts.append(row)
                positions.append(seen[path])
        members[fold] = np.array(positions, dtype=np.int64)
    labels: NDArray[Any] = np.stack(parts)

    screened = screen_files(
        root, strip_foreign_prefix(root, paths), skip_broken=skip_broken, listed_in=str(next(iter(lists.values()))[0])
    )
    images, labels = screened.images, labels[screened.kept]
    class_names = tuple(f"class {i}" for i in range(labels.shape[1]))
    if not skip_broken:
        check_classes(labels, class_names, str(source))
    if single_label:
        labels = _as_class_ids(labels, images, source)
    if "all" in members:
        folds = split_at_random(images.paths, fold_sizes or SHARES, random_state=random_state)
    else:
        renumbered = np.full(len(paths), -1, dtype=np.int64)
        renumbered[screened.kept] = np.arange(len(screened.kept))
        folds = _assign({fold: (new := renumbered[old])[new >= 0] for fold, old in members.items()})
    skipped += screened.skipped
    return ImageDataset(name or source.stem, images, labels, class_names, folds, images.fingerprint(), tuple(skipped))


def _as_class_ids(labels: NDArray[np.bool_], images: Any, source: Path) -> NDArray[np.int64]:
    counts = labels.sum(axis=1)
    if (counts != 1).any():
        first = int(np.flatnonzero(counts != 1)[0])
        raise FileFormatError(f"{source}: {images.describe(first)} has {counts[first]} classes, but one was expected")
    class_ids: NDArray[np.int64] = labels.argmax(axis=1).astype(np.int64)
    return class_ids


def _assign(members: Mapping[str, NDArray[np.int64]]) -> dict[str, NDArray[np.int64]]:
    """Turn lists into disjoint folds: an image in several goes to the first of train, query, validation, database."""
    test = members["query"] if "query" in members else members["test"]
    query, validation = (test, members["validation"]) if "validation" in members else alternate(test)
    ordered = dict(zip(FOLDS, (members["train"], query, validation, members["database"]), strict=True))
    folds: dict[str, NDArray[np.int64]] = {}
    taken = np.empty(0, dtype=np.int64)
    for fold, positions in ordered.items():
        folds[fold] = np.setdiff1d(positions, taken)
        taken = np.concatenate([taken, folds[fold]])
    return folds
