"""A binary index on disk: a folder of files that never change, and a manifest that names those that count.

    manifest.json             what the index is, and the names and checksums of the other files
    manifest.backup.json      copy of the manifest, for repair
    segment-*.safetensors     items: codes, ids and, where kept, embeddings and metadata
    removed-*.safetensors     rows of each segment that were removed
    quantizer-*.safetensors   the quantizer, where there is one
    .lock                     held while a process saves

The manifest is replaced last and in one step: until then the old index is whole, from then on the new one.
"""

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from h2q import quantization
from h2q.checks import bytes_per_code
from h2q.errors import FileFormatError
from h2q.files import (
    BLOCKS_SUFFIX,
    encode_checked_json,
    read_checked_json,
    read_json,
    read_tensors,
    reclaim,
    verify_tensors,
    write_checked_json,
    write_tensors,
)
from h2q.files.safetensors_layout import read_layout
from h2q.index.columns import MappedColumns
from h2q.index.ids import INTEGER, STRING
from h2q.index.manifest import PART_NAME, Manifest, PartFile, QuantizerFile, SegmentFile
from h2q.index.segments import Segment
from h2q.index.state import IndexState
from h2q.index.tables import MappedTable, decode_schema, encode_schema, encode_table

__all__ = ["BACKUP", "MANIFEST", "IndexFolder", "read_segment", "seal_of"]

MANIFEST, BACKUP, _LOCK = "manifest.json", "manifest.backup.json", ".lock"
_TEMPORARY = re.compile(
    r"\.(manifest\.json|manifest\.backup\.json|(segment|removed|quantizer)-[0-9a-f]{16}\.safetensors)\.h2q-[0-9a-f]{16}\.tmp"
)
_ATTEMPTS = 5
_TABLE = "table"  # the tensor that holds string ids and metadata


class IndexFolder:
    """The folder of an index.

    Parameters
    ----------
    path : Path
        The folder; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # Not bound to a thread: an index lets one thread at a time save.
        self._lock = FileLock(path / _LOCK, thread_local=False)

    def read(self) -> IndexState:
        """Read an index, the columns of its items as memory maps.

        Raises
        ------
        FileNotFoundError
            If there is no such folder.
        FileFormatError
            If it is not an index, damaged, or from a newer version of h2q.
        """
        for attempt in range(_ATTEMPTS):
            manifest = self.read_manifest()
            try:
                return read_state(self.path, manifest)
            except FileNotFoundError as error:
                # Another process may have saved in between, and deleted what this manifest names.
                if attempt == _ATTEMPTS - 1 or self.read_manifest() == manifest:
                    raise FileFormatError(
                        f"{self.path} is damaged: {Path(error.filename).name} is missing; restore it from a copy, or "
                        f"see what can be saved: h2q check {self.path}"
                    ) from error
        raise FileFormatError(f"{self.path} changes faster than it can be read")

    def read_manifest(self, name: str = MANIFEST) -> Manifest:
        """Read the manifest, or its copy."""
        if not self.path.exists():
            raise FileNotFoundError(f"there is no index at {self.path}")
        path = self.path / name
        if not path.is_file():
            raise FileFormatError(f"{self.path} is not an index of h2q: it holds no {name}")
        # A foreign file says what it is before its checksum is asked for.
        document = read_json(path)
        return Manifest.from_json(read_checked_json(path) if _is_manifest(document) else document, path)

    def holds_index(self) -> bool:
        """Return whether the folder holds a manifest."""
        return (self.path / MANIFEST).is_file()

    def holds_generation(self, generation: str) -> bool:
        """Return whether the folder holds the index that a certain save wrote."""
        try:
            return self.read_manifest().generation == generation
        except (OSError, FileFormatError):
            return False

    @contextmanager
    def locked(self, timeout: float, *, damaged: bool = False) -> Iterator[None]:
        """Hold the folder's lock, which is released when the process ends, however that happens; may be nested.

        The folder is created if need be, and cleared of what interrupted saves left; with `damaged`, it is taken as
        it is.

        Raises
        ------
        FileExistsError
            If the folder holds other files and no index.
        TimeoutError
            If another process held the lock for `timeout` seconds.
        """
        if not damaged:
            self._check_ours()
            self.path.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=timeout)
        except Timeout as error:
            raise TimeoutError(
                f"another process has been saving to {self.path} for {timeout:g} seconds; try again when it is done"
            ) from error
        try:
            if self._lock.lock_counter == 1 and not damaged:
                self._check_ours()
                self.delete_left_overs()
            yield
        finally:
            self._lock.release()

    def _check_ours(self) -> None:
        """Refuse a folder that holds other files and no index."""
        if self.path.exists() and not self.path.is_dir():
            raise FileExistsError(f"{self.path} is a file; an index is saved to a folder")
        if not self.path.exists():
            return
        names = os.listdir(self.path)
        if MANIFEST in names:
            try:
                self.read_manifest()
            except FileFormatError as error:
                raise FileExistsError(f"cannot save to {self.path}: {error}") from error
        elif BACKUP in names:
            raise FileExistsError(
                f"{self.path} holds an index that lacks its {MANIFEST}; repair it (h2q check {self.path} --repair), or "
                "choose another folder"
            )
        elif not all(name == _LOCK or PART_NAME.fullmatch(name) or _TEMPORARY.fullmatch(name) for name in names):
            raise FileExistsError(f"{self.path} holds other files and no index; choose another folder")

    def left_overs(self) -> list[Path]:
        """Return the parts that neither the manifest nor its copy names: those of saves that were interrupted."""
        named = self.read_manifest().files if self.holds_index() else set()
        with suppress(OSError, FileFormatError):
            named |= self.read_manifest(BACKUP).files
        parts = [name for name in os.listdir(self.path) if PART_NAME.fullmatch(name) and name not in named]
        return [self.path / name for name in parts if (self.path / name).is_file()]

    def delete_left_overs(self) -> None:
        """Delete what interrupted saves left; never raises for a file that cannot be deleted."""
        with suppress(OSError, FileFormatError):
            reclaim(self.path)
            for path in self.left_overs():
                with suppress(OSError):
                    path.unlink()

    def tidy(self) -> None:
        """Delete what interrupted saves left, if there is anything and no other process is saving; never raises."""
        with suppress(OSError, FileFormatError):
            if self.left_overs() or any(map(_TEMPORARY.fullmatch, os.listdir(self.path))):
                with self.locked(0):  # it clears the folder
                    pass

    def write_parts(self, state: IndexState) -> IndexState:
        """Write what no file holds yet; return the state with the names of its files. The index is unchanged."""
        segments = tuple(self._write_segment(segment) for segment in state.segments)
        quantizer_file = state.quantizer_file
        if state.quantizer is not None and quantizer_file is None:
            name = _new_name("quantizer")
            state.quantizer.save(self.path / name)
            quantizer_file = QuantizerFile(name, seal_of(self.path / name), state.quantizer.fingerprint())
        return replace(
            state,
            segments=segments,
            quantizer_file=quantizer_file,
            uid=state.uid or secrets.token_hex(16),
            generation=secrets.token_hex(16),
        )

    def _write_segment(self, segment: Segment) -> Segment:
        if segment.file is not None:
            return segment
        name = _new_name("segment")
        table = {} if segment.table is None else {_TABLE: encode_table(segment.table)}
        write_tensors(self.path / name, "segment", {**segment.columns, **table}, {}, keep_blocks=True)
        ids = segment.ids
        file = SegmentFile(name, seal_of(self.path / name), len(ids), int(ids[0]), int(ids[-1]))
        return replace(segment, file=file)

    def commit(self, state: IndexState) -> None:
        """Make a state that `write_parts` returned the index of the folder: replace the manifest, in one step."""
        rows = {s.file.file: np.flatnonzero(~s.alive) for s in state.segments if s.alive is not None and s.file}
        removed = None
        if rows:
            name = _new_name("removed")
            write_tensors(self.path / name, "removed", rows, {})
            removed = PartFile(name, seal_of(self.path / name))
        manifest = Manifest(
            state.uid,
            state.generation,
            state.n_bits,
            len(state),
            state.next_id,
            state.options,
            tuple(segment.file for segment in state.segments if segment.file is not None),
            removed,
            state.quantizer_file,
            state.id_type,
            None if state.schema is None else encode_schema(state.schema),
        )
        write_checked_json(self.path / MANIFEST, manifest.to_json())

    def write_backup(self) -> None:
        """Copy the manifest for repair; never raises, and does not wait for the disk."""
        temporary = self.path / f".{BACKUP}.h2q-{secrets.token_hex(8)}.tmp"
        with suppress(OSError, FileFormatError):
            try:
                temporary.write_bytes(encode_checked_json(self.read_manifest().to_json(), BACKUP, indent=2))
                temporary.replace(self.path / BACKUP)
            finally:
                temporary.unlink(missing_ok=True)


def _is_manifest(document: Any) -> bool:
    return isinstance(document, dict) and document.get("kind") == "BinaryIndex"


def _new_name(part: str) -> str:
    return f"{part}-{secrets.token_hex(8)}.safetensors"


def seal_of(path: Path) -> str:
    """Return the checksum of the header of a file of tensors, which holds the checksums of the tensors.

    Raises
    ------
    FileNotFoundError, FileFormatError
        If there is no such file, or it is not one of tensors.
    """
    from xxhash import xxh3_64_hexdigest

    return str(xxh3_64_hexdigest(read_layout(path).header))


def read_state(folder: Path, manifest: Manifest) -> IndexState:
    """Read what a manifest names.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    FileFormatError
        If a file is damaged, or not the one that the manifest names.
    """
    removed = read_removed(folder, manifest)
    segments: list[Segment] = []
    for file in manifest.segments:
        columns, table = read_segment(folder, file, manifest.n_bits)
        segment = Segment(columns, file=file, table=table)
        if segments and segment.columns.keys() != segments[0].columns.keys():
            raise FileFormatError(f"{folder / file.file} has other columns than the segments before it")
        if table is None and manifest.id_type == STRING:
            raise FileFormatError(f"{folder / file.file} has no string ids")
        segments.append(segment.without(removed[file.file]) if file.file in removed else segment)
    state = IndexState(
        manifest.n_bits,
        tuple(segments),
        manifest.next_id,
        read_quantizer(folder, manifest),
        dict(manifest.options),
        manifest.uid,
        manifest.generation,
        manifest.quantizer,
        manifest.id_type or (INTEGER if segments else None),
        read_schema(folder, manifest),
    )
    if len(state) != manifest.items:
        raise FileFormatError(
            f"{folder} is damaged: its {MANIFEST} counts {manifest.items} items, and its files hold {len(state)}"
        )
    if state.id_type == INTEGER and any(file.last_id >= manifest.next_id for file in manifest.segments):
        raise FileFormatError(
            f"{folder} is damaged: its {MANIFEST} says that the next id is {manifest.next_id}, and its files hold "
            f"higher ids; mend it: h2q check {folder} --repair"
        )
    return state


def check_seal(folder: Path, part: PartFile) -> Path:
    """Return the path of a file, once its header is the one that the manifest names."""
    path = folder / part.file
    if seal_of(path) != part.seal:
        raise FileFormatError(
            f"{path} is damaged, or not the file that {MANIFEST} names; restore it from a copy, or see what can be "
            f"saved: h2q check {folder}"
        )
    return path


def read_removed(folder: Path, manifest: Manifest) -> dict[str, NDArray[np.int64]]:
    """Read the removed rows of each segment, by the segment's file."""
    if manifest.removed is None:
        return {}
    rows = read_tensors(check_seal(folder, manifest.removed), "removed").tensors
    counts = {segment.file: segment.rows for segment in manifest.segments}
    for name, removed in rows.items():
        if name not in counts or removed.dtype != np.int64 or (removed < 0).any() or (removed >= counts[name]).any():
            raise FileFormatError(f"{folder} is damaged: items were removed from {name} that it does not hold")
    return rows


def read_quantizer(folder: Path, manifest: Manifest) -> Any:
    """Read the quantizer, if there is one."""
    if manifest.quantizer is None:
        return None
    # The name resolves here: an index without a quantizer never waits for scikit-learn.
    quantizer = quantization.load_quantizer(check_seal(folder, manifest.quantizer))
    if quantizer.fingerprint() != manifest.quantizer.fingerprint or quantizer.n_bits_ != manifest.n_bits:
        raise FileFormatError(
            f"{folder / manifest.quantizer.file} is not the quantizer that made the codes of {folder}"
        )
    return quantizer


def read_schema(folder: Path, manifest: Manifest) -> Any:
    """Return the metadata columns that a manifest names; None: there are none."""
    try:
        return None if manifest.schema is None else decode_schema(manifest.schema)
    except ValueError as error:
        raise FileFormatError(f"{folder / MANIFEST} is damaged: its schema cannot be read: {error}") from error


def read_segment(folder: Path, file: SegmentFile, n_bits: int) -> tuple[MappedColumns, MappedTable | None]:
    """Map the columns and the table of a segment; their checksums are verified now, they when they are used."""
    path = check_seal(folder, file)
    tensors = read_tensors(path, "segment", mmap=True).tensors
    checksums = {n.removesuffix(BLOCKS_SUFFIX): v for n, v in tensors.items() if n.endswith(BLOCKS_SUFFIX)}
    verify_tensors(path, "segment", names=[name + BLOCKS_SUFFIX for name in checksums])
    columns = {name: values for name, values in tensors.items() if not name.endswith(BLOCKS_SUFFIX)}
    words = columns.pop(_TABLE, None)
    table = None if words is None else MappedTable(path, words, checksums.pop(_TABLE), file.rows)
    codes, ids = columns.get("codes"), columns.get("ids")
    if (
        codes is None
        or ids is None
        or codes.dtype != np.uint8
        or ids.dtype != np.int64
        or codes.shape != (file.rows, bytes_per_code(n_bits))
        or any(len(values) != file.rows for values in columns.values())
        or checksums.keys() != columns.keys()
    ):
        raise FileFormatError(f"{path} does not hold codes of {n_bits} bits with their ids")
    return MappedColumns(path, columns, checksums), table
