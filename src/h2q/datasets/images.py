"""Lazy sequences of images: encoded bytes, files, or pixels; decoded on access."""

import hashlib
import io
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from h2q.errors import MissingDependencyError, require

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "HEIF_SUFFIXES",
    "IMAGE_SUFFIXES",
    "BrokenImageError",
    "EncodedImages",
    "FileImages",
    "LazyImages",
    "PixelImages",
    "has_heif",
    "read_image",
    "to_rgb",
]

HEIF_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
IMAGE_SUFFIXES = HEIF_SUFFIXES | frozenset(
    {".avif", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm"}
    | {".tif", ".tiff", ".webp"}
)
_ORIENTATION = 0x0112  # the EXIF tag


class BrokenImageError(ValueError):
    """An image does not decode; the message names its file.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> (folder / "cut.jpg").write_bytes(b"no image")
    8
    >>> FileImages(folder, ["cut.jpg"])[0]
    Traceback (most recent call last):
    ...
    h2q.datasets.images.BrokenImageError: ...
    """


@cache
def has_heif() -> bool:
    """Let Pillow open HEIF files where pillow-heif is installed; return whether it is."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def read_image(source: Path | bytes) -> "Image":
    """Decode an image file, or the bytes of one, as RGB; HEIF through pillow-heif where it is installed.

    Raises
    ------
    MissingDependencyError
        If Pillow is missing, or the file is named as HEIF and pillow-heif is missing (extra ``heif``).
    """
    pillow = require("PIL.Image", "images")
    if not has_heif() and isinstance(source, Path) and source.suffix.lower() in HEIF_SUFFIXES:
        require("pillow_heif", "heif")
    with pillow.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
        image.load()
        return to_rgb(image)


def to_rgb(image: "Image") -> "Image":
    """Return an image as it is shown on a white page: upright, opaque, RGB.

    The EXIF orientation is applied, transparent pixels are composited over white, and gray images of 16 bits are
    scaled to 8 bits, where Pillow's own conversion clips them. An RGB image without an orientation is returned as it
    is.

    Examples
    --------
    >>> import PIL.Image
    >>> to_rgb(PIL.Image.new("RGBA", (1, 1), (255, 0, 0, 0))).getpixel((0, 0))
    (255, 255, 255)
    """
    image = _upright(image)
    if image.mode.startswith("I"):
        pixels = np.asarray(image).astype(np.int64)
        if pixels.max(initial=0) > 255 or image.mode.startswith("I;16"):
            scaled = np.rint(pixels.clip(0, 65_535) / 257).astype(np.uint8)
            image = require("PIL.Image", "images").fromarray(scaled)
    elif image.has_transparency_data:
        pillow = require("PIL.Image", "images")
        opaque = image.convert("RGBA")
        image = pillow.alpha_composite(pillow.new("RGBA", opaque.size, (255, 255, 255, 255)), opaque)
    return image if image.mode == "RGB" else image.convert("RGB")


def _upright(image: "Image") -> "Image":
    """Apply the EXIF orientation; an EXIF block that does not parse counts as none."""
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # a damaged EXIF block can raise anything, and the pixels may still be good
        return image
    if orientation == 1:
        return image
    upright: Image = require("PIL.ImageOps", "images").exif_transpose(image)
    return upright


class LazyImages(Sequence["Image"]):
    """A sequence of RGB images that decodes on access; a subclass implements `decode` for one position."""

    def __len__(self) -> int:
        raise NotImplementedError

    def decode(self, position: int) -> "Image":
        """Decode the image at `position` (0 <= position < len) as RGB."""
        raise NotImplementedError

    def describe(self, position: int) -> str:
        """Name the image at `position` for messages: its file and, in a table, its row."""
        raise NotImplementedError

    def select(self, positions: NDArray[np.int64]) -> "LazyImages":
        """Return the images at these positions, still lazy."""
        raise NotImplementedError

    def fingerprint(self) -> str:
        """Return a digest that changes when an image, or the order of the images, changes."""
        raise NotImplementedError

    @overload
    def __getitem__(self, index: int) -> "Image": ...
    @overload
    def __getitem__(self, index: slice) -> "LazyImages": ...
    def __getitem__(self, index: int | slice) -> "Image | LazyImages":
        if isinstance(index, slice):
            return self.select(np.arange(len(self), dtype=np.int64)[index])
        position = int(index) + len(self) if index < 0 else int(index)
        if not 0 <= position < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        try:
            return self.decode(position)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{self.describe(position)} does not exist") from error
        except MissingDependencyError as error:
            raise MissingDependencyError(f"{self.describe(position)}: {error}") from error
        except (MemoryError, RecursionError):
            raise
        except Exception as error:  # a damaged file can make Pillow raise anything
            if isinstance(error, OSError) and error.errno is not None and not isinstance(error, PermissionError):
                raise  # too many open files, a failing disk: the image itself may be good
            raise BrokenImageError(
                f"{self.describe(position)} does not decode as an image ({error or type(error).__name__}); replace it, "
                "or leave such images out with skip_broken=True"
            ) from error


class EncodedImages(LazyImages):
    """Images as the bytes of JPEG, PNG or other files, for instance a column of a Parquet table.

    Parameters
    ----------
    encoded : pyarrow.BinaryArray or list of bytes
        The content of one file an entry.
    names : list of str
        The name of each entry in messages.
    """

    def __init__(self, encoded: Any, names: Sequence[str]) -> None:
        self.encoded = encoded
        self.names = names

    def __len__(self) -> int:
        return len(self.encoded)

    def encoded_bytes(self, position: int) -> bytes:
        """Return the bytes of the file at `position`."""
        entry = self.encoded[position]
        data = entry if isinstance(entry, bytes) else entry.as_py()
        if data is None:
            raise ValueError("no bytes")
        return bytes(data)

    def decode(self, position: int) -> "Image":
        """Decode the bytes at `position`."""
        return read_image(self.encoded_bytes(position))

    def describe(self, position: int) -> str:
        """Name the row."""
        return self.names[position]

    def select(self, positions: NDArray[np.int64]) -> "EncodedImages":
        """Keep these rows."""
        encoded = [self.encoded[i] for i in positions.tolist()]
        return EncodedImages(encoded, [self.names[i] for i in positions.tolist()])

    def digests(self) -> list[bytes]:
        """Return the SHA-256 of every file."""
        return [hashlib.sha256(data or b"").digest() for data in _as_bytes(self.encoded)]

    def fingerprint(self) -> str:
        """Digest of all bytes in order."""
        return _short_digest(self.digests())


def _as_bytes(encoded: Any) -> list[bytes | None]:
    """Return a pyarrow array, or a list of its scalars or of bytes, as a list of bytes."""
    if hasattr(encoded, "to_pylist"):
        return list(encoded.to_pylist())
    return [entry if isinstance(entry, bytes) else entry.as_py() for entry in encoded]


class FileImages(LazyImages):
    """Image files.

    Parameters
    ----------
    root : path
        The folder that the paths are relative to.
    paths : list of str
        One path an entry.
    """

    def __init__(self, root: Path, paths: Sequence[str]) -> None:
        self.root = root
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def decode(self, position: int) -> "Image":
        """Decode the file at `position`."""
        return read_image(self.root / self.paths[position])

    def describe(self, position: int) -> str:
        """Name the file."""
        return str(self.root / self.paths[position])

    def select(self, positions: NDArray[np.int64]) -> "FileImages":
        """Keep these files."""
        return FileImages(self.root, [self.paths[i] for i in positions.tolist()])

    def fingerprint(self) -> str:
        """Digest of paths, sizes and modification times, in order: reading every file would take too long."""
        states = ((path, (self.root / path).stat()) for path in self.paths)
        return _short_digest([os.fsencode(path) + f"\0{s.st_size}\0{s.st_mtime_ns}\0".encode() for path, s in states])


class PixelImages(LazyImages):
    """Images as an array of pixels, uint8 (n, height, width, 3)."""

    def __init__(self, pixels: NDArray[np.uint8], name: str) -> None:
        self.pixels = pixels
        self.name = name

    def __len__(self) -> int:
        return len(self.pixels)

    def decode(self, position: int) -> "Image":
        """Wrap the pixels at `position`."""
        image: Image = require("PIL.Image", "images").fromarray(self.pixels[position])
        return image

    def describe(self, position: int) -> str:
        """Name the row."""
        return f"{self.name}, image {position}"

    def select(self, positions: NDArray[np.int64]) -> "PixelImages":
        """Keep these images."""
        return PixelImages(self.pixels[positions], self.name)

    def digests(self) -> list[bytes]:
        """Return the SHA-256 of the pixels of every image."""
        return [hashlib.sha256(np.ascontiguousarray(image).tobytes()).digest() for image in self.pixels]

    def fingerprint(self) -> str:
        """Digest of all pixels in order."""
        return _short_digest(self.digests())


def _short_digest(parts: Sequence[bytes]) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]
