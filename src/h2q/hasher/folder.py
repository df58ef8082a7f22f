"""A hasher on disk: files that never change, and a description, renamed last, that names those that count.

    hasher.json               what the hasher is, and the names of the other files
    backbone-*.safetensors    weights of the backbone
    head-*.safetensors        weights of the head
    quantizer-*.safetensors   the quantizer

Until the description is renamed the folder holds the old hasher, from then on the new one, also after a kill.
"""

import os
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from h2q.errors import FileFormatError
from h2q.files import FORMAT_VERSION, check_format_version, read_checked_json, write_checked_json

__all__ = ["HasherFolder", "is_hasher", "is_vacant"]

_DESCRIPTION, _LOCK, _KIND = "hasher.json", ".lock", "image hasher"
_PARTS = ("backbone", "head", "quantizer")
_PART = re.compile(rf"(?:{'|'.join(_PARTS)})-[0-9a-f]{{16}}\.safetensors")
# Temporary names of `h2q.files.atomic_path`, which a kill leaves behind and the next write deletes.
_TEMPORARY = re.compile(rf"\.(?:{_PART.pattern}|hasher\.json)\.h2q-[0-9a-f]{{16}}\.tmp")


def is_hasher(folder: str | os.PathLike[str]) -> bool:
    """Return whether a folder looks like a hasher that `ImageHasher.save` wrote.

    >>> import tempfile
    >>> is_hasher(tempfile.mkdtemp())
    False
    """
    return (Path(folder) / _DESCRIPTION).is_file()


def is_vacant(folder: str | os.PathLike[str]) -> bool:
    """Return whether a hasher can be saved to a path.

    There is nothing there, or an empty folder, a hasher, or what is left of a first save that was killed.

    >>> import tempfile
    >>> is_vacant(tempfile.mkdtemp())
    True
    """
    path = Path(folder)
    if not path.exists():
        return not path.is_symlink()
    return path.is_dir() and (is_hasher(path) or all(_is_ours(file.name) for file in path.iterdir()))


def _is_ours(name: str) -> bool:
    return name == _LOCK or _PART.fullmatch(name) is not None or _TEMPORARY.fullmatch(name) is not None


class HasherFolder:
    """The folder of a hasher.

    Parameters
    ----------
    path : path
        The folder.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def read(self) -> dict[str, Any]:
        """Return the description, checked as far as its kind, its version and the names of the files.

        Raises
        ------
        FileNotFoundError
            If there is no such folder.
        FileFormatError
            If it holds no hasher, or one of a newer version.
        """
        if not self.path.is_dir():
            raise FileNotFoundError(f"there is no hasher at {self.path}: no such folder")
        file = self.path / _DESCRIPTION
        if not is_hasher(self.path):
            raise FileFormatError(f"{self.path} holds no hasher: it has no {_DESCRIPTION}")
        description = read_checked_json(file)
        if description.get("kind") != _KIND:
            raise FileFormatError(f"{file} does not describe a hasher")
        check_format_version(description, self.path)
        names = description.get("files")
        if not isinstance(names, dict) or any(_PART.fullmatch(str(names.get(part))) is None for part in _PARTS):
            raise FileFormatError(f"{file} does not name the files of the hasher")
        return description

    def part(self, description: Mapping[str, Any], part: str) -> Path:
        """Return the file of a part: "backbone", "head" or "quantizer"."""
        path: Path = self.path / description["files"][part]
        if not path.exists():
            raise FileFormatError(f"{self.path} is damaged: {path.name} is missing; restore it from a copy")
        return path

    @contextmanager
    def write(self, description: Mapping[str, Any]) -> Iterator[dict[str, Path]]:
        """Yield a new file name for each part; once the block has written them, commit the description.

        Files of earlier saves are deleted afterwards; other files in the folder are left alone.

        Raises
        ------
        FileExistsError
            If the path holds something else.
        BlockingIOError
            If another process is saving to it.
        """
        if not is_vacant(self.path):
            raise FileExistsError(f"{self.path} exists and holds no hasher; pass another folder")
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.path / _LOCK, timeout=0):
                self._clear_away(keep=self._named())
                files = {part: self.path / f"{part}-{uuid.uuid4().hex[:16]}.safetensors" for part in _PARTS}
                names = {part: file.name for part, file in files.items()}
                header = {"kind": _KIND, "format_version": FORMAT_VERSION, "files": names}
                try:
                    yield files
                    write_checked_json(self.path / _DESCRIPTION, {**header, **description})
                finally:
                    self._clear_away(keep=self._named())
        except Timeout as error:
            raise BlockingIOError(f"another process is saving to {self.path}; try again when it is done") from error

    def _named(self) -> set[str]:
        """Return the files that the present description names."""
        try:
            return set(self.read()["files"].values())
        except (FileNotFoundError, FileFormatError):
            return set()

    def _clear_away(self, keep: set[str]) -> None:
        """Delete files of earlier saves and of saves that were killed; a file that cannot be deleted stays."""
        for file in list(self.path.iterdir()):
            if _is_ours(file.name) and file.name != _LOCK and file.name not in keep:
                try:
                    file.unlink(missing_ok=True)
                except OSError:
                    continue
