"""Lazy sequences of images: encoded bytes, files, or pixels; decoded when asked for."""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from h2q.errors import require

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["BrokenImageError", "EncodedImages", "FileImages", "LazyImages", "PixelImages"]


class BrokenImageError(ValueError):
    """An image does not decode; the message names its file."""


class LazyImages(Sequence["Image"]):
    """A sequence of RGB images that decodes on access; a subclass says how to decode the image at one position."""

    def __len__(self) -> int:
        raise NotImplementedError

    def decode(self, position: int) -> "Image":
        """Decode the image at `position` (0 <= position < len) as RGB."""
        raise NotImplementedError

    def describe(self, position: int) -> str:
        """Name the image at `position` for people: its file and, in a table, its row."""
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
        except (OSError, ValueError, SyntaxError) as error:  # what PIL raises for files that are truncated or no images
            raise BrokenImageError(
                f"{self.describe(position)} does not decode as an image ({error}); replace it, or leave such images "
                "out with skip_broken=True (--skip-broken)"
            ) from error


class EncodedImages(LazyImages):
    """Images as the bytes of JPEG, PNG or other files, for instance a column of a Parquet table.

    Parameters
    ----------
    encoded : pyarrow.BinaryArray or list of bytes
        One file an entry.
    names : list of str
        What to call each in errors.
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
        image: Image = require("PIL.Image", "images").open(io.BytesIO(self.encoded_bytes(position)))
        return image.convert("RGB")

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
    """Images in files of their own.

    Parameters
    ----------
    root : path
        The folder that the paths are relative to.
    paths : list of str
        One file an entry.
    """

    def __init__(self, root: Path, paths: Sequence[str]) -> None:
        self.root = root
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    def decode(self, position: int) -> "Image":
        """Decode the file at `position`."""
        with require("PIL.Image", "images").open(self.root / self.paths[position]) as image:
            converted: Image = image.convert("RGB")
            return converted

    def describe(self, position: int) -> str:
        """Name the file."""
        return str(self.root / self.paths[position])

    def select(self, positions: NDArray[np.int64]) -> "FileImages":
        """Keep these files."""
        return FileImages(self.root, [self.paths[i] for i in positions.tolist()])

    def fingerprint(self) -> str:
        """Digest of names, sizes and times of change, in order: reading every file would take too long."""
        states = ((path, (self.root / path).stat()) for path in self.paths)
        return _short_digest([f"{path}\0{s.st_size}\0{s.st_mtime_ns}\0".encode() for path, s in states])


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
