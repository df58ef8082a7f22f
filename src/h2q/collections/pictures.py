"""A folder of pictures, indexed by what they show: relative paths are the ids; size and time are metadata."""

import datetime
import os
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from h2q.collections.collection import Collection, EmbeddedPart, Listing
from h2q.collections.image_models import load_image_model
from h2q.datasets.image_folder import find_images
from h2q.datasets.images import BrokenImageError, FileImages, LazyImages
from h2q.errors import MissingDependencyError
from h2q.index import Neighbors
from h2q.similarity.backbones import BACKBONES, Backbone, load_backbone

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["PictureCollection"]


class PictureCollection(Collection[Listing]):
    """An index of a folder of pictures.

    Parameters
    ----------
    path : Path
        Where the collection is stored, a folder; made by the first update.
    folder : Path, optional
        The folder of the pictures; needed before the first update, known afterwards.
    backbone : str, optional
        What embeds the pictures: the name of a backbone, the folder of an `ImageHasher`, or a sentence-transformers
        model; see `h2q.collections.load_image_model`. Default: the collection's, at first "efficientnet-lite0".
    image_size : int, optional
        Side in pixels that pictures are resized to. Default: the collection's, at first the network's.

    Raises
    ------
    FileNotFoundError
        If there is no collection, and no folder is given.
    ValueError
        If the collection was made with another network or size.

    Examples
    --------
    >>> import tempfile, warnings
    >>> from h2q.datasets import load_dataset
    >>> folder = Path(tempfile.mkdtemp())
    >>> for number, digit in enumerate(load_dataset("digits").images[:20]):
    ...     digit.save(folder / f"{number:02}.png")
    >>> collection = PictureCollection(folder / "digits.h2q", folder, image_size=32)
    >>> with warnings.catch_warnings(action="ignore"):  # 20 pictures are few
    ...     update = collection.update()
    >>> update.added, collection.search(folder / "03.png", k=1).ids[0, 0]
    (20, '03.png')
    """

    kind, command = "pictures", "h2q images index"
    state_columns = ("size", "modified")
    defaults = {"backbone": "efficientnet-lite0", "image_size": None}  # noqa: RUF012
    max_bits = 128

    def __init__(
        self, path: Path, folder: Path | None = None, *, backbone: str | None = None, image_size: int | None = None
    ) -> None:
        if backbone is not None and Path(backbone).is_dir():
            backbone = str(Path(backbone).resolve())
        super().__init__(path, folder, backbone=backbone, image_size=image_size)

    @property
    def folder(self) -> Path:
        """The folder of the pictures."""
        return self.source

    def search(self, picture: Path, k: int = 10, *, where: str | None = None) -> Neighbors:
        """Return the k pictures most like one, which need not be in the collection: paths and 1 - cosine.

        Raises
        ------
        FileNotFoundError, ValueError
            If there is no such file, or it does not decode.
        """
        self.opened_index()
        try:
            embedding = self._model(FileImages(picture.parent, [picture.name]))
        except BrokenImageError as error:
            raise ValueError(f"{picture} does not decode as an image; search for another picture") from error
        return self.search_embeddings(embedding, k, where=where)

    def embed(self, picture: "Image") -> NDArray[np.float32]:
        """Return the embedding of a picture in memory, shape (1, d), to search with; nothing is stored."""
        if self.network is not None:
            return self.network.embed([picture])  # thread-safe
        return self._model([picture])

    @cached_property
    def network(self) -> Backbone | None:
        """The backbone that embeds the pictures, loaded at first use; None: a hasher or sentence-transformers does."""
        if self._settings["backbone"] not in BACKBONES:
            return None
        return load_backbone(self._settings["backbone"], image_size=self._settings["image_size"])

    @cached_property
    def _model(self) -> Callable[[Sequence[Any]], NDArray[np.float32]]:
        return load_image_model(self._settings["backbone"], self._settings["image_size"])

    def _whitened(self) -> bool:
        return self._settings["backbone"] in BACKBONES

    def _list(self) -> Listing:
        states, unreadable = {}, []
        for path in find_images(self.folder).paths:
            try:
                path.encode()
                states[path] = _stat(self.folder / path)
            except UnicodeEncodeError:
                unreadable.append(f"{path} (its name is not UTF-8: rename it)")
            except OSError as error:
                unreadable.append(f"{path} ({error.strerror})")
        return Listing(states, tuple(unreadable))

    def _embed(self, ids: Sequence[Any], listing: Listing, advance: Callable[[int], None]) -> EmbeddedPart:
        images = _Readable(self.folder, ids, advance)
        embeddings = self._model(images)
        fine = [position for position in range(len(ids)) if position not in images.faults]
        paths = [ids[position] for position in fine]
        metadata = {
            "size": [listing.states[path][0] for path in paths],
            "modified": [listing.states[path][1] for path in paths],
            "width": [images.dimensions[position][0] for position in fine],
            "height": [images.dimensions[position][1] for position in fine],
        }
        faults = {ids[position]: reason for position, reason in images.faults.items()}
        return EmbeddedPart(paths, embeddings[fine], metadata, faults)

    def _merits(self, ids: NDArray[Any]) -> Sequence[Any]:
        rows = self.opened_index().metadata(ids, ["width", "height", "size", "modified"]).to_pylist()
        return [(row["width"] * row["height"], row["size"], -row["modified"].timestamp()) for row in rows]


class _Readable(LazyImages):
    """Pictures of a folder; one that cannot be read is noted, and gray."""

    def __init__(self, folder: Path, paths: Sequence[str], advance: Callable[[int], None]) -> None:
        self._images, self._advance = FileImages(folder, paths), advance
        self.faults: dict[int, str] = {}
        self.dimensions: dict[int, tuple[int, int]] = {}

    def __len__(self) -> int:
        return len(self._images)

    def decode(self, position: int) -> "Image":
        """Decode a picture, or make a gray one."""
        from PIL import Image

        try:
            picture = self._images[position]
        except (BrokenImageError, OSError, MissingDependencyError) as error:
            self.faults[position] = "does not decode" if isinstance(error, BrokenImageError) else str(error)
            picture = Image.new("RGB", (32, 32), (128, 128, 128))
        self.dimensions[position] = picture.size
        self._advance(1)
        return picture


def _stat(path: Path) -> tuple[int, datetime.datetime]:
    """Return the size of a file, and when it was modified, to the microsecond."""
    status = os.stat(path)
    return status.st_size, datetime.datetime.fromtimestamp(status.st_mtime_ns // 1000 / 1e6, datetime.UTC)
