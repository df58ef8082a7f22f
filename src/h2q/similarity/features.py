"""Features of frozen backbones: computed once per data set and backbone, cached on disk, resumed when interrupted."""

import copy
import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from h2q.checks import check_integer
from h2q.errors import require
from h2q.progress import progress_bar
from h2q.similarity.backbones import Backbone, load_backbone
from h2q.similarity.feature_cache import feature_file, lock_features, read_features, write_features
from h2q.similarity.images import as_images

if TYPE_CHECKING:
    import torch

__all__ = ["extract_features", "feature_file"]


def extract_features(
    images: Any,
    backbone: "str | torch.nn.Module | Backbone" = "efficientnet-lite0",
    *,
    image_size: int | None = None,
    positions: NDArray[np.int64] | None = None,
    cache_key: str | None = None,
    batch_size: int = 16,
    chunk_size: int = 2_048,
    progress: bool = True,
) -> NDArray[np.float32]:
    """Compute the features of images with a frozen backbone, or read them from the cache.

    Parameters
    ----------
    images : ImageDataset, paths, PIL images, or array (n, height, width, 3) of uint8
        The images; files are decoded when they are needed. Any sequence whose entries are PIL images will do.
    backbone : str, torch.nn.Module or Backbone
        What `load_backbone` takes or returns.
    image_size : int, optional
        Height and width that images are resized to; by default the backbone's own (128 for "efficientnet-lite0").
    positions : array of int64, shape (m,), optional
        Compute only these images; they are read from the cache of all images where it exists.
    cache_key : str, optional
        Identifies the images in the cache; by default the fingerprint of an `ImageDataset`. Without one nothing is
        cached.
    batch_size : int
        Images per forward pass, each pass on one thread. Small batches are faster on a processor: their activations
        stay in its cache, and blocks below 32 MB are recycled instead of requested from the system again.
    chunk_size : int
        Images per chunk that is written while the rest is computed.
    progress : bool
        Whether to show a progress bar on a terminal.

    Returns
    -------
    ndarray of float32, shape (n, n_features) or (m, n_features)
        From the cache a copy-on-write memory map: it is read as needed, and writing to it does not change the file.

    Notes
    -----
    An interrupted extraction resumes after its last finished chunk. If several processes ask for the same features,
    one computes them and the others wait. A damaged file is computed again, with a warning.

    Examples
    --------
    >>> from h2q.datasets import load_dataset
    >>> extract_features(load_dataset("digits").images[:2], image_size=32).shape
    (2, 1280)
    """
    require("torch", "images")
    batch_size = check_integer(batch_size, "batch_size", low=1)
    chunk_size = check_integer(chunk_size, "chunk_size", low=1)
    if not isinstance(backbone, Backbone):
        backbone = load_backbone(backbone, image_size=image_size)
    elif image_size not in (None, backbone.image_size):
        raise ValueError(
            f"image_size {image_size} differs from the {backbone.image_size} of the backbone given; pass it to "
            "load_backbone"
        )
    if hasattr(images, "folds"):
        cache_key = cache_key or images.fingerprint
    images = as_images(images)
    wanted = _check_positions(positions, len(images))

    def compute(parts: Path | None) -> NDArray[np.float32]:
        features = np.empty((len(wanted), backbone.n_features), np.float32)
        start = 0
        for chunk in _compute_chunks(images, wanted, backbone, batch_size, chunk_size, parts, progress):
            features[start : start + len(chunk)] = chunk
            start += len(chunk)
        return features

    if cache_key is None:
        return compute(None)
    if positions is not None:
        cached = read_features(feature_file(cache_key, backbone), (len(images), backbone.n_features))
        if cached is not None:
            return cached[wanted]
        digest = hashlib.sha256(wanted.tobytes()).hexdigest()[:12]
        cache_key = f"{cache_key}-{len(wanted)}of{len(images)}-{digest}"
    path, shape = feature_file(cache_key, backbone), (len(wanted), backbone.n_features)
    cached = read_features(path, shape)
    if cached is not None:
        return cached
    with lock_features(path) as parts:
        cached = read_features(path, shape) if path.exists() else None  # another process may have been faster
        if cached is None:
            write_features(path, compute(parts))
            cached = read_features(path, shape)
    if cached is None:
        raise OSError(f"{path} does not read right after it was written: check the disk")
    return cached


def _check_positions(positions: NDArray[np.int64] | None, n: int) -> NDArray[np.int64]:
    """Return the positions to compute: all of them by default."""
    if positions is None:
        return np.arange(n, dtype=np.int64)
    wanted = np.asarray(positions, dtype=np.int64)
    if len(wanted) == 0:
        raise ValueError("positions is empty; pass at least one position")
    if wanted.min() < 0 or wanted.max() >= n:
        outside = wanted[(wanted < 0) | (wanted >= n)][0]
        raise ValueError(f"positions must be from 0 to {n - 1}; got {outside}")
    return wanted


def _compute_chunks(
    images: Sequence[Any],
    wanted: NDArray[np.int64],
    backbone: Backbone,
    batch_size: int,
    chunk_size: int,
    parts: Path | None,
    progress: bool,
) -> Iterator[NDArray[np.float32]]:
    """Yield the features chunk by chunk; chunks that `parts` already holds are read from there."""
    with (
        _forward_pool(images, backbone) as forward,
        progress_bar(f"features ({backbone.name})", len(wanted), enabled=progress) as advance,
    ):
        for start in range(0, len(wanted), chunk_size):
            positions = wanted[start : start + chunk_size]
            part = None if parts is None else parts / f"{start:09d}-{len(positions)}.safetensors"
            features = None if part is None else read_features(part, (len(positions), backbone.n_features))
            if features is not None:
                advance(len(positions))
                yield features
                continue
            batches = [positions[i : i + batch_size].tolist() for i in range(0, len(positions), batch_size)]
            rows = []
            for batch in forward(batches):
                rows.append(batch)
                advance(len(batch))
            features = np.concatenate(rows)
            if part is not None:
                write_features(part, features)
            yield features


@contextmanager
def _forward_pool(
    images: Sequence[Any], backbone: Backbone
) -> Iterator[Callable[[list[list[int]]], Iterator[NDArray[np.float32]]]]:
    """Give a function from batches of positions to their features, computed by as many threads as torch uses.

    Each thread decodes, resizes and runs whole batches, with torch on that one thread. No thread waits for another
    within a layer, so decoding overlaps with convolutions, other load costs only its share, and the features do not
    depend on the number of threads.
    """
    import torch

    module = copy.deepcopy(backbone.module).eval()
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs leave this one out
    evaluated = replace(backbone, module=module)

    def forward(positions: list[int]) -> NDArray[np.float32]:
        return evaluated.embed([images[position] for position in positions])

    n_threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(n_threads, "features", initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield lambda batches: pool.map(forward, batches)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(n_threads)
