"""The folder of an experiment: one line of JSON per finished cell, safe against kills and against each other.

FOLDER/results.jsonl    a line per cell, appended under a lock and synced; a torn last line is cut off
FOLDER/networks/        the embeddings of each stage-one network, which all its quantizers share
FOLDER/locks/           one file per network that is being worked on; the system frees them when a process dies
FOLDER/plan.json        the cells of the plan that was run last
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from h2q.errors import FileFormatError
from h2q.files import read_json, sync_folder, write_json

__all__ = ["ExperimentFolder"]


class ExperimentFolder:
    """Results of an experiment on disk, written by any number of processes.

    Parameters
    ----------
    path : path
        The folder; made by `create`.

    Examples
    --------
    >>> import tempfile
    >>> folder = ExperimentFolder(tempfile.mkdtemp())
    >>> folder.append({"key": "a", "status": "done"})
    >>> folder.records()["a"]["status"]
    'done'
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.results = self.path / "results.jsonl"

    def create(self, plan: Mapping[str, Any]) -> None:
        """Make the folder where it is missing, and note the plan.

        Raises
        ------
        FileExistsError
            If there is something else at the path.
        """
        if self.path.exists() and not self.path.is_dir():
            raise FileExistsError(f"{self.path} is a file, not the folder of an experiment; give another one")
        if self.path.is_dir() and any(self.path.iterdir()) and not (self.path / "plan.json").exists():
            raise FileExistsError(f"{self.path} is not empty, and holds no experiment; give a folder of its own")
        for name in ("networks", "locks"):
            (self.path / name).mkdir(parents=True, exist_ok=True)
        write_json(self.path / "plan.json", plan)

    def plan(self) -> dict[str, Any]:
        """Return what `create` noted.

        Raises
        ------
        FileNotFoundError
            If the folder holds no experiment.
        """
        try:
            plan: dict[str, Any] = read_json(self.path / "plan.json")
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"{self.path} holds no experiment; start one with: h2q experiment run PLAN --output {self.path}"
            ) from error
        return plan

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a line, durably: once this returns, the line outlives a power cut.

        A torn last line, which a process that was killed in here left, is cut off first.
        """
        line = json.dumps(record, allow_nan=False).encode() + b"\n"
        new = not self.results.exists()
        descriptor = os.open(self.results, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            _cut_torn_line(descriptor)
            view = memoryview(line)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if new:
            sync_folder(self.path)

    def records(self) -> dict[str, dict[str, Any]]:
        """Return the last record of each key; a torn last line counts as not written.

        Raises
        ------
        FileFormatError
            If another line does not parse; names its number.
        """
        try:
            content = self.results.read_bytes()
        except FileNotFoundError:
            return {}
        found = {}
        for number, line in enumerate(content.split(b"\n")[:-1], 1):
            try:
                record = json.loads(line)
                found[record["key"]] = record
            except (ValueError, KeyError, TypeError) as error:
                raise FileFormatError(
                    f"{self.results}, line {number}, is damaged: {error}; delete that line, and its cell is run again"
                ) from error
        return found

    def finished(self) -> set[str]:
        """Return the keys of the cells that are done; failed ones are not."""
        return {key for key, record in self.records().items() if record["status"] == "done"}

    @contextmanager
    def claim(self, key: str) -> Iterator[bool]:
        """Claim the work on a network while the block runs; gives False where another process has it.

        The lock is the system's (flock): a process that dies, however it dies, frees it.
        """
        descriptor = os.open(self.path / "locks" / key, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)

    def network_file(self, key: str) -> Path:
        """Return where the embeddings of a network are, or will be."""
        return self.path / "networks" / f"{key}.safetensors"


def _cut_torn_line(descriptor: int) -> None:
    """Truncate a file, open at `descriptor` and locked, to its last whole line."""
    size = os.fstat(descriptor).st_size
    end = size
    while end:
        start = max(0, end - 65_536)
        position = os.pread(descriptor, end - start, start).rfind(b"\n")
        if position >= 0:
            end = start + position + 1
            break
        end = start
    if end < size:
        os.ftruncate(descriptor, end)
