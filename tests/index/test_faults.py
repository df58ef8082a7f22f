"""What a folder promises: nothing acknowledged is lost or doubled, and no damaged byte is ever answered from."""

import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from h2q.errors import FileFormatError
from h2q.files.json_files import read_checked_json, write_checked_json
from h2q.index import BinaryIndex, check_index
from h2q.index.folder import IndexFolder
from h2q.quantization import HouseholderQuantizer

DIGITS = load_digits().data.astype(np.float32)
QUANTIZER = HouseholderQuantizer(20, random_state=0).fit(DIGITS)
OWN_NAMES = r"manifest\.json|manifest\.backup\.json|\.lock|(segment|removed|quantizer)-[0-9a-f]{16}\.safetensors"


def code_of(item: int) -> np.ndarray:
    """Return the code that the item with this id has in these tests."""
    return np.frombuffer(np.int64(item * 2654435761 % 2**61).tobytes(), np.uint8)


def turns(number: int) -> Iterator[int]:
    """Count turns: this many, and on for as long as the environment variable H2Q_STRESS_SECONDS says."""
    end = time.monotonic() + float(os.environ.get("H2Q_STRESS_SECONDS", "0"))
    for turn in itertools.count():
        if turn >= number and time.monotonic() > end:
            return
        yield turn


def codes_of(ids: Any) -> np.ndarray:
    return np.stack([code_of(int(item)) for item in ids])


def assert_holds(folder: Path, expected: set[int]) -> None:
    """Check ids, codes and files, and that nothing else is in the folder."""
    index = BinaryIndex.open(folder)
    assert set(index.ids.tolist()) == expected
    assert len(index) == len(expected)
    if expected:
        ids = sorted(expected)
        np.testing.assert_array_equal(index.codes(ids), codes_of(ids))
    assert check_index(folder).damages == ()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    index = BinaryIndex(64)
    index.add(codes_of(range(50)), ids=range(50))
    index.save(tmp_path / "index")
    return tmp_path / "index"


def add_remove_save(acknowledge: Any, folder: Path) -> None:
    """Add ten items and remove one, again and again; acknowledge each save with the ids added and the one removed."""
    index = BinaryIndex.open(folder)
    acknowledge("begun")
    while True:
        first = max(index.ids) + 1
        new = np.arange(first, first + 10)
        index.add(codes_of(new), new)
        gone = int(index.ids[0])
        index.remove([gone])
        if first % 7 == 0:
            index.compact()
        index.save()
        acknowledge((new.tolist(), gone))


@pytest.mark.parametrize("with_signal", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_process_loses_nothing_that_it_acknowledged(
    folder: Path, kill: Any, times: Any, with_signal: int
) -> None:
    generator = np.random.default_rng(with_signal)
    for _ in range(times(13 if with_signal == signal.SIGKILL else 4)):
        before = set(BinaryIndex.open(folder).ids.tolist())
        _, *acknowledged = kill(add_remove_save, folder, after=generator.uniform(0, 0.08), with_signal=with_signal)
        for new, gone in acknowledged:
            before = before.difference([gone]).union(new)
        after = set(BinaryIndex.open(folder).ids.tolist())
        # One more save may have been committed before it could be acknowledged.
        first = max(before) + 1
        assert after in (before, before.difference([min(before)]).union(range(first, first + 10)))
        assert_holds(folder, after)
    index = BinaryIndex.open(folder)
    index.compact()
    index.save()
    assert {file.name.split("-")[0] for file in folder.iterdir()} <= {
        "manifest.json", "manifest.backup.json", ".lock", "segment", "removed"
    }  # fmt: skip
    assert {file.name for file in folder.iterdir() if "-" in file.name} == set(files_of(folder))


def files_of(folder: Path) -> list[str]:
    manifest = json.loads((folder / "manifest.json").read_text())
    parts = [*manifest["segments"], manifest["removed"], manifest["quantizer"]]
    return [part["file"] for part in parts if part is not None]


# Python itself leaves a file to the garbage collector where the interrupt comes between opening and entering a block.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_an_interrupted_save_can_be_repeated(folder: Path, interrupt: Any, times: Any) -> None:
    generator = np.random.default_rng(0)
    index, expected, interrupted = BinaryIndex.open(folder), set(range(50)), 0
    for turn in range(times(75)):
        new = range(1000 + 3 * turn, 1003 + 3 * turn)
        index.add(codes_of(new), ids=new)
        index.remove([min(expected)])
        expected = expected.difference([min(expected)]).union(new)
        if turn % 29 == 0:
            index.compact()
        try:
            with interrupt(generator.uniform(1e-4, 8e-3)):
                index.save()
        except KeyboardInterrupt:
            interrupted += 1
            if turn % 3:
                index.save()
                assert set(BinaryIndex.open(folder).ids.tolist()) == expected
    index.save()
    assert interrupted > times(75) // 6
    assert_holds(folder, expected)


def test_a_save_interrupted_after_its_commit_is_known_by_the_next(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = BinaryIndex.open(folder)

    def interrupted(*arguments: Any) -> None:
        raise KeyboardInterrupt

    for turn, method in enumerate(("write_backup", "holds_generation", "write_parts", "commit")):
        index.add(codes_of([70 + turn]), ids=[70 + turn])
        with monkeypatch.context() as patch:
            patch.setattr(IndexFolder, method, interrupted)
            with pytest.raises(KeyboardInterrupt):
                index.save()
    other = BinaryIndex.open(folder)
    other.add(codes_of([80]), ids=[80])
    other.save()
    index.add(codes_of([90]), ids=[90])
    index.save()
    assert_holds(folder, {*range(50), 70, 71, 72, 73, 80, 90})


def test_the_users_files_are_never_touched(folder: Path) -> None:
    own = {
        "segment-analysis.csv", "quantizer-notes.md", "manifest.json.bak", "removed-0123.safetensors", ".tmpAbC123",
        "segment-0123456789abcdef.safetensors.gz", ".segment-notes.tmp", "xsegment-0123456789abcdef.safetensors",
    }  # fmt: skip
    for name in own:
        (folder / name).write_text("mine")
    (folder / "segment-old").mkdir()
    (folder / "segment-0123456789abcdef.safetensors").mkdir()
    index = BinaryIndex.open(folder)
    for turn in range(3):
        index.add(codes_of([100 + turn]), ids=[100 + turn])
        index.compact()
        index.save()
    assert {name for name in own if (folder / name).read_text() == "mine"} == own
    assert (folder / "segment-old").is_dir()
    BinaryIndex(64).save(folder)
    assert len(BinaryIndex.open(folder)) == 0
    assert {name for name in own if (folder / name).exists()} == own


def test_what_a_killed_save_left_is_deleted_first(folder: Path) -> None:
    left = folder / "segment-00112233445566aa.safetensors"
    temporary = folder / ".segment-00112233445566aa.safetensors.h2q-00112233445566aa.tmp"
    left.write_bytes(b"half")
    temporary.write_bytes(b"half")
    index = BinaryIndex.open(folder)
    with index.locked():
        assert not left.exists()
        index.save()
    assert not temporary.exists()
    assert_holds(folder, set(range(50)))


def test_an_unchanged_index_is_not_written(folder: Path) -> None:
    def content() -> dict[str, tuple[int, int]]:
        files = [folder, *folder.iterdir()]
        return {file.name: (file.stat().st_mtime_ns, file.stat().st_ino) for file in files}

    before = content()
    with BinaryIndex.open(folder) as index:
        index.search(codes_of([1]))
        index.refresh()
        index.save()
    assert content() == before
    other = BinaryIndex.open(folder)
    with BinaryIndex.open(folder) as index:
        index.add(codes_of([60]), ids=[60])
    changed = content()
    assert changed != before
    other.refresh()
    other.save()
    assert content() == changed
    assert_holds(folder, {*range(50), 60})


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_an_index_in_a_read_only_folder_is_opened_and_closed(folder: Path) -> None:
    (folder / ".lock").unlink()
    code = (
        "import os, sys\n"
        "from h2q import BinaryIndex\n"
        "BinaryIndex.open(sys.argv[1])\n"  # imports, which another user might not be allowed
        "if os.getuid() == 0: os.setuid(65534)\n"
        "with BinaryIndex.open(sys.argv[1]) as index:\n"
        "    print(len(index))\n"
        "index = BinaryIndex.open(sys.argv[1])\n"
        "index.remove([3])\n"
        "try:\n"
        "    index.save()\n"
        "except PermissionError:\n"
        "    print('refused')\n"
    )
    below = Path(tempfile.gettempdir()).resolve()
    for path in (folder, *(parent for parent in folder.parents if below in parent.parents)):
        path.chmod(0o555 if path == folder else 0o755)
    try:
        done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=False)
    finally:
        folder.chmod(0o755)
    assert (done.stdout.split(), done.stderr) == (["50", "refused"], "")


@pytest.fixture
def full_folder(tmp_path: Path) -> Path:
    """An index with every kind of file."""
    index = BinaryIndex(quantizer=QUANTIZER, keep_embeddings=True)
    index.add(DIGITS[:100])
    index.save(tmp_path / "full")
    index.add(DIGITS[100:160])
    index.remove([5, 120])
    index.save()
    return tmp_path / "full"


def answers(folder: Path) -> list[Any]:
    """Return all that an index can answer."""
    index = BinaryIndex.open(folder)
    results = [
        index.search(DIGITS[:5], 20),
        index.search(DIGITS[:5], 20, scoring="hamming"),
        index.search(DIGITS[:5], 20, rerank=158),
        index.search_radius(DIGITS[:5], 4),
    ]
    arrays = [array for result in results for array in (result.ids, result.distances)]
    return [len(index), index.ids, index.codes(index.ids), index.add(DIGITS[:1]), *arrays]


@pytest.mark.parametrize("kind", ["manifest.json", "manifest.backup.json", "segment", "removed", "quantizer"])
def test_a_flipped_bit_is_found_and_its_file_named(full_folder: Path, flip: Any, times: Any, kind: str) -> None:
    generator = np.random.default_rng(0)
    truth = answers(full_folder)
    files = sorted(file for file in full_folder.iterdir() if file.name.startswith(kind))
    for turn in range(times(50)):
        file = files[turn % len(files)]
        with flip(file, generator) as bit:
            try:
                for array, expected in zip(answers(full_folder), truth, strict=True):
                    np.testing.assert_array_equal(array, expected)
                assert kind == "manifest.backup.json", f"bit {bit} of {file} was not found"
            except FileFormatError as error:
                assert file.name in str(error), bit  # noqa: PT017
            damages = check_index(full_folder).damages
            assert {damage.file for damage in damages} == {file.name}, bit
    assert check_index(full_folder).damages == ()


def test_a_repair_never_issues_an_id_twice(full_folder: Path) -> None:
    path = full_folder / "manifest.json"
    write_checked_json(path, read_checked_json(path) | {"next_id": 7})
    with pytest.raises(FileFormatError, match="the next id is 7, and its files hold higher ids; mend it: h2q check"):
        BinaryIndex.open(full_folder)
    result = check_index(full_folder, repair=True)
    assert "the next id is 7, and the files hold ids up to 159" in result.damages[0].what
    assert result.lost_items == 0
    assert BinaryIndex.open(full_folder).add(DIGITS[:1]).tolist() == [160]


@pytest.mark.parametrize("kind", ["manifest.json", "manifest.backup.json", "segment", "removed", "quantizer"])
def test_a_repair_saves_what_is_whole(full_folder: Path, flip: Any, kind: str) -> None:
    file = min(file for file in full_folder.iterdir() if file.name.startswith(kind))
    with flip(file, np.random.default_rng(1)):
        pass
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    before = check_index(full_folder)
    after = check_index(full_folder, repair=True)
    assert after.repaired
    assert after.lost_items == before.lost_items
    assert check_index(full_folder).damages == ()
    index = BinaryIndex.open(full_folder)
    assert len(index) == before.items
    if kind == "quantizer":
        assert index.quantizer is None
        assert len(index) == 158
        np.testing.assert_array_equal(index.search(QUANTIZER.encode(DIGITS[:3]), 1).distances, 0)
    elif kind == "removed":
        assert len(index) == 160
        assert "2 removed item(s) come back" in before.damages[0].what
    elif kind == "segment":
        assert 0 < before.lost_items < 158
        assert len(index) == 158 - before.lost_items
    else:
        assert len(index) == 158
    if kind != "quantizer":
        np.testing.assert_array_equal(index.codes(index.ids), QUANTIZER.encode(DIGITS[index.ids]))
        index.add(DIGITS[160:])
        index.compact()
    index.save()
    assert (full_folder / f"{file.name}.damaged").read_bytes() == bytes(content)


def test_of_a_large_segment_only_the_damaged_rows_are_lost(tmp_path: Path) -> None:
    index = BinaryIndex(64)
    index.add(codes_of(range(40_000)))
    index.save(tmp_path)
    file = tmp_path / files_of(tmp_path)[0]
    content = bytearray(file.read_bytes())
    content[-40_000] ^= 8
    file.write_bytes(content)
    opened = BinaryIndex.open(tmp_path)
    with pytest.raises(FileFormatError, match=f"{file.name} is damaged: its column (codes|ids) does not match"):
        opened.search(codes_of([0]))
    with pytest.raises(FileFormatError):
        opened.compact()
    assert check_index(tmp_path, repair=True).lost_items == 40_000 - 4 * 8192
    assert_holds(tmp_path, set(BinaryIndex.open(tmp_path).ids.tolist()))


def test_another_quantizer_of_the_same_shape_is_noticed(full_folder: Path) -> None:
    file = next(full_folder.glob("quantizer-*"))
    HouseholderQuantizer(20, random_state=1).fit(DIGITS).save(file)
    with pytest.raises(FileFormatError, match=f"{file.name} is damaged, or not the file that manifest.json names"):
        BinaryIndex.open(full_folder)


def test_threads_add_remove_save_and_search_at_once(folder: Path) -> None:
    index, errors, stop = BinaryIndex.open(folder), [], threading.Event()
    kept: list[list[int]] = [[] for _ in range(4)]

    def guarded(work: Any, *arguments: Any) -> None:
        try:
            work(*arguments)
        except BaseException as error:
            errors.append(error)
            stop.set()

    def change(number: int) -> None:
        for turn in turns(60):
            new = [10_000_000 * (number + 1) + 3 * turn + i for i in range(3)]
            index.add(codes_of(new), ids=new)
            index.remove(new[:1])
            kept[number] += new[1:]
            if stop.is_set():
                return

    def save() -> None:
        while not stop.is_set():
            index.save()
            index.compact()

    def search() -> None:
        known, size = codes_of(range(50)), 0
        while not stop.is_set():
            np.testing.assert_array_equal(index.search(known, 1).ids[:, 0], np.arange(50))
            every = index.search(known[:1], 10**6)
            np.testing.assert_array_equal(index.search_radius(known, 0).ids, np.arange(50))
            # The answer is of one moment: no id twice, each with the distance of its code.
            ids = every.ids[0]
            assert len(np.unique(ids)) == len(ids) >= size // 2
            bits = np.unpackbits(codes_of(ids) ^ known[0], axis=1).sum(axis=1)
            np.testing.assert_array_equal(every.distances[0], bits)
            size = len(ids)

    adders = [threading.Thread(target=guarded, args=(change, number)) for number in range(4)]
    others = [threading.Thread(target=guarded, args=(work,)) for work in (save, save, search, search)]
    for thread in adders + others:
        thread.start()
    for thread in adders:
        thread.join()
    stop.set()
    for thread in others:
        thread.join()
    assert errors == []
    index.save()
    assert_holds(folder, set(range(50)).union(*kept))


CLASHES = {
    "another item under the same id, though of the same code": lambda index: index.add(codes_of([61]), ids=[61]),
    "ids that both indexes chose": lambda index: index.add(codes_of([1, 2])),
    "an item removed that was replaced": lambda index: index.remove([8]),
    "an item replaced twice": lambda index: index.upsert(codes_of([3]), ids=[8]),
    "an item added under an id that was replaced": lambda index: index.upsert(codes_of([5, 6]), ids=[8, 90]),
}


@pytest.mark.parametrize("change", CLASHES.values(), ids=CLASHES)
def test_changes_that_clash_with_those_of_another_process_are_refused(folder: Path, change: Any) -> None:
    mine, other = BinaryIndex.open(folder), BinaryIndex.open(folder)
    other.add(codes_of([50, 61]), ids=[50, 61])
    other.remove([7])
    other.upsert(codes_of([8 + 1000]), ids=[8])
    other.save()
    change(mine)
    held = mine.ids
    for attempt in (mine.save, mine.refresh):
        with pytest.raises(FileExistsError, match=r"were changed here, too \(ids (61|50|8)[,)]"):
            attempt()
    np.testing.assert_array_equal(mine.ids, held)
    np.testing.assert_array_equal(BinaryIndex.open(folder).ids, other.ids)


def test_changes_of_other_items_are_merged(folder: Path) -> None:
    mine, other = BinaryIndex.open(folder), BinaryIndex.open(folder)
    other.add(codes_of([60]), ids=[60])
    other.remove([7, 9])
    other.compact()
    other.save()
    mine.remove([7, 11])
    mine.add(codes_of([61]), ids=[61])
    mine.compact()
    mine.refresh()
    expected = set(range(50)).difference([7, 9, 11]).union([60, 61])
    assert set(mine.ids.tolist()) == expected
    mine.save()
    assert_holds(folder, expected)
    with other.locked():
        assert other.add(codes_of([62])).tolist() == [62]
        other.save()
    assert_holds(folder, expected | {62})
    BinaryIndex(64).save(folder)
    mine.add(codes_of([63]), ids=[63])
    with pytest.raises(FileExistsError, match="another index was saved to"):
        mine.save()


def append_batches(acknowledge: Any, folder: Path, number: int) -> None:
    """Add items under ids of its own, remove some, save; then add items under ids that the index chooses."""
    index = BinaryIndex.open(folder)
    acknowledge("begun")
    mine: set[int] = set()
    for turn in turns(12):
        new = [10_000_000 * (number + 1) + 3 * turn + i for i in range(3)]
        index.add(codes_of(new), ids=new)
        index.remove(new[:1])
        mine.update(new[1:])
        index.save()
    acknowledge(mine)


def test_processes_that_save_at_once_merge_their_changes(folder: Path) -> None:
    import multiprocessing

    context = multiprocessing.get_context("fork")
    pipes = [context.Pipe(duplex=False) for _ in range(3)]
    children = [
        context.Process(target=append_batches, args=(sender.send, folder, number))
        for number, (_, sender) in enumerate(pipes)
    ]
    for child in children:
        child.start()
    expected = set(range(50))
    for receiver, _ in pipes:
        receiver.recv()
        expected |= receiver.recv()
    for child in children:
        child.join()
    assert_holds(folder, expected)
