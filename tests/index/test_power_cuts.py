"""Power cuts: whatever the disk had not been told to keep is lost, at every moment of a save."""

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from h2q.index import BinaryIndex


@dataclass
class Disk:
    """What survives a power cut: contents that were synced, and names once their folder was synced.

    Names that changed since the folder was last synced may or may not have reached the disk, each on its own.
    """

    folder: Path
    durable: dict[str, bytes] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    pending: list[tuple[Any, ...]] = field(default_factory=list)

    def sync(self, descriptor: int) -> bool:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if path == self.folder:
            self.durable = self.apply(self.pending)
            self.pending = []
        elif path.parent == self.folder:
            self.contents[path.name] = path.read_bytes()
        return self.folder in (path, path.parent)

    def rename(self, source: Any, target: Any) -> bool:
        if Path(target).parent == self.folder:
            content = self.contents.pop(Path(source).name, b"")  # not synced: the blocks never reached the disk
            self.pending.append(("rename", Path(target).name, content))
        return Path(target).parent == self.folder

    def unlink(self, path: Any) -> bool:
        if Path(path).parent == self.folder:
            self.pending.append(("unlink", Path(path).name))
        return Path(path).parent == self.folder

    def apply(self, operations: Any) -> dict[str, bytes]:
        names = dict(self.durable)
        for operation, name, *content in operations:
            if operation == "rename":
                names[name] = content[0]
            else:
                names.pop(name, None)
        return names

    def after_a_cut(self) -> Iterator[dict[str, bytes]]:
        """Give every state that the folder may be in after a power cut now."""
        subsets = itertools.product((True, False), repeat=len(self.pending))
        for chosen in itertools.islice(subsets, 64):
            yield self.apply(itertools.compress(self.pending, chosen))


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    @contextmanager
    def recording(folder: Path, at_each_step: Any) -> Iterator[Disk]:
        state = Disk(folder, {file.name: file.read_bytes() for file in folder.iterdir()})
        fsync, replace, unlink = os.fsync, os.replace, os.unlink

        def then(record: Any, real: Any) -> Any:
            def call(*arguments: Any, **options: Any) -> Any:
                result = real(*arguments, **options)
                if record(*arguments):
                    at_each_step(state)
                return result

            return call

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", then(state.sync, fsync))
            patch.setattr(os, "replace", then(state.rename, replace))
            patch.setattr(os, "unlink", then(state.unlink, unlink))
            yield state

    return recording


def test_a_power_cut_at_any_moment_of_a_save_leaves_a_whole_index(tmp_path: Path, disk: Any) -> None:
    folder, copy, generator = tmp_path / "index", tmp_path / "copy", np.random.default_rng(0)
    index = BinaryIndex(64)
    index.add(generator.integers(0, 256, (20, 8), dtype=np.uint8))
    index.save(folder)
    codes = {item: index.codes([item]) for item in index.ids.tolist()}
    acknowledged, saving, seen = set(codes), set(codes), set()

    def open_after_a_cut(state: Disk) -> None:
        for files in state.after_a_cut():
            copy.mkdir(exist_ok=True)
            for file in copy.iterdir():
                file.unlink()
            for name, content in files.items():
                (copy / name).write_bytes(content)
            opened = BinaryIndex.open(copy)
            ids = set(opened.ids.tolist())
            assert ids in (acknowledged, saving)
            seen.add(ids == saving)
            for item in ids:
                np.testing.assert_array_equal(opened.codes([item]), codes[item])

    with disk(folder, open_after_a_cut) as state:
        for turn in range(6):
            new = generator.integers(0, 256, (5, 8), dtype=np.uint8)
            codes |= dict(zip(index.add(new).tolist(), new[:, None], strict=True))
            index.remove(index.ids[:2])
            if turn % 3 == 2:
                index.compact()
            saving = set(index.ids.tolist())
            index.save()
            acknowledged = saving
            open_after_a_cut(state)
    assert seen == {True, False}
