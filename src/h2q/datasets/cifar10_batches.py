"""The original python batches of CIFAR-10: pickles, read so that nothing in them can run."""

import importlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.datasets.images import PixelImages
from h2q.errors import FileFormatError

__all__ = ["BATCH_FOLDER", "load_batches"]

BATCH_FOLDER = "cifar-10-batches-py"
_BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
# All that a batch needs beside dicts, lists, numbers and text: an array, by the old and the new name of its module.
_ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
}


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles arrays and nothing else: unpickling a foreign file otherwise runs what that file says."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}, which no batch of CIFAR-10 does")
        return getattr(importlib.import_module(module.replace("numpy.core", "numpy._core")), name)


def load_batches(folder: Path) -> tuple[PixelImages, NDArray[np.int64]]:
    """Read images and labels from ``data_batch_1`` to ``data_batch_5`` and ``test_batch`` in a folder.

    Raises
    ------
    FileNotFoundError
        If a batch is missing.
    FileFormatError
        If a batch is truncated, holds anything but arrays, lists and text, or its shapes do not fit.
    """
    pixels, labels = [], []
    for name in _BATCHES:
        batch = _read_batch(folder / name)
        pixels.append(batch[0])
        labels.append(batch[1])
    return PixelImages(np.concatenate(pixels), str(folder)), np.concatenate(labels)


def _read_batch(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read one batch: pixels (n, 32, 32, 3) and labels (n,)."""
    try:
        with path.open("rb") as file:
            batch = _ArrayUnpickler(file, encoding="latin1").load()
        rows, labels = np.asarray(batch["data"]), np.asarray(batch["labels"], dtype=np.int64)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} does not exist; CIFAR-10 has the batches {', '.join(_BATCHES)}") from None
    except Exception as error:  # a damaged pickle can raise anything
        raise FileFormatError(f"{path} is not a batch of CIFAR-10: {error}; download it again") from error
    if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != 3072:
        raise FileFormatError(f"{path}: data must be uint8 (n, 3072); got {rows.dtype} {rows.shape}")
    if labels.shape != (len(rows),):
        raise FileFormatError(f"{path}: {len(rows)} images, but labels of shape {labels.shape}")
    return np.ascontiguousarray(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), labels
