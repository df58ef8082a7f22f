"""A save is all or nothing: errors, interrupts and kills leave the old hasher or the new one."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from h2q import ImageHasher
from h2q.errors import FileFormatError
from h2q.files import read_checked_json, write_checked_json
from h2q.hasher import is_hasher, is_vacant
from h2q.quantization import RandomRotationQuantizer
from h2q.similarity.backbones import load_backbone
from h2q.similarity.heads import HashHead

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)


def _backbone() -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten())


def _make(seed: int) -> ImageHasher:
    torch.manual_seed(0)
    head = HashHead(48, 16, hidden=(8,))
    quantizer = RandomRotationQuantizer(random_state=seed).fit(np.random.default_rng(0).normal(size=(40, 16)))
    return ImageHasher.from_parts(load_backbone(_backbone(), image_size=8), head, quantizer)


def _codes(folder: Path) -> bytes:
    return ImageHasher.load(folder, backbone=_backbone()).encode(IMAGES, progress=False).tobytes()


def _names(folder: Path) -> list[str]:
    return sorted(file.name.split("-")[0] for file in folder.iterdir())


WHOLE = [".lock", "backbone", "hasher.json", "head", "quantizer"]

KILLER = """
import os, random, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_folder import _codes, _make, _names, WHOLE

folder, hashers = Path(sys.argv[1]), [_make(0), _make(1)]
expected = [hasher.encode(__import__("test_folder").IMAGES, progress=False).tobytes() for hasher in hashers]
assert expected[0] != expected[1]
hashers[0].save(folder)
started = time.perf_counter()
for _ in range(5):
    hashers[0].save(folder)
a_save = (time.perf_counter() - started) / 5
random.seed(0)
for kill in range(int(sys.argv[3])):
    child = os.fork()
    if child == 0:
        for turn in range(1000):
            hashers[turn % 2].save(folder)
        os._exit(0)
    time.sleep(random.uniform(0, 4 * a_save))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert _codes(folder) in expected, kill
hashers[1].save(folder)
assert _codes(folder) == expected[1]
assert _names(folder) == WHOLE, _names(folder)
print("whole")
"""


def test_kills_at_any_moment_leave_the_old_or_the_new_hasher(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLER, tmp_path / "hasher", Path(__file__).parent, "40"],
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("whole\n", 0), done.stderr


class BreaksWhenSaved(RandomRotationQuantizer):
    """A quantizer whose file cannot be written."""

    error: BaseException

    def save(self, path: Any) -> None:
        Path(path).write_bytes(b"half of it")
        raise self.error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device"), MemoryError()])
def test_an_error_in_a_save_leaves_the_old_hasher_and_no_debris(error: BaseException, tmp_path: Path) -> None:
    folder = tmp_path / "hasher"
    old = _make(0)
    old.save(folder)
    before, codes = sorted(folder.iterdir()), _codes(folder)
    broken = _make(1)
    quantizer = BreaksWhenSaved(random_state=1).fit(np.random.default_rng(0).normal(size=(40, 16)))
    quantizer.error = error
    broken = ImageHasher.from_parts(broken.backbone_, broken.head_, quantizer)
    for target in (folder, tmp_path / "first"):
        with pytest.raises(type(error)):
            broken.save(target)
    assert sorted(folder.iterdir()) == before
    assert _codes(folder) == codes
    assert _names(tmp_path / "first") == [".lock"]
    assert not is_hasher(tmp_path / "first")
    old.save(tmp_path / "first")
    assert _codes(tmp_path / "first") == codes


def test_an_error_at_the_commit_leaves_the_old_hasher(tmp_path: Path) -> None:
    folder = tmp_path / "hasher"
    _make(0).save(folder)
    codes = _codes(folder)
    other = _make(1)
    other.validation_map_ = object()  # type: ignore[assignment]  # which JSON cannot hold
    with pytest.raises(TypeError):
        other.save(folder)
    assert _codes(folder) == codes
    assert _names(folder) == WHOLE


def test_only_files_of_a_hasher_are_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "hasher"
    _make(0).save(folder)
    own = ["backbone-notes.txt", "quantizer-analysis.safetensors", "hasher.json.bak", "head.safetensors"]
    for name in own:
        (folder / name).write_text("mine")
    (folder / "head-old").mkdir()
    left = folder / ".head-0123456789abcdef.safetensors.h2q-0123456789abcdef.tmp"
    left.write_text("left by a kill")
    _make(1).save(folder)
    assert all((folder / name).read_text() == "mine" for name in own)
    assert (folder / "head-old").is_dir()
    assert not left.exists()


def test_other_folders_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    assert not is_vacant(tmp_path)
    with pytest.raises(FileExistsError, match="exists and holds no hasher"):
        _make(0).save(tmp_path)
    with pytest.raises(FileExistsError, match="exists and holds no hasher"):
        _make(0).save(tmp_path / "notes")
    assert is_vacant(tmp_path / "new")


@pytest.mark.parametrize("names", [None, {}, {"backbone": "../secret", "head": "a", "quantizer": "b"}, ["backbone"]])
def test_a_description_names_files_of_its_folder_only(names: Any, tmp_path: Path) -> None:
    _make(0).save(tmp_path / "hasher")
    file = tmp_path / "hasher" / "hasher.json"
    write_checked_json(file, {**read_checked_json(file), "files": names})
    with pytest.raises(FileFormatError, match="does not name the files of the hasher"):
        _codes(tmp_path / "hasher")
