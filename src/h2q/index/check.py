"""Checks every byte of an index folder, and saves what is left of a damaged one."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.checks import bytes_per_code
from h2q.errors import FileFormatError
from h2q.index.columns import Columns, MappedColumns
from h2q.index.folder import BACKUP, MANIFEST, IndexFolder, read_quantizer, read_removed, read_schema, read_segment
from h2q.index.ids import INTEGER, fit_strings
from h2q.index.manifest import Manifest, SegmentFile
from h2q.index.segments import Segment
from h2q.index.state import IndexState
from h2q.index.tables import ItemTable

__all__ = ["Damage", "IndexCheck", "check_index"]


@dataclass(frozen=True)
class Damage:
    """One thing that is wrong with an index folder.

    Attributes
    ----------
    file : str
        Name of the file.
    what : str
        What is wrong, and what is lost.
    lost_items : int
        Number of items that cannot be saved.

    Examples
    --------
    >>> Damage("00000001.safetensors", "a checksum differs", lost_items=2).lost_items
    2
    """

    file: str
    what: str
    lost_items: int = 0


@dataclass(frozen=True)
class IndexCheck:
    """Result of `check_index`.

    Attributes
    ----------
    folder : Path
        The folder.
    items : int
        Number of items that are whole.
    n_bytes : int
        Bytes that were checked.
    damages : tuple of Damage
        What is wrong; empty for a sound index.
    left_overs : tuple of str
        Files of interrupted saves; the next save deletes them.
    kept : tuple of str
        Where the damaged files are after a repair.
    repaired : bool
        Whether the folder now holds a sound index of the items that are whole.

    Examples
    --------
    >>> result = IndexCheck(Path("codes"), 3, 100, (Damage("00000001.safetensors", "a checksum differs", 2),), ())
    >>> result.lost_items
    2
    """

    folder: Path
    items: int
    n_bytes: int
    damages: tuple[Damage, ...]
    left_overs: tuple[str, ...]
    kept: tuple[str, ...] = ()
    repaired: bool = False

    @property
    def lost_items(self) -> int:
        """Number of items that cannot be saved."""
        return sum(damage.lost_items for damage in self.damages)


def check_index(
    path: Path, *, repair: bool = False, timeout: float = 60.0, advance: Callable[[int], None] | None = None
) -> IndexCheck:
    """Compare every byte of an index folder with its checksums, and its content with what an index must be.

    Parameters
    ----------
    path : Path
        The folder.
    repair : bool
        Whether to drop what cannot be saved. The damaged files are kept beside the others, with the ending
        ``.damaged``.
    timeout : float
        Seconds to wait for another process that is saving to the folder.
    advance : callable, optional
        Called with the number of bytes that were checked, after each file.

    Returns
    -------
    IndexCheck
        What is wrong, what is lost, and what was done.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    FileFormatError
        If it is not an index, or nothing of it can be saved: neither its manifest nor the copy of it can be read.
    TimeoutError
        If another process is still saving after `timeout` seconds.

    Examples
    --------
    >>> import tempfile
    >>> from h2q.index import BinaryIndex
    >>> folder = Path(tempfile.mkdtemp()) / "codes"
    >>> index = BinaryIndex(8)
    >>> ids = index.add(np.array([[1], [2], [3]], dtype=np.uint8))
    >>> index.save(folder)
    >>> result = check_index(folder)
    >>> result.items, result.damages
    (3, ())
    """
    folder = IndexFolder(Path(path).resolve())
    manifest, damages = _read_manifest(folder)
    if not repair:
        return _check(folder, manifest, damages, advance or (lambda n: None))[0]
    with folder.locked(timeout, damaged=True):
        manifest, damages = _read_manifest(folder)
        result, state = _check(folder, manifest, damages, advance or (lambda n: None))
        if not result.damages:
            return result
        kept = _keep_damaged(folder, result)
        folder.commit(folder.write_parts(state))
        folder.write_backup()
        folder.delete_left_overs()
    return replace(result, repaired=True, kept=kept)


def _read_manifest(folder: IndexFolder) -> tuple[Manifest, list[Damage]]:
    """Return the manifest, or its copy if the manifest is damaged."""
    try:
        manifest = folder.read_manifest()
    except FileFormatError as error:
        try:
            return folder.read_manifest(BACKUP), [Damage(MANIFEST, f"{error}; its copy {BACKUP} is used")]
        except (FileFormatError, OSError):
            raise error from None
    if (folder.path / BACKUP).exists():
        try:
            folder.read_manifest(BACKUP)
        except (FileFormatError, OSError) as error:
            return manifest, [Damage(BACKUP, f"{error}; {MANIFEST} is whole")]
    return manifest, []


def _check(
    folder: IndexFolder, manifest: Manifest, damages: list[Damage], advance: Callable[[int], None]
) -> tuple[IndexCheck, IndexState]:
    """Return what is wrong, and the index of the items that are whole."""
    n_bytes = 0

    def done(name: str) -> None:
        nonlocal n_bytes
        size = (folder.path / name).stat().st_size if (folder.path / name).is_file() else 0
        n_bytes += size
        advance(size)

    quantizer, removed = None, {}
    if manifest.quantizer is not None:
        try:
            quantizer = read_quantizer(folder.path, manifest)
        except (FileFormatError, OSError) as error:
            damages.append(Damage(manifest.quantizer.file, f"{error}; the codes remain, searched by codes alone"))
        done(manifest.quantizer.file)
    if manifest.removed is not None:
        try:
            removed = read_removed(folder.path, manifest)
        except (FileFormatError, OSError) as error:
            count = sum(file.rows for file in manifest.segments) - manifest.items
            damages.append(Damage(manifest.removed.file, f"{error}; {count:,} removed item(s) come back"))
        done(manifest.removed.file)
    segments: list[Segment] = []
    taken = np.zeros(0, np.int64)
    for file in manifest.segments:
        segment, damage = _check_segment(folder.path, file, manifest.n_bits, removed.get(file.file), taken)
        if damage is not None:
            damages.append(damage)
        if segment is not None and len(segment):
            segments.append(segment)
            taken = np.concatenate([taken, segment.living("ids")])
        done(file.file)
    state = _usable(manifest, quantizer, read_schema(folder.path, manifest), segments)
    if not damages and len(state) != manifest.items:
        what = f"it counts {manifest.items:,} items, and the files hold {len(state):,}"
        damages.append(Damage(MANIFEST, what, max(0, manifest.items - len(state))))
    if state.next_id != manifest.next_id:
        what = f"it says that the next id is {manifest.next_id}, and the files hold ids up to {state.next_id - 1}"
        damages.append(Damage(MANIFEST, what, 0))
    left_overs: tuple[str, ...] = ()
    with suppress(FileFormatError):
        left_overs = tuple(sorted(file.name for file in folder.left_overs()))
    return IndexCheck(folder.path, len(state), n_bytes, tuple(damages), left_overs), state


def _check_segment(
    folder: Path, file: SegmentFile, n_bits: int, removed: NDArray[np.int64] | None, taken: NDArray[np.int64]
) -> tuple[Segment | None, Damage | None]:
    """Return the items of a segment that are whole, as they are where all are, and what is wrong."""
    n_living = file.rows - (0 if removed is None else len(removed))
    try:
        columns, table = read_segment(folder, file, n_bits)
    except (FileFormatError, OSError) as error:
        return None, Damage(file.file, f"{error}; all its items are lost", n_living)
    alive = np.ones(file.rows, np.bool_)
    if removed is not None:
        alive[removed] = False
    damaged = {name: columns.damaged_rows(name) for name in columns}
    lost = np.logical_or.reduce(list(damaged.values()))
    names = [name for name, rows in damaged.items() if rows.any()]
    sound_table, sound = None, ~lost
    if table is not None:
        sound_table, sound = table.salvage()
        lost |= ~sound
        names += [] if sound.all() else ["metadata"]
    faults = [f"{', '.join(names)} of {int(lost.sum()):,} rows do not match their checksums"] if names else []
    faults += _broken_rules(columns, file, n_bits, lost, alive, taken)
    if sound_table is not None and not fit_strings(columns.unverified("ids")[sound], sound_table):
        faults.append("its string ids are not those of its items")
        lost[:] = True
    if not faults:
        return Segment(columns, None if alive.all() else alive, file, table), None
    whole = alive & ~lost
    kept = Segment(
        Columns({name: np.array(columns.unverified(name)[whole]) for name in columns}),
        table=None if sound_table is None else ItemTable(sound_table).take(np.flatnonzero(whole[sound])),
    )
    n_lost = n_living - len(kept)
    return kept, Damage(file.file, f"{'; '.join(faults)}; {n_lost:,} of {n_living:,} items are lost", n_lost)


def _broken_rules(
    columns: MappedColumns,
    file: SegmentFile,
    n_bits: int,
    lost: NDArray[np.bool_],
    alive: NDArray[np.bool_],
    taken: NDArray[np.int64],
) -> list[str]:
    """Say which rules the content of a segment breaks, and mark the rows that break them as lost."""
    faults = []
    ids, codes = columns.unverified("ids"), columns.unverified("codes")
    sound = np.flatnonzero(~lost)
    if not lost.any() and (ids[0], ids[-1]) != (file.first_id, file.last_id):
        faults.append(f"its ids are from {ids[0]} to {ids[-1]}, not from {file.first_id} to {file.last_id}")
        lost[:] = True
    unordered = sound[1:][np.diff(ids[sound]) <= 0]
    if len(unordered) or (ids[sound] < 0).any():
        faults.append("its ids are not increasing")
        lost[:] = True
    padding = 8 * bytes_per_code(n_bits) - n_bits
    if padding:
        wrong = (codes[:, -1] & ((1 << padding) - 1) > 0) & ~lost
        if wrong.any():
            faults.append(f"{int(wrong.sum()):,} codes have padding bits set")
            lost |= wrong
    doubled = np.isin(ids, taken) & alive & ~lost
    if doubled.any():
        faults.append(f"{int(doubled.sum()):,} of its ids are in other segments, too")
        lost |= doubled
    return faults


def _usable(manifest: Manifest, quantizer: Any, schema: Any, segments: list[Segment]) -> IndexState:
    """Return the index of these segments; without its quantizer it keeps codes only."""
    options, file = dict(manifest.options), manifest.quantizer
    if manifest.quantizer is not None and quantizer is None:
        options["keep_embeddings"], file = False, None
        if any("embeddings" in segment.columns for segment in segments):
            kept = [name for name in segments[0].columns if name != "embeddings"]
            segments = [replace(s, columns=Columns({n: s.columns[n] for n in kept}), file=None) for s in segments]
    id_type = manifest.id_type or (INTEGER if segments else None)
    next_id = manifest.next_id
    if id_type == INTEGER:
        next_id = max([next_id, *(int(segment.ids[-1]) + 1 for segment in segments)])
    return IndexState(
        manifest.n_bits,
        tuple(segments),
        next_id,
        quantizer,
        options,
        manifest.uid,
        manifest.generation,
        file,
        id_type,
        schema,
    )


def _keep_damaged(folder: IndexFolder, result: IndexCheck) -> tuple[str, ...]:
    """Link each damaged file under a name that no save deletes."""
    kept = []
    for name in dict.fromkeys(damage.file for damage in result.damages):
        path = folder.path / name
        if path.is_file():
            copy = path.with_name(f"{name}.damaged")
            copy.unlink(missing_ok=True)
            copy.hardlink_to(path)
            kept.append(copy.name)
    return tuple(kept)
