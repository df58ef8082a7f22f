"""The list files of published splits: a path and its labels on each line, a 0 or 1 for each class, or a class id."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from h2q.datasets.dataset import FOLDS, ImageDataset
from h2q.datasets.image_folder import find_images
from h2q.datasets.screening import check_classes, screen_files
from h2q.datasets.splits import alternate, split_at_random
from h2q.errors import FileFormatError

__all__ = ["ImageList", "find_lists", "load", "locate", "read_lines", "read_lists"]

Labels = Literal["auto", "multi-hot", "class-ids"]
Overlap = Literal["keep", "remove"]

_MAX_DIGITS = 18  # of a class id, so that it fits an int64
SHARES: Mapping[str, float] = {"train": 0.4, "query": 0.1, "validation": 0.1}


@dataclass(frozen=True)
class ImageList:
    """The images of one list file.

    Attributes
    ----------
    paths : list of str
        As they are listed.
    labels : ndarray, shape (n, classes) of bool or (n,) of int64
        Multi-hot rows, or class ids.
    skipped : tuple of str
        The lines that were left out.
    """

    paths: list[str]
    labels: NDArray[Any]
    skipped: tuple[str, ...]


def read_lines(path: Path) -> list[str]:
    """Read the lines of a text file; bytes that are not UTF-8 are kept as surrogates, as in the names of files."""
    return path.read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines()


def read_lists(files: Sequence[Path], *, labels: Labels = "auto", skip_broken: bool = False) -> list[ImageList]:
    """Read list files that belong together.

    Paths may contain spaces: the labels are the numbers at the end of a line, as many on each line as on the first.

    Parameters
    ----------
    files : sequence of paths
        The files.
    labels : {"auto", "multi-hot", "class-ids"}
        Whether a line ends in a 0 or 1 for each class, or in one class id. "auto" decides where there is no doubt.
    skip_broken : bool
        Whether to leave out lines with a wrong number of labels.

    Raises
    ------
    FileFormatError
        If a line has another number of labels, or none, unless `skip_broken`; names the file and the line. Also if
        every line ends in a single 0 or 1, which can mean either kind of label.
    """
    if labels not in ("auto", "multi-hot", "class-ids"):
        raise ValueError(f'labels must be "auto", "multi-hot" or "class-ids"; got {labels!r}')
    lines = {
        file: [(number, words) for number, line in enumerate(read_lines(file), 1) if (words := line.split())]
        for file in files
    }
    for file, numbered in lines.items():
        if not numbered:
            raise FileFormatError(f"{file} lists no images")
    if labels == "auto":
        labels = _recognize([words for numbered in lines.values() for _, words in numbered], files[0])
    first_words = next(iter(lines.values()))[0][1]
    n_labels = 1 if labels == "class-ids" else _count_labels(first_words, ("0", "1"))
    lists = [_parse(file, numbered, labels, n_labels, skip_broken) for file, numbered in lines.items()]
    for file, parsed in zip(files, lists, strict=True):
        if not parsed.paths:
            raise FileFormatError(f"{file} lists no images: every line is damaged")
    return lists


def _recognize(lines: list[list[str]], file: Path) -> Labels:
    """Tell multi-hot rows from class ids, or raise if the lines can be either."""
    if _count_labels(lines[0], ("0", "1")) > 1 or not all(words[-1].isdecimal() and len(words) > 1 for words in lines):
        return "multi-hot"
    if any(words[-1] not in ("0", "1") for words in lines):
        return "class-ids"
    raise FileFormatError(
        f"{file}: every line ends in a single 0 or 1, which is the id of one of two classes, or whether the image "
        'has the only class; say which: labels="class-ids" or labels="multi-hot" (--data-option labels=class-ids)'
    )


def _count_labels(words: list[str], values: tuple[str, ...]) -> int:
    """Count the labels at the end of a line; its first word is always part of the path."""
    count = 0
    while count < len(words) - 1 and words[-1 - count] in values:
        count += 1
    return count


def _parse(file: Path, numbered: list[tuple[int, list[str]]], labels: Labels, n: int, skip_broken: bool) -> ImageList:
    """Divide each line into path and labels."""
    paths, rows, skipped = [], [], []
    for number, words in numbered:
        if labels == "class-ids":
            fine = len(words) > 1 and words[-1].isdecimal() and len(words[-1]) <= _MAX_DIGITS
        else:
            fine = n > 0 and len(words) > n and _count_labels(words, ("0", "1")) == n
        if fine:
            paths.append(" ".join(words[:-n]).replace("\\", "/"))
            rows.append([int(word) for word in words[-n:]])
        elif skip_broken:
            skipped.append(f"{file}, line {number} (damaged)")
        else:
            what = "a class id" if labels == "class-ids" else f"{n or 'some'} labels of 0 or 1"
            raise FileFormatError(
                f"{file}, line {number}: expected a path and {what}; got {_count_labels(words, ('0', '1'))} labels in "
                f"{' '.join(words)[:80]!r}; correct the line, or leave such lines out with skip_broken=True"
            )
    values = np.array(rows, dtype=np.int64).reshape(len(rows), n)
    return ImageList(paths, values[:, 0] if labels == "class-ids" else values == 1, tuple(skipped))


def find_lists(folder: Path) -> dict[str, list[Path]]:
    """Return the list files of a folder by fold: train, test (or query), validation, database; each may be in parts.

    HashNet's lists come as ``train.txt``, ``test.txt``, ``database.txt``, or as ``test/test0.txt`` and so on.
    """
    lists = {}
    for fold in ("train", "test", "query", "validation", "database"):
        for place in (folder, folder / fold, folder / "test"):
            files = sorted(path for path in place.glob(f"{fold}*.txt") if path.stem[len(fold) :].strip("_").isdigit())
            files = [place / f"{fold}.txt"] if (place / f"{fold}.txt").is_file() else files
            if files:
                lists[fold] = files
                break
    return lists


def locate(root: Path, paths: Sequence[str], *, by_name: bool = False) -> list[str]:
    """Return listed paths relative to `root`: published lists have absolute paths of their authors' machines.

    The shortest prefix is removed without which a listed path exists below `root`.

    Parameters
    ----------
    root : path
        The folder of the images.
    paths : sequence of str
        As they are listed.
    by_name : bool
        Whether an image that is not at its place may be anywhere below `root` under its name. Only for data sets in
        which no two images have one name.
    """
    relative = [str(PurePosixPath(path)) for path in paths]
    relative = _strip_prefix(root, relative)
    for i, path in enumerate(relative):
        if not path.isascii() and not (root / path).exists():
            latin = os.fsencode(path).decode("latin-1")
            relative[i] = latin if (root / latin).exists() else path
    if by_name and any(not (root / path).is_file() for path in relative):
        places = {path.rsplit("/", 1)[-1]: path for path in find_images(root).paths}
        relative = [path if (root / path).is_file() else places.get(path.rsplit("/", 1)[-1], path) for path in relative]
    return relative


def _strip_prefix(root: Path, paths: list[str]) -> list[str]:
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
    labels: Labels = "auto",
    overlap: Overlap = "remove",
    single_label: bool = False,
    by_name: bool = False,
    name: str | None = None,
) -> ImageDataset:
    """Load images from list files.

    Parameters
    ----------
    source : path
        A folder with ``train.txt``, ``test.txt`` (or ``query.txt``) and ``database.txt``, and possibly
        ``validation.txt``; or one list file, which is split by `random_state`. Image paths are relative to the folder.
    random_state : int
        Seed of the split of one list file. Folds that come as files do not depend on it.
    skip_broken : bool
        Whether to leave out images that are missing or do not decode, and lines with a wrong number of labels.
    fold_sizes : mapping, optional
        For one list file: the number of "train", "query" and "validation" images, as counts (int) or shares (float);
        by default 0.4, 0.1 and 0.1.
    labels : {"auto", "multi-hot", "class-ids"}
        See `read_lists`.
    overlap : {"remove", "keep"}
        An image in several lists: "remove" keeps it in the first of train, query, validation and database only;
        "keep" leaves the lists as they are.
    single_label : bool
        Whether every image has one class: multi-hot rows then become class ids (n,).
    by_name : bool
        See `locate`.
    name : str, optional
        The name of the data set; by default that of the folder or file.

    Notes
    -----
    Without ``validation.txt`` the test list alternates between query and validation.
    """
    if overlap not in ("keep", "remove"):
        raise ValueError(f'overlap must be "keep" or "remove"; got {overlap!r}')
    lists = _lists_of(source)
    files = [file for parts in lists.values() for file in parts]
    parsed = dict(zip(files, read_lists(files, labels=labels, skip_broken=skip_broken), strict=True))
    rows: dict[str, int] = {}
    for listed in parsed.values():
        for path in listed.paths:
            rows.setdefault(path, len(rows))
    all_labels = np.empty((len(rows), *next(iter(parsed.values())).labels.shape[1:]), parsed[files[0]].labels.dtype)
    for listed in reversed(parsed.values()):  # where lists disagree, the first one is right
        all_labels[[rows[path] for path in listed.paths]] = listed.labels

    root = source if source.is_dir() else source.parent
    screened = screen_files(
        root, locate(root, list(rows), by_name=by_name), skip_broken=skip_broken, listed_in=str(files[0])
    )
    kept_labels, class_names = _name_classes(all_labels[screened.kept], screened.images, source, single_label)
    if not skip_broken:
        check_classes(kept_labels, class_names, str(source))
    if "all" in lists:
        folds = split_at_random(screened.images.paths, fold_sizes or SHARES, random_state=random_state)
    else:
        new_rows = np.full(len(rows), -1, dtype=np.int64)
        new_rows[screened.kept] = np.arange(len(screened.kept))
        members = {
            fold: _present(new_rows[[rows[path] for file in parts for path in parsed[file].paths]])
            for fold, parts in lists.items()
        }
        folds = _assign(members, overlap)
    skipped = (*(line for listed in parsed.values() for line in listed.skipped), *screened.skipped)
    images = screened.images
    return ImageDataset(name or source.stem, images, kept_labels, class_names, folds, images.fingerprint(), skipped)


def _lists_of(source: Path) -> dict[str, list[Path]]:
    """Return the list files by fold; one list file is the fold "all"."""
    if not source.is_dir():
        _refuse_binary(source)
        return {"all": [source]}
    lists = find_lists(source)
    if {"train", "database"} - lists.keys() or not {"test", "query"} & lists.keys():
        raise FileNotFoundError(f"{source} needs the list files train.txt, test.txt (or query.txt) and database.txt")
    return lists


def _refuse_binary(file: Path) -> None:
    """Raise an error for what cannot be a list, such as a Parquet file."""
    with file.open("rb") as stream:
        start = stream.read(4096)
    if start.startswith(b"PAR1") or b"\0" in start:
        kind = "a Parquet file" if start.startswith(b"PAR1") else "a binary file"
        raise FileFormatError(
            f"{file} is {kind}; expected a list file, text with the path of an image and its labels on each line, or "
            "a folder with a sub-folder for each class. The Parquet files of CIFAR-10 are the data set cifar10: set "
            "H2Q_DATA to the folder above their folder, cifar10/"
        )


def _name_classes(
    labels: NDArray[Any], images: Any, source: Path, single_label: bool
) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Return labels with consecutive classes, and the names of these."""
    if labels.ndim == 1:
        ids, consecutive = np.unique(labels, return_inverse=True)
        return consecutive.astype(np.int64), tuple(f"class {i}" for i in ids)
    names = tuple(f"class {i}" for i in range(labels.shape[1]))
    if not single_label:
        return labels, names
    counts = labels.sum(axis=1)
    if (counts != 1).any():
        first = int(np.flatnonzero(counts != 1)[0])
        raise FileFormatError(f"{source}: {images.describe(first)} has {counts[first]} classes, but one was expected")
    return labels.argmax(axis=1).astype(np.int64), names


def _present(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows that are left after screening, each once, in the order of the list."""
    return np.array(list(dict.fromkeys(rows[rows >= 0].tolist())), dtype=np.int64)


def _assign(members: Mapping[str, NDArray[np.int64]], overlap: Overlap) -> dict[str, NDArray[np.int64]]:
    """Turn lists into folds; with overlap "remove", an image stays in the first fold that lists it."""
    test = members["query"] if "query" in members else members["test"]
    query, validation = (test, members["validation"]) if "validation" in members else alternate(test)
    folds = dict(zip(FOLDS, (members["train"], query, validation, members["database"]), strict=True))
    if overlap == "remove":
        taken = np.empty(0, dtype=np.int64)
        for fold, positions in folds.items():
            folds[fold] = np.setdiff1d(positions, taken)
            taken = np.concatenate([taken, folds[fold]])
    return {fold: np.sort(positions) for fold, positions in folds.items()}
