"""Encodes a collection into a folder of shards: several processes, resumable, every row exactly once.

The plan is written first: what is encoded, into which shards. A line is added to the journal after each shard; a shard
without its line is written again, with the same bytes, under the same name. The manifest comes last.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from h2q.checks import check_integer
from h2q.encoding.collections import Collection, Part, open_collection
from h2q.encoding.shards import MANIFEST, Shard, encode_part, file_checksum, shard_name
from h2q.files import decode_json, encode_checked_json, read_checked_json, sync_folder, write_checked_json
from h2q.progress import progress_bar
from h2q.quantization import load_quantizer
from h2q.quantization.base import BaseQuantizer

__all__ = ["EncodedDataset", "encode_dataset"]

_PLAN, _JOURNAL, _LOCK, _QUANTIZER = "plan.json", "journal.jsonl", ".lock", "quantizer.safetensors"
Source = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@dataclass(frozen=True)
class EncodedDataset:
    """What a run wrote.

    Attributes
    ----------
    folder : Path
        Where: ``shard-000000.parquet`` and so on, ``quantizer.safetensors`` and ``shards.json``.
    n_items : int
        Number of rows, all of them.
    n_shards : int
        Number of shards.
    n_resumed : int
        Shards that an earlier run had written.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from h2q.quantization import SignQuantizer
    >>> folder = Path(tempfile.mkdtemp())
    >>> np.save(folder / "a.npy", np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32))
    >>> encode_dataset(folder / "a.npy", SignQuantizer(), folder / "codes").n_items
    50
    """

    folder: Path
    n_items: int
    n_shards: int
    n_resumed: int


def encode_dataset(
    source: Source,
    quantizer: BaseQuantizer,
    output: str | os.PathLike[str],
    *,
    column: str | None = None,
    columns: Sequence[str] | None = None,
    backbone: str | None = None,
    image_size: int | None = None,
    n_processes: int = 1,
    shard_rows: int = 250_000,
    progress: bool = True,
) -> EncodedDataset:
    """Encode embeddings that do not fit in memory, into a folder of Parquet shards.

    A run that was killed goes on where it stopped when it is repeated: each row is in the output exactly once.

    Parameters
    ----------
    source : path, pattern, or sequence of these
        .parquet, .npy or .zarr files, or folders of them, or a folder of images: see `open_collection`.
    quantizer : BaseQuantizer
        A quantizer. One that is not fitted is fitted on a sample that is drawn in a first pass over the collection.
    output : path
        The folder; made if need be.
    column : str, optional
        Name of the column of embeddings in Parquet. Default: the only column of lists of numbers.
    columns : sequence of str, optional
        Columns of Parquet that travel along. Default: all others.
    backbone : str, optional
        `source` is a folder of images, which this network embeds; see `open_collection`.
    image_size : int, optional
        Side in pixels that images are resized to. Default: the network's.
    n_processes : int
        Number of processes that encode.
    shard_rows : int
        Rows of a shard, about; whole row groups of Parquet.
    progress : bool
        Whether to show a bar on a terminal.

    Returns
    -------
    EncodedDataset
        Folder and counts.

    Raises
    ------
    FileExistsError
        If `output` holds a run on other files, with another quantizer or other options.
    FileNotFoundError, FileFormatError, TypeError, ValueError
        If the source is not there, damaged, or no embeddings of the quantizer's width.
    TimeoutError
        If another process is writing to `output`.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from sklearn.datasets import load_digits
    >>> from h2q.encoding import read_shards
    >>> from h2q.quantization import HouseholderQuantizer
    >>> folder = Path(tempfile.mkdtemp())
    >>> np.save(folder / "digits.npy", load_digits().data)
    >>> quantizer = HouseholderQuantizer(32, random_state=0)
    >>> encode_dataset(folder / "digits.npy", quantizer, folder / "codes", shard_rows=1000).n_shards
    2
    >>> [len(items) for items, columns in read_shards(folder / "codes")]
    [1000, 797]
    """
    n_processes = check_integer(n_processes, "n_processes", low=1)
    shard_rows = check_integer(shard_rows, "shard_rows", low=1)
    open_source = partial(
        open_collection, source, column=column, columns=columns, backbone=backbone, image_size=image_size
    )
    collection, folder = open_source(), Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        fitted = _fit_once(quantizer, collection, folder)
        parts = collection.parts(shard_rows)
        plan = {
            "files": collection.identity(),
            "quantizer": fitted.fingerprint(),
            "columns": None if columns is None else list(columns),
            "parts": [asdict(part) for part in parts],
        }
        _agree_on(plan, folder)
        done = _journaled(folder)
        jobs = [(number, part) for number, part in enumerate(parts) if number not in done]
        n_rows = sum(part.n_rows for part in parts)
        n_done = sum(shard.n_rows for shard in done.values())
        with progress_bar("encoding", n_rows, enabled=progress, done=n_done) as advance:
            advance(n_done)
            work = partial(_encode, open_source, folder)
            for shard in _results(work, jobs, n_processes):
                _append(shard, folder)
                done[shard.number] = shard
                advance(shard.n_rows)
        shards = [done[number].as_record() for number in range(len(parts))]
        counts = {"n_items": n_rows, "n_bits": fitted.n_bits_}
        write_checked_json(folder / MANIFEST, {**plan, **counts, "shards": shards})
    return EncodedDataset(folder, n_rows, len(parts), len(parts) - len(jobs))


def _fit_once(quantizer: BaseQuantizer, collection: Collection, folder: Path) -> BaseQuantizer:
    """Return the fitted quantizer, which lies in the folder from then on."""
    path = folder / _QUANTIZER
    try:
        check_is_fitted(quantizer)
    except NotFittedError:
        # A run that goes on takes the quantizer that its beginning fitted.
        if path.exists():
            return load_quantizer(path)
        quantizer = quantizer.fit(collection.embeddings())
    if not path.exists():
        quantizer.save(path)
    return quantizer


def _agree_on(plan: dict[str, Any], folder: Path) -> None:
    """Write the plan, or compare it with the one that is there."""
    path = folder / _PLAN
    if not path.exists():
        write_checked_json(path, plan)
        return
    earlier = read_checked_json(path)
    for key, what in (
        ("files", "other files, or these before they were changed"),
        ("quantizer", "another quantizer"),
        ("columns", "other columns"),
        ("parts", "other sizes of shards"),
    ):
        if json.loads(json.dumps(plan[key])) != earlier.get(key):
            raise FileExistsError(f"{folder} holds a run on {what}; choose another output, or delete the folder")


def _journaled(folder: Path) -> dict[int, Shard]:
    """Return the shards that the journal lists and that are there, whole."""
    path = folder / _JOURNAL
    shards = {}
    for line in path.read_bytes().splitlines(keepends=True) if path.exists() else []:
        try:
            shard = Shard(**decode_json(line, str(path), checked=True))
        except (ValueError, TypeError):  # the last line of a run that was killed
            continue
        file = folder / shard_name(shard.number)
        if file.exists() and file_checksum(file) == shard.checksum:
            shards[shard.number] = shard
    return shards


def _append(shard: Shard, folder: Path) -> None:
    """Add a shard to the journal, durably."""
    line = encode_checked_json(shard.as_record(), "the journal")
    with (folder / _JOURNAL).open("ab") as file:
        # A line that a kill cut off must not swallow this one.
        file.write((b"\n" if file.tell() else b"") + line)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(folder)


def _encode(open_source: Callable[[], Collection], folder: Path, job: tuple[int, Part]) -> Shard:
    """Encode one part; everything that it needs is in files, so that it can run in any process."""
    number, part = job
    return encode_part(open_source(), part, number, load_quantizer(folder / _QUANTIZER), folder)


def _results(work: Callable[[Any], Shard], jobs: list[tuple[int, Part]], n_processes: int) -> Iterator[Shard]:
    """Yield shards as they are done, by this process or by several."""
    if n_processes == 1 or len(jobs) < 2:
        yield from map(work, jobs)
        return
    from concurrent.futures import ProcessPoolExecutor, as_completed
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    with ProcessPoolExecutor(n_processes, get_context("spawn"), initializer=_one_thread) as pool:
        futures = [pool.submit(work, job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise RuntimeError(
                "a process that was encoding died, perhaps for lack of memory; run it again, and it goes on"
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _one_thread() -> None:
    """Let each process use one thread: the processes are the parallelism."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    threadpool_limits(1)


def _locked(folder: Path) -> Any:
    """Hold the folder's lock, or say that another process has it."""
    lock = FileLock(folder / _LOCK, timeout=0)
    try:
        return lock.acquire()
    except Timeout as error:
        raise TimeoutError(f"another process is encoding into {folder}; wait until it is done") from error
