"""A folder of pictures, indexed by what they show: relative paths are the ids; size and time are metadata.

photos.h2q/
  pictures.json     the folder of the pictures and the network that embeds them
  index/            a `BinaryIndex` that keeps the embeddings
"""

import datetime
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from h2q.datasets.image_folder import find_images
from h2q.datasets.images import BrokenImageError, FileImages, LazyImages
from h2q.errors import FileFormatError, MissingDependencyError
from h2q.files import read_checked_json, write_checked_json
from h2q.index import BinaryIndex, Neighbors
from h2q.progress import progress_bar
from h2q.quantization import HouseholderQuantizer
from h2q.similarity.backbones import load_backbone
from h2q.similarity.features import extract_features

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["PictureCollection", "Update"]

_SETTINGS, _INDEX = "pictures.json", "index"
_MAX_BITS, _FIT_IMAGES = 128, 4096
_CANDIDATES = 100
_WHITENED = 8  # pictures for each bit, from which features are whitened


@dataclass(frozen=True)
class Update:
    """What an update of a collection did.

    Attributes
    ----------
    added, changed, removed : int
        Number of pictures that were new, changed, and gone.
    kept : int
        Number of pictures that were as before.
    unreadable : tuple of str
        Files that could not be read, each with the reason.

    Examples
    --------
    >>> update = Update(added=3, changed=0, removed=1, kept=96, unreadable=("cut.jpg (does not decode)",))
    >>> update.added + update.kept
    99
    """

    added: int
    changed: int
    removed: int
    kept: int
    unreadable: tuple[str, ...]


class PictureCollection:
    """An index of a folder of pictures.

    Parameters
    ----------
    path : Path
        Where the collection is stored, a folder; made by the first update.
    folder : Path, optional
        The folder of the pictures; needed before the first update, known afterwards.
    backbone : str
        Network that embeds the pictures; see `h2q.similarity.backbones.load_backbone`.
    image_size : int, optional
        Side in pixels that pictures are resized to. Default: the network's.

    Raises
    ------
    FileNotFoundError
        If there is no collection, and no folder is given.
    ValueError
        If the collection was made with another network or size.

    Examples
    --------
    >>> import tempfile
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

    def __init__(
        self,
        path: Path,
        folder: Path | None = None,
        *,
        backbone: str = "efficientnet-lite0",
        image_size: int | None = None,
    ) -> None:
        self.path = path
        settings = path / _SETTINGS
        if settings.exists():
            stored = read_checked_json(settings)
            if stored.get("kind") != "pictures":
                raise FileFormatError(f"{settings} is not that of a collection of pictures")
            given = {"backbone": backbone, "image_size": image_size}
            if folder is not None and any(stored[name] != value for name, value in given.items()):
                raise ValueError(
                    f"{path} was made with backbone={stored['backbone']} and image_size={stored['image_size']}; use "
                    "these, or another collection"
                )
            self.folder = Path(stored["folder"]) if folder is None else folder
            self.backbone, self.image_size = str(stored["backbone"]), stored["image_size"]
        elif folder is None:
            raise FileNotFoundError(f"there is no collection of pictures at {path}: make it with h2q images index")
        elif path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise FileExistsError(f"{path} holds other files and no collection of pictures; choose another name")
        else:
            self.folder, self.backbone, self.image_size = folder, backbone, image_size
        has_index = (path / _INDEX).is_dir()
        self.index: BinaryIndex | None = BinaryIndex.open(path / _INDEX) if has_index else None

    def update(self) -> Update:
        """Take up the pictures that are new, changed or gone since the last update; save after every few thousand.

        The first pictures, or a sample of them, decide the quantizer.

        Raises
        ------
        ValueError
            If the folder holds no picture that can be read.
        """
        paths = find_images(self.folder).paths
        now = {path: _stat(self.folder / path) for path in paths}
        before = self._known()
        changed = [path for path in paths if path in before and before[path] != now[path]]
        added = [path for path in paths if path not in before]
        gone = [path for path in before if path not in now]
        if self.index is not None and gone:
            self.index.remove(gone)
            self.index.save(self.path / _INDEX)
        faults = self._take_up(added + changed, now) if added or changed else {}
        if self.index is None:
            raise ValueError(f"{self.folder} holds no picture that can be read; {len(faults)} cannot")
        n_added, n_changed = (sum(path not in faults for path in paths) for paths in (added, changed))
        unreadable = tuple(f"{path} ({reason})" for path, reason in faults.items())
        return Update(n_added, n_changed, len(gone), len(before) - len(gone) - len(changed), unreadable)

    def search(self, picture: Path, k: int = 10, *, where: str | None = None) -> Neighbors:
        """Return the k pictures most like one, which need not be in the collection: paths and 1 - cosine.

        Raises
        ------
        FileNotFoundError, ValueError
            If there is no such file, or it does not decode.
        """
        index = self._open_index()
        embedding = extract_features(FileImages(picture.parent, [picture.name]), self._network(), progress=False)
        candidates = max(_CANDIDATES, 10 * k)
        return index.search(embedding, k, rerank=candidates, where=where, columns=["size", "modified"])

    def _open_index(self) -> BinaryIndex:
        if self.index is None:
            raise FileNotFoundError(f"{self.path} holds no pictures yet: run h2q images index")
        return self.index

    def _network(self) -> Any:
        return load_backbone(self.backbone, image_size=self.image_size)

    def _known(self) -> dict[str, tuple[int, datetime.datetime]]:
        """Return size and time of the pictures that the index holds."""
        if self.index is None or not len(self.index):
            return {}
        ids = self.index.ids
        table = self.index.metadata(ids, ["size", "modified"])
        return dict(zip(ids, zip(*(column.to_pylist() for column in table.columns), strict=True), strict=True))

    def _take_up(self, paths: Sequence[str], known: dict[str, tuple[int, datetime.datetime]]) -> dict[str, str]:
        """Embed and index pictures; return those that cannot be read, each with the reason."""
        if self.index is None:
            # The first part decides the quantizer: a random one.
            paths = np.random.default_rng(0).permutation(np.array(paths, object)).tolist()
        network, faults = self._network(), dict[str, str]()
        with progress_bar("indexing", len(paths)) as advance:
            for start in range(0, len(paths), _FIT_IMAGES):
                part = paths[start : start + _FIT_IMAGES]
                images = _Readable(self.folder, part, advance)
                embeddings = extract_features(images, network, progress=False)
                fine = np.array([position not in images.faults for position in range(len(part))])
                faults |= {part[position]: reason for position, reason in sorted(images.faults.items())}
                if fine.any():
                    self._add(np.array(part, object)[fine], embeddings[fine], images, known)
        return faults

    def _add(
        self,
        paths: NDArray[Any],
        embeddings: NDArray[np.float32],
        images: "_Readable",
        known: dict[str, tuple[int, datetime.datetime]],
    ) -> None:
        if self.index is None:
            self.path.mkdir(parents=True, exist_ok=True)
            settings = {"folder": str(self.folder.resolve()), "backbone": self.backbone, "image_size": self.image_size}
            write_checked_json(self.path / _SETTINGS, {"kind": "pictures", **settings})
            self.index = BinaryIndex(quantizer=_fit(embeddings), keep_embeddings=True)
        sizes = [images.dimensions[path] for path in paths]
        metadata = {
            "size": [known[path][0] for path in paths],
            "modified": [known[path][1] for path in paths],
            "width": [width for width, _ in sizes],
            "height": [height for _, height in sizes],
        }
        self.index.upsert(embeddings, paths, metadata)
        self.index.save(self.path / _INDEX)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a collection that an update made."""
        return cls(path)


class _Readable(LazyImages):
    """Pictures of a folder; one that cannot be read is noted, and gray."""

    def __init__(self, folder: Path, paths: Sequence[str], advance: Any) -> None:
        self._images, self._paths, self._advance = FileImages(folder, paths), paths, advance
        self.faults: dict[int, str] = {}
        self.dimensions: dict[str, tuple[int, int]] = {}

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
        self.dimensions[self._paths[position]] = picture.size
        self._advance(1)
        return picture


def _fit(embeddings: NDArray[np.float32]) -> HouseholderQuantizer:
    """Fit a quantizer on features of a network that was trained for something else: whitened, where that is safe.

    Whitening scales every direction to one variance. In a few pictures the last directions are what tells two copies
    of one picture apart, which must not count as much as the others.
    """
    n_bits = min(_MAX_BITS, 8 * max(1, (len(embeddings) - 1) // 8))
    whitening = 1.0 if len(embeddings) >= _WHITENED * n_bits else 0.0
    with warnings.catch_warnings():
        # A few pictures do not decide a rotation; their embeddings, which are kept, decide the order.
        warnings.simplefilter("ignore", UserWarning)
        return HouseholderQuantizer(n_bits, whitening=whitening, random_state=0).fit(embeddings)


def _stat(path: Path) -> tuple[int, datetime.datetime]:
    """Return the size of a file, and when it was modified, to the microsecond."""
    status = os.stat(path)
    return status.st_size, datetime.datetime.fromtimestamp(status.st_mtime_ns // 1000 / 1e6, datetime.UTC)
