"""Features of frozen backbones: computed once per data set and backbone, kept on disk, resumed when interrupted."""

import copy
import hashlib
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from h2q.checks import check_integer
from h2q.datasets.locations import cache_folder
from h2q.errors import require
from h2q.files import write_npy
from h2q.files.storage import atomic_path
from h2q.progress import progress_bar
from h2q.similarity.backbones import Backbone, load_backbone

if TYPE_CHECKING:
    import torch

__all__ = ["extract_features", "feature_file"]

# Part of the key of the cache: raise it when the same images and weights give other features.
_VERSION = 1
_CHUNK = 2_048


def feature_file(cache_key: str, backbone: Backbone) -> Path:
    """Return the path at which the features of the data set with this key are, or will be, kept: a .npy file."""
    name = f"{cache_key}-{backbone.name}-{backbone.version}-{backbone.image_size}px-v{_VERSION}.npy"
    return cache_folder() / "features" / name


def extract_features(
    images: Any,
    backbone: "str | torch.nn.Module | Backbone" = "efficientnet-lite0",
    *,
    image_size: int | None = None,
    positions: NDArray[np.int64] | None = None,
    cache_key: str | None = None,
    batch_size: int = 16,
    progress: bool = True,
) -> NDArray[np.float32]:
    """Compute the features of images with a frozen backbone, or read them from the cache.

    Parameters
    ----------
    images : ImageDataset or sequence of n PIL images
        Anything with a length whose entries are PIL images; decoded when needed.
    backbone : str, torch.nn.Module or Backbone
        What `load_backbone` takes, or what it gave.
    image_size : int, optional
        Height and width that images are resized to; by default the backbone's own (128 for "efficientnet-lite0").
    positions : array of int64, shape (m,), optional
        Compute only these images; read from the cache of all where that is there.
    cache_key : str, optional
        What tells this data set from others in the cache; the fingerprint of an `ImageDataset` by default. Without one
        nothing is kept.
    batch_size : int
        Images a forward pass, each on one thread. Small batches are faster on a processor: their activations stay near
        its cache, and blocks below 32 MB are recycled instead of asked from the system anew.
    progress : bool
        Whether to show a bar on a terminal.

    Returns
    -------
    ndarray of float32, shape (n, n_features) or (m, n_features)
        From the cache a copy-on-write memory map: it is read as needed, and writing to it does not change the file.

    Notes
    -----
    Chunks of 2,048 images are written as they are done, so that an interrupted extraction goes on where it stopped.

    Examples
    --------
    >>> from h2q.datasets import load_dataset
    >>> extract_features(load_dataset("digits").images[:2], image_size=32).shape
    (2, 1280)
    """
    require("torch", "images")
    batch_size = check_integer(batch_size, "batch_size", low=1)
    if not isinstance(backbone, Backbone):
        backbone = load_backbone(backbone, image_size=image_size)
    elif image_size not in (None, backbone.image_size):
        raise ValueError(
            f"image_size {image_size} differs from the {backbone.image_size} of the backbone given; pass it to "
            "load_backbone"
        )
    if hasattr(images, "fingerprint") and hasattr(images, "images"):
        cache_key, images = cache_key or images.fingerprint, images.images
    everything = np.arange(len(images), dtype=np.int64)
    wanted = everything if positions is None else np.asarray(positions, dtype=np.int64)
    if len(images) == 0 or len(wanted) == 0:
        raise ValueError("images is empty; pass at least one image")
    if wanted.min() < 0 or wanted.max() >= len(images):
        out = wanted[(wanted < 0) | (wanted >= len(images))][0]
        raise ValueError(f"positions must be from 0 to {len(images) - 1}; got {out}")

    path = None
    if cache_key is not None:
        path = feature_file(cache_key, backbone)
        cached = _read_cached(path, (len(images), backbone.n_features))
        if cached is not None:
            return cached if positions is None else cached[wanted]
        if positions is not None:
            digest = hashlib.sha256(wanted.tobytes()).hexdigest()[:12]
            path = feature_file(f"{cache_key}-{len(wanted)}of{len(images)}-{digest}", backbone)
            cached = _read_cached(path, (len(wanted), backbone.n_features))
            if cached is not None:
                return cached

    chunks = _compute_chunks(images, wanted, backbone, batch_size, path, progress)
    if path is None:
        return np.concatenate(list(chunks))
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_npy(path, (len(wanted), backbone.n_features), np.float32) as write:
        for chunk in chunks:
            write(chunk)
    shutil.rmtree(_parts(path), ignore_errors=True)
    return np.asarray(np.load(path, mmap_mode="c"))


def _parts(path: Path) -> Path:
    """The folder that holds the finished chunks of a file that is not finished yet."""
    return path.with_suffix(".parts")


def _read_cached(path: Path, shape: tuple[int, int]) -> NDArray[np.float32] | None:
    """Map a finished file of features; None where there is none, or (with a warning) where it is damaged."""
    try:
        features = np.load(path, mmap_mode="c", allow_pickle=False)
    except FileNotFoundError:
        return None
    except (ValueError, EOFError, OSError) as error:
        warnings.warn(f"{path} is damaged ({error}); computing it again", UserWarning, stacklevel=3)
        return None
    if features.shape != shape or features.dtype != np.float32:
        warnings.warn(f"{path} holds {features.shape}, not {shape}; computing it again", UserWarning, stacklevel=3)
        return None
    return np.asarray(features)


def _compute_chunks(
    images: Sequence[Any],
    wanted: NDArray[np.int64],
    backbone: Backbone,
    batch_size: int,
    path: Path | None,
    progress: bool,
) -> Iterator[NDArray[np.float32]]:
    """Yield the features chunk by chunk, from the finished chunks on disk where they are there."""
    with (
        _forward_pool(images, backbone) as forward,
        progress_bar(f"features ({backbone.name})", len(wanted), enabled=progress) as advance,
    ):
        for start in range(0, len(wanted), _CHUNK):
            positions = wanted[start : start + _CHUNK]
            part = None if path is None else _parts(path) / f"{start:09d}.npy"
            features = None if part is None else _read_cached(part, (len(positions), backbone.n_features))
            if features is None:
                batches = [positions[i : i + batch_size].tolist() for i in range(0, len(positions), batch_size)]
                rows = []
                for batch in forward(batches):
                    rows.append(batch)
                    advance(len(batch))
                features = np.concatenate(rows)
                if part is not None:
                    part.parent.mkdir(parents=True, exist_ok=True)
                    with atomic_path(part) as temporary, temporary.open("wb") as file:
                        np.save(file, features)
            else:
                advance(len(positions))
            yield features


@contextmanager
def _forward_pool(
    images: Sequence[Any], backbone: Backbone
) -> Iterator[Callable[[list[list[int]]], Iterator[NDArray[np.float32]]]]:
    """Give a function from batches of positions to their features, computed by as many threads as torch uses.

    Each thread decodes, resizes and runs a whole batch by itself, with torch on that one thread. Nobody waits for
    anybody within a layer, so decoding overlaps with convolutions, a busy machine slows it down only by its share, and
    the features do not depend on the number of threads.
    """
    import torch

    module = copy.deepcopy(backbone.module).eval()
    module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs leave this one out
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))

    def forward(positions: list[int]) -> NDArray[np.float32]:
        pixels = torch.from_numpy(np.stack([backbone.resize(images[position]) for position in positions]))
        with torch.inference_mode():
            features: NDArray[np.float32] = module(backbone.normalize(pixels).to(device)).float().cpu().numpy()
        return features

    n_threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(n_threads, "features", initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield lambda batches: pool.map(forward, batches)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(n_threads)
