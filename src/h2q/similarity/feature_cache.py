"""The cache of features on disk: chunks while they are computed, one checksummed file when they are complete.

Beside the file ``X.safetensors`` stands, until it is complete, the folder ``X.parts`` with the finished chunks and a
lock: one process computes, the others wait for its file.
"""

import shutil
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from h2q.datasets.locations import cache_folder
from h2q.files import read_tensors, verify_tensors, write_tensors
from h2q.similarity.backbones import Backbone

__all__ = ["feature_file", "lock_features", "read_features", "write_features"]

# Part of the key of the cache: raise it when the same images and weights give other features.
_VERSION = 3
_KIND = "features"
_LOCK = "lock"
_ABANDONED_SECONDS = 7 * 24 * 3600.0


def feature_file(cache_key: str, backbone: Backbone) -> Path:
    """Return the path of the file for the features of the data set with this key, whether it exists or not."""
    size = f"{backbone.image_size}px{'-crop' if backbone.resize_mode == 'crop' else ''}"
    name = f"{cache_key}-{backbone.name}-{backbone.version}-{size}-v{_VERSION}.safetensors"
    return cache_folder() / "features" / name


def read_features(path: Path, shape: tuple[int, int]) -> NDArray[np.float32] | None:
    """Return the features in a file as a copy-on-write memory map, after verifying their checksum.

    None where there is no such file, or, with a warning that names it, where it is damaged.
    """
    try:
        verify_tensors(path, _KIND)
        stored = read_tensors(path, _KIND, mmap=True).tensors["features"]
    except FileNotFoundError:
        return None
    except Exception as error:  # what cannot be read can be computed again, whatever is wrong with it
        warnings.warn(f"{path} is damaged ({error}); computing it again", UserWarning, stacklevel=3)
        return None
    if stored.shape != shape or stored.dtype != np.float32:
        warnings.warn(f"{path} holds {stored.shape}, not {shape}; computing it again", UserWarning, stacklevel=3)
        return None
    offset = int(stored.offset) if isinstance(stored, np.memmap) else 0
    return np.asarray(np.memmap(path, np.float32, "c", offset, shape))


def write_features(path: Path, features: NDArray[np.float32]) -> None:
    """Write features atomically, with a checksum."""
    write_tensors(path, _KIND, {"features": features}, {})


@contextmanager
def lock_features(path: Path, *, abandoned_seconds: float = _ABANDONED_SECONDS) -> Iterator[Path]:
    """Hold the lock of a feature file; gives the folder for its chunks.

    Waits, with a warning, while another process holds the lock. Chunks of other files that no process holds the lock
    of, and that none has written to for `abandoned_seconds`, are deleted.
    """
    parts = _parts(path)
    lock = _acquire(parts, wait_for=path)
    try:
        _reclaim(path.parent, abandoned_seconds)
        yield parts
    finally:
        if path.exists() or not any(parts.glob("*.safetensors")):
            shutil.rmtree(parts, ignore_errors=True)
        lock.release()


def _parts(path: Path) -> Path:
    return path.with_suffix(".parts")


def _acquire(parts: Path, *, wait_for: Path) -> FileLock:
    warned = False
    while True:
        parts.mkdir(parents=True, exist_ok=True)
        lock = FileLock(parts / _LOCK)
        try:
            lock.acquire(timeout=-1 if warned else 0)
        except Timeout:
            warnings.warn(f"another process is computing {wait_for.name}; waiting for it", UserWarning, stacklevel=4)
            warned = True
        except FileNotFoundError:  # that process has finished and removed the folder
            continue
        else:
            return lock


def _reclaim(folder: Path, abandoned_seconds: float) -> None:
    """Delete the chunks of extractions that nobody has resumed for a long time."""
    for parts in folder.glob("*.parts"):
        with suppress(OSError, Timeout):
            newest = max((file.stat().st_mtime for file in parts.iterdir()), default=parts.stat().st_mtime)
            if time.time() - newest < abandoned_seconds:
                continue
            with FileLock(parts / _LOCK, timeout=0):
                shutil.rmtree(parts)
