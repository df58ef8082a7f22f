"""Files of ours: safetensors with a versioned JSON header, never pickle, written so that a crash loses nothing."""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q._version import __version__
from h2q.errors import FileFormatError

__all__ = [
    "FORMAT_VERSION",
    "STORED_DTYPES",
    "StoredTensors",
    "atomic_path",
    "read_json",
    "read_tensors",
    "write_json",
    "write_tensors",
]

FORMAT_VERSION = 1
_HEADER_KEY = "h2q"
_MAX_HEADER_BYTES = 100_000_000
STORED_DTYPES = {
    "BOOL": np.bool_, "U8": np.uint8, "I8": np.int8, "U16": np.uint16, "I16": np.int16, "U32": np.uint32,
    "I32": np.int32, "U64": np.uint64, "I64": np.int64, "F16": np.float16, "F32": np.float32, "F64": np.float64,
}  # fmt: skip


@dataclass(frozen=True)
class StoredTensors:
    """What a file of ours holds: its kind, its metadata and its arrays."""

    kind: str
    metadata: dict[str, Any]
    tensors: dict[str, NDArray[Any]]


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path`; once the block ends well, sync it and rename it to `path`.

    Where the block raises, or the process dies in it, whatever stood at `path` before is untouched.

    Examples
    --------
    >>> folder = Path(tempfile.mkdtemp())
    >>> with atomic_path(folder / "a.txt") as temporary:
    ...     _ = temporary.write_text("whole")
    >>> [file.name for file in folder.iterdir()]
    ['a.txt']
    """
    target = Path(path)
    try:
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
    except FileNotFoundError as error:
        raise FileNotFoundError(f"cannot write {target}: the folder {target.parent} does not exist") from error
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_tensors(
    path: str | os.PathLike[str], kind: str, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]
) -> None:
    """Write arrays and JSON-able metadata to one safetensors file, atomically.

    Raises
    ------
    OSError
        If it cannot be written, for instance on a full disk; what was there before is untouched.

    Examples
    --------
    >>> path = Path(tempfile.mkdtemp()) / "a.safetensors"
    >>> write_tensors(path, "example", {"x": np.arange(3)}, {"n_bits": 16})
    >>> stored = read_tensors(path, "example")
    >>> stored.metadata["n_bits"], stored.tensors["x"]
    (16, array([0, 1, 2]))
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    header = {"kind": kind, "format_version": FORMAT_VERSION, "h2q_version": __version__, "metadata": dict(metadata)}
    contiguous = {key: np.ascontiguousarray(value) for key, value in tensors.items()}
    with atomic_path(path) as temporary:
        try:
            save_file(contiguous, temporary, metadata={_HEADER_KEY: json.dumps(header)})
        except SafetensorError as error:
            raise OSError(f"cannot write {path}: {error}") from error


def read_tensors(path: str | os.PathLike[str], kind: str | None = None, *, mmap: bool = False) -> StoredTensors:
    """Read a file that `write_tensors` wrote.

    Parameters
    ----------
    path : path
        The file.
    kind : str, optional
        The kind that is expected; another one is an error.
    mmap : bool
        Whether the arrays are read-only memory maps of the file instead of copies in memory.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FileFormatError
        If the file is truncated, foreign, of another kind, or from a newer version of h2q.
    """
    path = Path(path)
    if path.is_dir():
        raise FileFormatError(f"{path} is a folder, not a file of h2q")
    entries, header, start = _read_header(path)
    if kind is not None and header["kind"] != kind:
        raise FileFormatError(f"{path} holds a {header['kind']}, not a {kind}")
    size, tensors = path.stat().st_size, {}
    for name, entry in entries.items():
        dtype, shape, (begin, end) = (
            np.dtype(STORED_DTYPES[entry["dtype"]]),
            tuple(entry["shape"]),
            entry["data_offsets"],
        )
        if start + end > size:
            raise FileFormatError(f"{path} is truncated: {size} bytes, {start + end} expected; restore it from a copy")
        if end == begin:
            tensors[name] = np.zeros(shape, dtype)
        elif mmap:
            tensors[name] = np.memmap(path, dtype, "r", start + begin, shape)
        else:
            count = (end - begin) // dtype.itemsize
            tensors[name] = np.fromfile(path, dtype, count, offset=start + begin).reshape(shape)
    return StoredTensors(header["kind"], header["metadata"], tensors)


def _read_header(path: Path) -> tuple[dict[str, Any], dict[str, Any], int]:
    """Parse a safetensors header: the entries, our header, and where the data starts."""
    foreign = f"{path} is not a file that h2q wrote"
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= min(_MAX_HEADER_BYTES, max(path.stat().st_size - 8, 0)):
            raise FileFormatError(f"{foreign}, or it is truncated: no safetensors header")
        try:
            entries = json.loads(file.read(length))
            header = json.loads(entries.pop("__metadata__")[_HEADER_KEY])
            version = header["format_version"]
            complete = isinstance(version, int) and {"kind", "metadata"} <= header.keys()
            for entry in entries.values():
                size = np.dtype(STORED_DTYPES[entry["dtype"]]).itemsize * int(np.prod(entry["shape"], dtype=object))
                begin, end = entry["data_offsets"]
                complete = complete and end - begin == size and begin >= 0
        except (ValueError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
            raise FileFormatError(f"{foreign}: its header does not read") from error
    if not complete:
        raise FileFormatError(f"{foreign}: its header is incomplete")
    if version > FORMAT_VERSION:
        raise FileFormatError(
            f"{path} was written by h2q {header.get('h2q_version', '?')} in format {version}, newer than format "
            f"{FORMAT_VERSION} that this h2q {__version__} reads; upgrade with: pip install -U h2q"
        )
    return entries, header, 8 + length


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write JSON, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read JSON; a file that does not parse is a `FileFormatError` that names it."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{path} is truncated or not JSON: {error}") from error
