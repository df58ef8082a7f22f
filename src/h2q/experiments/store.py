"""The folder of an experiment: one line of JSON for each finished cell, safe against kills and concurrent runs.

FOLDER/results.jsonl    a line for each cell with its checksum, appended under a lock and synced; a torn last line is
                        cut off
FOLDER/networks/        the embeddings of each stage-one network, which all its quantizers share
FOLDER/queries/         the average precision of each query of each cell, to compare quantizers query by query
FOLDER/locks/           a file for each network in progress and one for the results; the system frees the lock when a
                        process dies
FOLDER/plan.json        the cells of the plan that was run last
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from h2q.errors import FileFormatError
from h2q.experiments.records import Record, StoredPlan
from h2q.files import (
    decode_json,
    encode_checked_json,
    read_checked_json,
    read_tensors,
    sync_folder,
    write_checked_json,
    write_tensors,
)

__all__ = ["ExperimentFolder"]

_QUERY_KIND = "average precision by query"


class ExperimentFolder:
    """Results of an experiment on disk, written by any number of processes.

    Parameters
    ----------
    path : path
        The folder; made by `create`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.results = self.path / "results.jsonl"

    def create(self, plan: StoredPlan) -> None:
        """Make the folder if it is missing, and write the plan.

        Raises
        ------
        FileExistsError
            If the path is a file, or a folder with other content.
        """
        if self.path.exists() and not self.path.is_dir():
            raise FileExistsError(f"{self.path} is a file, not the folder of an experiment; give another one")
        if self.path.is_dir() and any(self.path.iterdir()) and not (self.path / "plan.json").exists():
            raise FileExistsError(f"{self.path} is not empty, and holds no experiment; give a new folder")
        for name in ("networks", "queries", "locks"):
            (self.path / name).mkdir(parents=True, exist_ok=True)
        write_checked_json(self.path / "plan.json", plan.to_json())

    def plan(self) -> StoredPlan:
        """Return the plan that `create` wrote.

        Raises
        ------
        FileNotFoundError
            If the folder holds no experiment.
        FileFormatError
            If the file is damaged.
        """
        path = self.path / "plan.json"
        try:
            document = read_checked_json(path)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{self.path} holds no experiment; start one with: h2q experiment run PLAN --output {self.path}"
            ) from error
        try:
            return StoredPlan.from_json(document)
        except (ValueError, KeyError, TypeError) as error:
            raise FileFormatError(
                f"{path} holds no plan: {error}; run the plan again, finished cells are kept"
            ) from error

    def append(self, record: Record) -> None:
        """Add a line, durably: once this returns, the line survives a power cut.

        A torn last line, left by a process that was killed here, is cut off first.
        """
        line = encode_checked_json(record.to_json(), f"a record of {self.results}", allow_nan=False)
        with self._lock("results").acquire(poll_interval=0.01):
            new = not self.results.exists()
            with self.results.open("a+b", buffering=0) as file:
                _cut_torn_line(file)
                view = memoryview(line)
                while view:
                    view = view[file.write(view) :]
                os.fsync(file.fileno())
        if new:
            sync_folder(self.path)

    def records(self) -> dict[str, Record]:
        """Return the last record of each cell, by key; a torn last line counts as not written.

        Raises
        ------
        FileFormatError
            If another line is no record; names its number.
        """
        try:
            content = self.results.read_bytes()
        except FileNotFoundError:
            return {}
        records = {}
        for number, line in enumerate(content.split(b"\n")[:-1], 1):
            try:
                document = decode_json(line + b"\n", "the record", checked=True)
                records[document["key"]] = Record.from_json(document)
            except (ValueError, KeyError, TypeError) as error:
                raise FileFormatError(
                    f"{self.results}, line {number}, is damaged: {error}; delete that line, and its cell is run again"
                ) from error
        return records

    def finished(self) -> set[str]:
        """Return the keys of the cells that are done; those that failed are not."""
        return {key for key, record in self.records().items() if record.is_done}

    @contextmanager
    def claim(self, key: str) -> Iterator[bool]:
        """Claim the work on a network while the block runs; yields False if another process has it.

        The lock is the system's, which frees it however the process dies.
        """
        lock = self._lock(key)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def _lock(self, name: str) -> FileLock:
        return FileLock(self.path / "locks" / name, mode=0o666)

    def write_query_scores(self, key: str, scores: Mapping[str, NDArray[np.float32]]) -> None:
        """Write the average precision of each query of a cell, by tie policy."""
        write_tensors(self._query_file(key), _QUERY_KIND, dict(scores), {})

    def query_scores(self, key: str) -> Mapping[str, NDArray[np.float32]]:
        """Return what `write_query_scores` wrote; empty for a cell of a version that did not write it."""
        try:
            return read_tensors(self._query_file(key), _QUERY_KIND).tensors
        except FileNotFoundError:
            return {}

    def _query_file(self, key: str) -> Path:
        return self.path / "queries" / f"{key}.safetensors"

    def network_file(self, key: str) -> Path:
        """Return the path of a network's embeddings."""
        return self.path / "networks" / f"{key}.safetensors"


def _cut_torn_line(file: FileIO) -> None:
    """Truncate an open, locked file to its last whole line."""
    size = file.seek(0, os.SEEK_END)
    end = size
    while end:
        start = max(0, end - 65_536)
        file.seek(start)
        position = file.read(end - start).rfind(b"\n")
        if position >= 0:
            end = start + position + 1
            break
        end = start
    if end < size:
        file.truncate(end)
