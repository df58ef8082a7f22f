"""The index on disk: appended to, not rewritten; whole after a kill, a full disk, or another process's save."""

import json
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from h2q.errors import FileFormatError
from h2q.files import read_checked_json, write_checked_json
from h2q.index import BinaryIndex, open_index
from h2q.quantization import HouseholderQuantizer

GENERATOR = np.random.default_rng(0)
CODES = GENERATOR.integers(0, 256, (5000, 8), dtype=np.uint8)


def files_of(folder: Path) -> dict[str, tuple[int, int]]:
    return {f.name: (f.stat().st_ino, f.stat().st_mtime_ns) for f in folder.iterdir() if f.name.startswith("segment")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    index = BinaryIndex(64)
    index.add(CODES)
    index.save(tmp_path / "index")
    return tmp_path / "index"


def test_appending_writes_the_new_items_alone(folder: Path) -> None:
    before = files_of(folder)
    index = BinaryIndex.open(folder)
    index.add(CODES[:10])
    index.remove([3, 5003])
    index.save(folder)
    after = files_of(folder)
    assert {name: after[name] for name in before} == before
    (new,) = after.keys() - before.keys()
    assert (folder / new).stat().st_size < 1500
    assert len(BinaryIndex.open(folder)) == 5008
    assert 3 not in BinaryIndex.open(folder)


def test_opened_arrays_are_mapped(folder: Path) -> None:
    index = BinaryIndex.open(folder)
    assert isinstance(index._state.segments[0].codes, np.memmap)
    np.testing.assert_array_equal(index.search(CODES[:9], 1).distances, 0)


def test_quantizer_options_and_embeddings_come_back(tmp_path: Path) -> None:
    digits = load_digits().data.astype(np.float32)
    quantizer = HouseholderQuantizer(16, random_state=0).fit(digits)
    index = BinaryIndex(quantizer=quantizer, keep_embeddings=True, metric="euclidean")
    index.add(digits)
    index.save(tmp_path / "a")
    opened = BinaryIndex.open(tmp_path / "a")
    np.testing.assert_array_equal(opened.search(digits, 3, rerank=20).ids, index.search(digits, 3, rerank=20).ids)
    opened.add(digits[:3])
    opened.save(tmp_path / "a")
    opened.save(tmp_path / "b")
    assert len(BinaryIndex.open(tmp_path / "b")) == 1800


def test_a_block_saves_at_its_end_unless_it_raises(folder: Path) -> None:
    with open_index(folder) as index:
        index.add(CODES[:3])
        index.remove([0])
    with pytest.raises(ValueError, match="not in the index"), open_index(folder) as index:  # noqa: PT012
        index.add(CODES[:3])
        index.remove([0])
    assert len(BinaryIndex.open(folder)) == 5002


def test_compaction_leaves_one_segment(folder: Path) -> None:
    index = BinaryIndex.open(folder)
    index.remove(np.arange(4000))
    index.add(CODES[:50])
    index.save(folder)
    index.compact()
    index.save(folder)
    assert len(files_of(folder)) == 1
    assert not list(folder.glob("removed-*"))
    np.testing.assert_array_equal(BinaryIndex.open(folder).ids, [*range(4000, 5050)])


def test_an_index_serves_from_files_that_another_save_deleted(folder: Path) -> None:
    mine, other = BinaryIndex.open(folder), BinaryIndex.open(folder)
    other.add(CODES[:7])
    other.compact()
    other.save(folder)
    np.testing.assert_array_equal(mine.search(CODES[:9], 1).distances, 0)


def test_two_processes_do_not_save_at_once(folder: Path) -> None:
    code = (
        "import fcntl, os, sys, time\n"
        f"fd = os.open({str(folder / '.lock')!r}, os.O_RDWR)\n"
        "fcntl.flock(fd, fcntl.LOCK_EX)\nprint('held', flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        index = BinaryIndex.open(folder)
        index.add(CODES[:1])
        with pytest.raises(TimeoutError, match=r"another process has been saving to .* for 0.1 seconds"):
            index.save(folder, timeout=0.1)
        threading.Timer(0.3, child.kill).start()
        index.save(folder, timeout=30)
    assert len(BinaryIndex.open(folder)) == 5001


def _append_for_ever(folder: Path, saved: Any) -> None:
    index = BinaryIndex.open(folder)
    while True:
        index.add(CODES)
        if len(index) > 60_000:
            index.compact()
        index.save(folder)
        saved.release()


def test_a_save_killed_at_any_moment_leaves_a_whole_index(folder: Path) -> None:
    context = multiprocessing.get_context("fork")
    sizes = set()
    for attempt in range(25):
        saved = context.Semaphore(0)
        child = context.Process(target=_append_for_ever, args=(folder, saved))
        child.start()
        saved.acquire()
        time.sleep(0.013 * attempt % 0.11)
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        index = BinaryIndex.open(folder)
        assert len(index) % 5000 == 0
        assert len(index) >= 5000
        np.testing.assert_array_equal(index.search(CODES[:3], 1).distances, 0)
        sizes.add(len(index))
    assert len(sizes) == 25
    index.save(folder)
    named = json.loads((folder / "manifest.json").read_text())
    kept = {f.name for f in folder.iterdir()} - {"manifest.json", "manifest.backup.json", ".lock"}
    assert kept == {segment["file"] for segment in named["segments"]}


_SAVE_WITH_LITTLE_ROOM = """
import json, os, resource, signal, sys
import numpy as np
from h2q.index import BinaryIndex
folder, added, removed, limit = sys.argv[1], *map(int, sys.argv[2:])
index = BinaryIndex.open(folder)
index.add(np.zeros((added, 8), np.uint8))
index.remove(np.arange(removed))
before = {name: os.stat(f"{folder}/{name}").st_mtime_ns for name in os.listdir(folder)}
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
try:
    index.save(folder)
except Exception as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
after = {name: os.stat(f"{folder}/{name}").st_mtime_ns for name in os.listdir(folder)}
changed = [name for name in before if after.get(name) != before[name]]
print(json.dumps([len(BinaryIndex.open(folder)), changed, [name for name in after if "tmp" in name]]))
index.save(folder)
"""


@pytest.mark.parametrize(
    ("added", "removed", "limit"),
    [
        pytest.param(50_000, 0, 100_000, id="the segment does not fit"),
        pytest.param(0, 4000, 20_000, id="the list of removed items does not fit"),
        pytest.param(0, 0, 300, id="the manifest does not fit"),
    ],
)
def test_a_full_disk_leaves_the_old_index_until_there_is_room(
    folder: Path, added: int, removed: int, limit: int
) -> None:
    arguments = [folder, str(added), str(removed), str(limit)]
    child = subprocess.run(
        [sys.executable, "-c", _SAVE_WITH_LITTLE_ROOM, *arguments], capture_output=True, text=True, check=True
    )
    error, output = child.stdout.splitlines()
    assert "File too large" in error
    assert json.loads(output) == [5000, [], []]
    assert len(BinaryIndex.open(folder)) == 5000 + added - removed


_SAVE_ON_A_FULL_FILE_SYSTEM = """
import sys
import numpy as np
from h2q.index import BinaryIndex
index = BinaryIndex(64)
index.add(np.zeros((5000, 8), np.uint8))
index.save(sys.argv[1])
index.add(np.zeros((50_000, 8), np.uint8))
try:
    index.save(sys.argv[1])
except Exception as error:
    print(error)
print(len(BinaryIndex.open(sys.argv[1])))
"""


def test_a_full_file_system_leaves_the_old_index(tmp_path: Path) -> None:
    mount = f"mount -t tmpfs -o size=300k none {tmp_path}"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    script = f'{mount} && exec "$0" -c "$1" {tmp_path}/index'
    command = ["unshare", "-rm", "sh", "-c", script, sys.executable, _SAVE_ON_A_FULL_FILE_SYSTEM]
    child = subprocess.run(command, capture_output=True, text=True, check=True)
    error, items = child.stdout.splitlines()
    assert "No space left on device" in error
    assert items == "5000"


def test_a_folder_deleted_since_is_written_again(folder: Path) -> None:
    index = BinaryIndex.open(folder)
    index.remove([7])
    shutil.rmtree(folder)
    index.save(folder)
    opened = BinaryIndex.open(folder)
    assert len(opened) == 4999
    np.testing.assert_array_equal(opened.codes([3, 4999]), CODES[[3, 4999]])


def test_what_a_killed_first_save_leaves_is_no_obstacle(folder: Path, tmp_path: Path) -> None:
    left = tmp_path / "left"
    left.mkdir()
    digits = "0123456789abcdef"
    for name in (".lock", f"segment-{digits}.safetensors", f".segment-{digits}.safetensors.h2q-{digits}.tmp"):
        (left / name).write_bytes(b"half")
    with pytest.raises(FileFormatError, match=r"holds no manifest\.json"):
        BinaryIndex.open(left)
    BinaryIndex.open(folder).save(left)
    assert len(BinaryIndex.open(left)) == 5000
    assert len(list(left.iterdir())) == 4


def test_foreign_folders_are_neither_opened_nor_overwritten(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    with pytest.raises(FileFormatError, match=r"not an index of h2q: it holds no manifest\.json"):
        BinaryIndex.open(tmp_path / "photos")
    with pytest.raises(FileExistsError, match="holds other files"):
        BinaryIndex.open(folder).save(tmp_path / "photos")
    with pytest.raises(FileExistsError, match="is a file"):
        BinaryIndex.open(folder).save(tmp_path / "photos" / "cat.jpg")
    assert (tmp_path / "photos" / "cat.jpg").read_bytes() == b"cat"


def test_damaged_folders_say_what_is_wrong(folder: Path) -> None:
    manifest_file = folder / "manifest.json"
    good = manifest_file.read_bytes()
    manifest = read_checked_json(manifest_file)
    segment = folder / manifest["segments"][0]["file"]
    whole = segment.read_bytes()

    segment.write_bytes(whole[:-100])
    with pytest.raises(FileFormatError, match="truncated"):
        BinaryIndex.open(folder)
    segment.write_bytes(b"not a tensor file")
    with pytest.raises(FileFormatError, match="no safetensors file"):
        BinaryIndex.open(folder)
    segment.unlink()
    with pytest.raises(FileFormatError, match=f"damaged: {segment.name} is missing"):
        BinaryIndex.open(folder)
    segment.write_bytes(whole)

    entry = manifest["segments"][0]
    for changed, message in (
        ({"kind": "Painting"}, "another kind"),
        ({"format_version": 99}, "newer than format 2"),
        ({"n_bits": 128}, "codes of 128 bits"),
        ({"next_id": "7"}, r"damaged: its next_id is '7' \(str\)"),
        ({"segments": [entry | {"file": "../a.safetensors"}]}, "files that are not of an index"),
        ({"segments": [entry, entry]}, "names a file twice"),
        ({"segments": []}, "counts 5000 items, and its files hold 0"),
        ({"items": 4999}, "counts 4999 items, and its files hold 5000"),
        ({"next_id": 2000}, "the next id is 2000, and its files hold higher ids"),
        ({"options": {"metric": "cosine", "colour": "red"}}, "manifest.json has options that this h2q does not know"),
        ({"options": {"metric": "dot", "keep_embeddings": False}}, "metric must be one of cosine"),
    ):
        write_checked_json(manifest_file, manifest | changed)
        with pytest.raises(FileFormatError, match=message):
            BinaryIndex.open(folder)
    for content, message in (
        (good[:50], "truncated or not JSON"),
        (b"[]", "another kind"),
        (b'{"kind": "BinaryIndex"}', "no checksum"),
    ):
        manifest_file.write_bytes(content)
        with pytest.raises(FileFormatError, match=message):
            BinaryIndex.open(folder)
        with pytest.raises(FileExistsError, match="cannot save to"):
            BinaryIndex(64).save(folder)
    manifest_file.write_bytes(good)
    assert len(BinaryIndex.open(folder)) == 5000


def test_a_manifest_of_another_program_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"name": "My app"}')
    with pytest.raises(FileExistsError, match="is not an index of h2q"):
        BinaryIndex(64).save(tmp_path)
    assert (tmp_path / "manifest.json").read_text() == '{"name": "My app"}'
    assert len(list(tmp_path.iterdir())) == 1


def test_a_pickled_index_reopens_its_folder_or_carries_its_items(folder: Path) -> None:
    index = BinaryIndex.open(folder)
    assert len(pickle.dumps(index)) < 1000
    assert len(pickle.loads(pickle.dumps(index))) == 5000
    index.add(CODES[:3])
    copied = pickle.loads(pickle.dumps(index))
    np.testing.assert_array_equal(copied.search(CODES[:9], 1).distances, 0)
    assert copied.add(CODES[:1]).tolist() == [5003]
    assert copied.address is None


def test_saving_an_unchanged_index_still_clears_what_kills_left(folder: Path) -> None:
    index = BinaryIndex.open(folder)
    part, temporary = folder / "segment-0123456789abcdef.safetensors", ".segment-0123456789abcdef.safetensors"
    part.write_bytes(b"cut off")
    (folder / f"{temporary}.h2q-0123456789abcdef.tmp").write_bytes(b"cut off")
    before = (folder / "manifest.json").stat()
    index.save(folder)
    assert not list(folder.glob("*0123456789abcdef*"))
    assert not list(folder.glob(".*.tmp"))
    assert (folder / "manifest.json").stat() == before
