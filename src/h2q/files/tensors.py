"""The files that h2q keeps arrays in: safetensors with metadata as JSON and checksums, never pickle.

The safetensors metadata hold three strings: ``h2q``, the kind, versions and metadata as JSON; ``h2q_tensors``, the
checksum of each tensor as JSON; and ``h2q_checksum``, the checksum of the header (see `h2q.files.checksums`).
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from h2q._version import __version__
from h2q.errors import FileFormatError, ForeignFileError, describe
from h2q.files.atomic import atomic_path
from h2q.files.checksums import CHECKSUM_KEY, PLACEHOLDER, BlockDigest, block_bytes, fill_checksum, matches_checksum
from h2q.files.json_files import encode_json
from h2q.files.safetensors_layout import DTYPES, SafetensorsLayout, TensorPlace, read_layout

__all__ = [
    "BLOCKS_SUFFIX",
    "FORMAT_VERSION",
    "StoredTensors",
    "check_format_version",
    "is_ours",
    "read_tensors",
    "verify_tensors",
    "write_tensors",
]

FORMAT_VERSION = 2  # in format 1, the checksum of a tensor was that of its bytes; such files are read, not written
BLOCKS_SUFFIX = ".xxh3"  # the checksums of a tensor's blocks are the tensor of its name and this
_HEADER_KEY, _TENSORS_KEY = "h2q", "h2q_tensors"
_NAMES = {np.dtype(dtype): name for name, dtype in DTYPES.items()}
_NO_CHECKSUM = "0" * 16
_CHUNK_BYTES = 256 << 10  # small enough that the checksum finds the bytes in the processor's cache


@dataclass(frozen=True)
class StoredTensors:
    """The content of a file that h2q wrote.

    Attributes
    ----------
    kind : str
        What the file holds, such as "quantizer".
    metadata : dict
        Values that JSON can hold.
    tensors : dict of str to ndarray
        The arrays.
    """

    kind: str
    metadata: dict[str, Any]
    tensors: dict[str, NDArray[Any]]


def write_tensors(
    path: str | os.PathLike[str],
    kind: str,
    tensors: Mapping[str, NDArray[Any]],
    metadata: Mapping[str, Any],
    *,
    keep_blocks: bool = False,
) -> None:
    """Write arrays and metadata to a safetensors file with checksums, atomically.

    Parameters
    ----------
    path : path
        The file to write.
    kind : str
        What the file holds; `read_tensors` asks for it.
    tensors : mapping of str to ndarray
        Arrays of numbers or booleans.
    metadata : mapping
        Values that JSON can hold.
    keep_blocks : bool
        Whether to store the checksums of each tensor's blocks, too, as a tensor of uint64 whose name ends in
        `BLOCKS_SUFFIX`, for readers that verify only what they use.

    Raises
    ------
    TypeError
        If an array or a value cannot be stored.
    DiskFullError
        If the disk is full; an older file at `path` is unchanged.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "a.safetensors"
    >>> write_tensors(path, "example", {"x": np.arange(3)}, {"n_bits": 16})
    >>> stored = read_tensors(path, "example")
    >>> stored.metadata["n_bits"], stored.tensors["x"]
    (16, array([0, 1, 2]))
    """
    arrays = {name: _storable(name, array) for name, array in tensors.items()}
    if keep_blocks:
        # Filled once the tensors are written.
        arrays |= {name + BLOCKS_SUFFIX: np.empty(_n_blocks(array), "<u8") for name, array in arrays.items()}
    # The widest types first, as the safetensors library has them: every array is then aligned.
    names = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))
    description = {"kind": kind, "format_version": FORMAT_VERSION, "h2q_version": __version__, "metadata": metadata}
    entries: dict[str, Any] = {}
    end = 0
    for name in names:
        begin, end = end, end + arrays[name].nbytes
        dtype = _NAMES[arrays[name].dtype]
        entries[name] = {"dtype": dtype, "shape": list(arrays[name].shape), "data_offsets": [begin, end]}
    checksums = dict.fromkeys(names, _NO_CHECKSUM)
    strings = {_HEADER_KEY: encode_json(description, path).decode(), _TENSORS_KEY: json.dumps(checksums)}
    length = len(_encode_header(entries, strings))
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        # The header holds the checksums of the arrays, and all checksums have one length: it is written last.
        for name, array in arrays.items():
            file.seek(8 + length + entries[name]["data_offsets"][0])
            digest = _write_array(file, array)
            checksums[name] = digest.hexdigest()
            if keep_blocks and name in tensors:
                arrays[name + BLOCKS_SUFFIX][:] = digest.blocks
        strings[_TENSORS_KEY] = json.dumps(checksums)
        file.seek(0)
        file.write(length.to_bytes(8, "little") + fill_checksum(_encode_header(entries, strings)))


def _encode_header(entries: Mapping[str, Any], strings: Mapping[str, str]) -> bytes:
    """Return the header in JSON, without its own checksum, padded so that the arrays begin at a multiple of eight."""
    header = {**entries, "__metadata__": {**strings, CHECKSUM_KEY: PLACEHOLDER}}
    text = json.dumps(header, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % 8)


def _n_blocks(array: NDArray[Any]) -> int:
    return -(-array.nbytes // block_bytes(array.shape, array.itemsize))


def _write_array(file: BinaryIO, array: NDArray[Any]) -> BlockDigest:
    """Write the bytes of an array; return their checksums."""
    content, size = _bytes_of(array), block_bytes(array.shape, array.itemsize)
    digest, step = BlockDigest(size), _step(size)
    for begin in range(0, len(content), step):
        chunk = content[begin : begin + step].data
        digest.update(chunk)
        file.write(chunk)
    return digest


def _step(size: int) -> int:
    """Return how many bytes to read or write at a time: whole blocks of this size."""
    return max(1, _CHUNK_BYTES // size) * size


def read_tensors(
    path: str | os.PathLike[str], kind: str | None = None, *, mmap: bool = False, verify: bool = True
) -> StoredTensors:
    """Read a file that `write_tensors` wrote.

    Parameters
    ----------
    path : path
        The file.
    kind : str, optional
        The kind that is expected; another one is an error.
    mmap : bool
        Whether the arrays are read-only memory maps of the file instead of copies in memory.
    verify : bool
        Whether arrays that are read into memory are compared with their checksums. The checksum of the header is
        always verified. Memory maps are not; call `verify_tensors`.

    Returns
    -------
    StoredTensors
        Kind, metadata and arrays.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FileFormatError
        If the file is truncated, damaged, foreign, of another kind, or from a newer version of h2q.
    """
    file = _open(Path(path), kind)
    tensors = {}
    for name, place in file.places.items():
        dtype = np.dtype(DTYPES[place.dtype])
        if place.n_bytes == 0:
            tensors[name] = np.zeros(place.shape, dtype)
        elif mmap:
            tensors[name] = np.memmap(file.path, dtype, "r", place.start, place.shape)
        else:
            tensors[name] = _read_into_memory(file, name, place, dtype, verify)
    return StoredTensors(file.kind, file.metadata, tensors)


def verify_tensors(
    path: str | os.PathLike[str], kind: str | None = None, *, names: Iterable[str] | None = None
) -> None:
    """Compare the tensors of a file with their checksums, reading a part at a time.

    Parameters
    ----------
    path : path
        A file that `write_tensors` wrote.
    kind : str, optional
        The kind that is expected.
    names : iterable of str, optional
        The tensors to verify; all by default.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FileFormatError
        If the file cannot be read, or a tensor does not match its checksum; the message names the tensor.
    """
    file = _open(Path(path), kind)
    with file.path.open("rb") as raw:
        for name in file.places if names is None else names:
            place, (digest, step) = file.places[name], file.digest(name)
            raw.seek(place.start)
            for begin in range(0, place.n_bytes, step):
                digest.update(raw.read(min(step, place.n_bytes - begin)))
            file.compare(name, digest)


def is_ours(layout: SafetensorsLayout) -> bool:
    """Return whether h2q wrote a safetensors file."""
    # A damaged file may lack one of the three.
    return not layout.metadata.keys().isdisjoint({_HEADER_KEY, _TENSORS_KEY, CHECKSUM_KEY})


def check_format_version(header: Mapping[str, Any], name: Any) -> int:
    """Return the format version in the header of a file or folder; `name` is what errors call it.

    Raises
    ------
    FileFormatError
        If there is none, or it is newer than this version of h2q reads.
    """
    version = header.get("format_version")
    if type(version) is not int or version > FORMAT_VERSION:
        raise FileFormatError(
            f"{name} was written by h2q {header.get('h2q_version', '?')} in format {version}, newer than format "
            f"{FORMAT_VERSION} that this h2q {__version__} reads; upgrade with: pip install -U h2q"
        )
    return version


class _Digest(Protocol):
    def update(self, content: Any, /) -> None: ...

    def hexdigest(self) -> str: ...


@dataclass(frozen=True)
class _OpenFile:
    """A file whose header has been verified."""

    path: Path
    version: int
    kind: str
    metadata: dict[str, Any]
    places: dict[str, TensorPlace]
    checksums: dict[str, str]

    def digest(self, name: str) -> tuple[_Digest, int]:
        """Return what computes the checksum of a tensor, and how many bytes to give it at a time."""
        import xxhash

        if self.version == 1:
            return xxhash.xxh3_64(), _CHUNK_BYTES
        place = self.places[name]
        size = block_bytes(place.shape, np.dtype(DTYPES[place.dtype]).itemsize)
        return BlockDigest(size), _step(size)

    def compare(self, name: str, digest: _Digest) -> None:
        """Raise an error unless a tensor has the checksum that the file says."""
        if self.checksums[name] != digest.hexdigest():
            raise FileFormatError(
                f"{self.path} is damaged: its tensor {name} does not match its checksum; restore the file from a copy"
            )


def _open(path: Path, kind: str | None) -> _OpenFile:
    """Read and verify the header of a file that h2q wrote."""
    if path.is_dir():
        raise FileFormatError(f"{path} is a folder, not a file of h2q")
    layout = read_layout(path)
    if not is_ours(layout):
        raise ForeignFileError(f"{path} is not a file that h2q wrote")
    if not matches_checksum(layout.header):
        raise FileFormatError(f"{path} is damaged: its header does not match its checksum; restore it from a copy")
    try:
        header = json.loads(layout.metadata[_HEADER_KEY])
        checksums = json.loads(layout.metadata[_TENSORS_KEY])
        file_kind, metadata = header["kind"], dict(header["metadata"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FileFormatError(f"{path} is damaged: its header is incomplete: {error}") from error
    version = check_format_version(header, path)
    if checksums.keys() != layout.tensors.keys() or any(p.dtype not in DTYPES for p in layout.tensors.values()):
        raise FileFormatError(f"{path} is damaged: its header does not describe its tensors")
    if kind is not None and file_kind != kind:
        raise FileFormatError(f"{path} holds data of the kind {file_kind!r}, not {kind!r}")
    return _OpenFile(path, version, file_kind, metadata, layout.tensors, checksums)


def _read_into_memory(
    file: _OpenFile, name: str, place: TensorPlace, dtype: np.dtype[Any], verify: bool
) -> NDArray[Any]:
    array, (digest, step) = np.empty(place.shape, dtype), file.digest(name)
    content = _bytes_of(array)
    with file.path.open("rb", buffering=0) as raw:
        raw.seek(place.start)
        for begin in range(0, len(content), step):
            chunk = content[begin : begin + step].data
            if raw.readinto(chunk) != len(chunk):
                raise FileFormatError(f"{file.path} was truncated while it was read")
            if verify:
                digest.update(chunk)
    if verify:
        file.compare(name, digest)
    return array


def _storable(name: str, array: Any) -> NDArray[Any]:
    """Return an array as C-ordered little-endian numbers."""
    array = np.asarray(array)
    little = array.dtype.newbyteorder("<")
    if little not in _NAMES:
        raise TypeError(f"the tensor {name} must be an array of numbers or booleans; got {describe(array)}")
    return np.asarray(array, little, order="C")


def _bytes_of(array: NDArray[Any]) -> NDArray[np.uint8]:
    """View a C-ordered array as bytes."""
    return array.reshape(-1).view(np.uint8)
