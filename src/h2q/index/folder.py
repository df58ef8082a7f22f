"""A binary index on disk: a folder of files that never change, and a manifest that names those that count.

    manifest.json             what the index is, and the names of the other files
    segment-*.safetensors     codes, ids and, where kept, embeddings of a run of items
    removed-*.safetensors     the rows of each segment that were removed
    quantizer-*.safetensors   the quantizer, where there is one

The manifest is replaced last and in one step: until then the old index is whole, from then on the new one.
"""

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from h2q import quantization
from h2q._version import __version__
from h2q.checks import bytes_per_code
from h2q.errors import FileFormatError, describe
from h2q.files import FORMAT_VERSION, read_json, read_tensors, write_json, write_tensors
from h2q.index.segments import Segment

__all__ = ["IndexState", "read_folder", "write_folder"]

_MANIFEST, _LOCK, _KIND = "manifest.json", ".lock", "BinaryIndex"
# safetensors, too, writes to a temporary name, which a kill leaves behind.
_SAFETENSORS_TEMPORARY = re.compile(r"\.tmp[A-Za-z0-9]{6}")
_PARTS = ("segment-", "removed-", "quantizer-", f"{_MANIFEST}.")


_NAME = (str, type(None))
_ENTRIES: dict[str, type | tuple[type, ...]] = {
    "generation": str, "n_bits": int, "next_id": int, "options": dict, "quantizer": _NAME, "removed": _NAME,
    "segments": list,
}  # fmt: skip


@dataclass(frozen=True)
class IndexState:
    """What an index holds, in memory or on disk.

    Attributes
    ----------
    n_bits : int
        Bits of a code.
    segments : tuple of Segment
        The items.
    next_id : int
        The id that the next item without one gets.
    quantizer : object or None
        What turns embeddings into codes.
    options : dict
        The options of the index that are values.
    generation : str
        Changes with every save; an index that was changed by somebody else since it was read is not overwritten.
    """

    n_bits: int
    segments: tuple[Segment, ...]
    next_id: int
    quantizer: Any
    options: dict[str, Any]
    generation: str = ""

    def __len__(self) -> int:
        """Return the number of items."""
        return sum(len(segment) for segment in self.segments)


def read_folder(folder: Path) -> IndexState:
    """Read an index, its arrays as memory maps.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    FileFormatError
        If it is no index, damaged, or from a newer version of h2q.
    """
    attempts = 5
    for attempt in range(attempts):
        manifest = _read_manifest(folder)
        try:
            return _read_state(folder, manifest)
        except FileNotFoundError as error:
            # Another process may have saved in between, and cleared away what this manifest names.
            if attempt == attempts - 1 or _read_manifest(folder) == manifest:
                raise FileFormatError(
                    f"{folder} is damaged: {Path(error.filename).name} is missing; restore it from a copy"
                ) from error
    raise FileFormatError(f"{folder} changes faster than it can be read")


def _read_manifest(folder: Path) -> dict[str, Any]:
    if not folder.exists():
        raise FileNotFoundError(f"there is no index at {folder}")
    if not (folder / _MANIFEST).is_file():
        raise FileFormatError(f"{folder} is not an index of h2q: it holds no {_MANIFEST}")
    manifest = read_json(folder / _MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("kind") != _KIND:
        raise FileFormatError(f"{folder} is not an index of h2q: its {_MANIFEST} is of another kind")
    version = manifest.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise FileFormatError(
            f"{folder} was written by h2q {manifest.get('h2q_version', '?')} in format {version}, newer than format "
            f"{FORMAT_VERSION} that this h2q {__version__} reads; upgrade with: pip install -U h2q"
        )
    for key, types in _ENTRIES.items():
        if key not in manifest:
            raise FileFormatError(f"{folder}/{_MANIFEST} is incomplete: it has no {key}")
        if not isinstance(manifest[key], types) or isinstance(manifest[key], bool):
            raise FileFormatError(f"{folder}/{_MANIFEST} is damaged: its {key} is {describe(manifest[key])}")
    names = [*manifest["segments"], manifest["removed"] or "", manifest["quantizer"] or ""]
    if not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise FileFormatError(f"{folder}/{_MANIFEST} is damaged: it names files outside its folder")
    return manifest


def _read_state(folder: Path, manifest: dict[str, Any]) -> IndexState:
    n_bits = manifest["n_bits"]
    removed = read_tensors(folder / manifest["removed"], "removed").tensors if manifest["removed"] else {}
    segments = [_read_segment(folder, name, n_bits, removed.get(name)) for name in manifest["segments"]]
    # The name resolves here: an index without a quantizer never waits for scikit-learn.
    quantizer = quantization.load_quantizer(folder / manifest["quantizer"]) if manifest["quantizer"] else None
    options = dict(manifest["options"])
    return IndexState(n_bits, tuple(segments), manifest["next_id"], quantizer, options, manifest["generation"])


def _read_segment(folder: Path, name: str, n_bits: int, removed: NDArray[np.int64] | None) -> Segment:
    tensors = read_tensors(folder / name, "segment", mmap=True).tensors
    codes, ids = tensors.get("codes"), tensors.get("ids")
    if (
        codes is None
        or ids is None
        or codes.dtype != np.uint8
        or ids.dtype != np.int64
        or codes.shape != (*ids.shape, bytes_per_code(n_bits))
    ):
        raise FileFormatError(f"{folder / name} does not hold codes of {n_bits} bits with their ids")
    segment = Segment(tensors, file=name)
    if removed is None:
        return segment
    if len(removed) and not 0 <= removed.min() <= removed.max() < len(ids):
        raise FileFormatError(f"{folder} is damaged: items were removed from {name} that it does not hold")
    return segment.without(removed)


def write_folder(folder: Path, state: IndexState) -> IndexState:
    """Write what is not on disk yet, then the manifest; return the state with the names of its files.

    A segment that names a file is already in this folder.

    Raises
    ------
    FileExistsError
        If the folder holds something else, or was changed since the state was read.
    TimeoutError
        If another process is saving to it.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; an index is saved to a folder")
    if folder.exists() and any(folder.iterdir()) and not _is_ours(folder):
        raise FileExistsError(f"{folder} holds other files and no index; choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        if not (folder / _MANIFEST).exists():
            # What the state names was deleted since: write it all again.
            unsaved = tuple(replace(segment, file=None) for segment in state.segments)
            state = replace(state, segments=unsaved, generation="")
        if state.generation and _read_manifest(folder)["generation"] != state.generation:
            raise FileExistsError(
                f"{folder} was changed by another process since this index was opened; open it again and repeat the "
                "additions, or save to another folder"
            )
        segments = tuple(_write_segment(folder, segment) for segment in state.segments)
        removed = {s.file: np.flatnonzero(~s.alive) for s in segments if s.alive is not None and s.file}
        removed_name = quantizer_name = None
        if removed:
            removed_name = _new_name("removed")
            write_tensors(folder / removed_name, "removed", removed, {})
        if state.quantizer is not None:
            quantizer_name = _new_name("quantizer")
            state.quantizer.save(folder / quantizer_name)
        generation = uuid.uuid4().hex
        manifest: dict[str, Any] = {
            "kind": _KIND,
            "format_version": FORMAT_VERSION,
            "h2q_version": __version__,
            "generation": generation,
            "n_bits": state.n_bits,
            "items": sum(len(segment) for segment in segments),
            "next_id": state.next_id,
            "options": state.options,
            "quantizer": quantizer_name,
            "removed": removed_name,
            "segments": [segment.file for segment in segments],
        }
        write_json(folder / _MANIFEST, manifest)
        _clear_away(folder, {*manifest["segments"], removed_name, quantizer_name})
    return replace(state, segments=segments, generation=generation)


def _is_ours(folder: Path) -> bool:
    """Whether a folder holds an index, or what is left of a save that was killed before there was one."""
    return (folder / _MANIFEST).exists() or all(_is_a_part(file.name) for file in folder.iterdir())


def _is_a_part(name: str) -> bool:
    return (
        name == _LOCK or name.removeprefix(".").startswith(_PARTS) or _SAFETENSORS_TEMPORARY.fullmatch(name) is not None
    )


def _new_name(part: str) -> str:
    return f"{part}-{uuid.uuid4().hex[:16]}.safetensors"


def _write_segment(folder: Path, segment: Segment) -> Segment:
    if segment.file is not None:
        return segment
    name = _new_name("segment")
    write_tensors(folder / name, "segment", segment.columns, {})
    return replace(segment, file=name)


def _clear_away(folder: Path, named: set[str | None]) -> None:
    """Delete the parts that the manifest does not name: those it named before, and those of saves that were killed."""
    for file in folder.iterdir():
        if _is_a_part(file.name) and file.name != _LOCK and file.name not in named:
            file.unlink(missing_ok=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; it is released when the process ends, however that happens."""
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise TimeoutError(f"another process is saving to {folder}; try again when it is done") from error
    try:
        yield
    finally:
        lock.release()
