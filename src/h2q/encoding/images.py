"""Folders of images as a collection of embeddings: a network embeds them as they are read."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from h2q.datasets.image_folder import find_images
from h2q.datasets.images import FileImages
from h2q.encoding.collections import Batch, Collection, Part
from h2q.errors import require

__all__ = ["ImageCollection"]

_BATCH_IMAGES = 512


class ImageCollection(Collection):
    """The images below a folder, embedded by a network; the column beside the embeddings is `path`.

    Parameters
    ----------
    folder : Path
        The folder; see `h2q.datasets.image_folder.find_images`.
    backbone : str
        The network; see `h2q.similarity.backbones.load_backbone`.
    image_size : int, optional
        Side in pixels that images are resized to. Default: the network's.

    Raises
    ------
    FileNotFoundError
        If the folder holds no images.
    """

    def __init__(self, folder: Path, backbone: str, image_size: int | None = None) -> None:
        super().__init__([folder])
        self._paths = find_images(folder).paths if folder.is_dir() else []
        if not self._paths:
            raise FileNotFoundError(f"there are no images in {folder}; without backbone, it may hold embeddings")
        self._backbone, self._image_size = backbone, image_size

    def parts(self, n_rows: int) -> list[Part]:
        """Return all images in parts."""
        n = len(self._paths)
        stops = [(first, min(first + n_rows, n)) for first in range(0, n, n_rows)]
        return [Part(0, first, stop, first, stop - first) for first, stop in stops]

    def batches(self, part: Part) -> Iterator[Batch]:
        """Yield the embeddings of a part.

        Raises
        ------
        h2q.datasets.images.BrokenImageError
            If an image does not decode; the message names it.
        """
        import pyarrow as pa

        from h2q.similarity.features import extract_features  # PyTorch takes long to import

        network = _network(self._backbone, self._image_size)
        for first in range(part.first, part.stop, _BATCH_IMAGES):
            paths = self._paths[first : min(first + _BATCH_IMAGES, part.stop)]
            features = extract_features(FileImages(self.files[0], paths), network, progress=False)
            yield Batch(features, pa.table({"path": paths}))

    def identity(self) -> list[dict[str, Any]]:
        """Return what a run that goes on must find as it was: network, and names, sizes and times of the images."""
        fingerprint = FileImages(self.files[0], self._paths).fingerprint()
        identity = {"name": str(self.files[0]), "images": len(self._paths), "digest": fingerprint}
        return [{**identity, "backbone": self._backbone, "image_size": self._image_size}]


@lru_cache(maxsize=1)
def _network(backbone: str, image_size: int | None) -> Any:
    """Return the network, loaded once in a process."""
    require("torch", "images")
    from h2q.similarity.backbones import load_backbone

    return load_backbone(backbone, image_size=image_size)
