"""Pictures from strangers, decoded with care; pictures of an indexed folder, opened without leaving it."""

import io
import os
import stat
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from h2q.datasets.images import to_rgb
from h2q.errors import require
from h2q.web.settings import Refusal

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["UPLOAD_FORMATS", "as_jpeg", "decode", "read_inside"]

UPLOAD_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
_MAX_FILE = 256 << 20


@contextmanager
def _opened(content: bytes, max_pixels: int, formats: Sequence[str] | None) -> Iterator["Image"]:
    """Open a picture, whose pixels are not decoded yet; refuse what is none, or too large."""
    pillow = require("PIL.Image", "images")
    try:
        with warnings.catch_warnings():
            # Pillow warns of large pictures and refuses larger ones; the limit here is the server's.
            warnings.simplefilter("ignore", pillow.DecompressionBombWarning)
            image = pillow.open(io.BytesIO(content), formats=formats)
    except pillow.DecompressionBombError as error:
        raise Refusal(413, f"the picture has too many pixels; at most {max_pixels:,} are taken") from error
    except pillow.UnidentifiedImageError as error:
        expected = ", ".join(formats or ("a picture",))
        raise Refusal(415, f"the bytes are no picture of a known kind; expected {expected}") from error
    except Exception as error:  # a damaged header can make Pillow raise anything
        raise Refusal(400, "the picture does not decode") from error
    with image:
        if image.width * image.height > max_pixels:
            raise Refusal(
                413, f"the picture has {image.width:,} x {image.height:,} pixels; at most {max_pixels:,} are taken"
            )
        try:
            yield image
        except (MemoryError, Refusal):
            raise
        except Exception as error:  # and so can a damaged body
            raise Refusal(400, "the picture does not decode") from error


def decode(content: bytes, max_pixels: int, formats: Sequence[str] | None = UPLOAD_FORMATS) -> "Image":
    """Decode the bytes of a picture as RGB.

    Parameters
    ----------
    content : bytes
        The file.
    max_pixels : int
        Largest width times height.
    formats : sequence of str, optional
        Kinds of files by their names in Pillow. None: all that Pillow knows.

    Raises
    ------
    Refusal
        If it is of another kind (415), too large (413), or does not decode (400).
    """
    with _opened(content, max_pixels, formats) as image:
        image.load()
        return to_rgb(image)


def as_jpeg(content: bytes, max_pixels: int, longest_side: int) -> bytes:
    """Return a picture as a JPEG of at most this many pixels on its longest side, without metadata such as places.

    Raises
    ------
    Refusal
        See `decode`; all kinds of files that Pillow knows are taken.
    """
    with _opened(content, max_pixels, None) as image:
        image.draft("RGB", (longest_side, longest_side))  # a JPEG is decoded at a fraction of its size
        picture = to_rgb(image)
        picture.thumbnail((longest_side, longest_side))
        output = io.BytesIO()
        # A new picture of the same pixels: what the file said beside them does not come along.
        clean = require("PIL.Image", "images").new("RGB", picture.size)
        clean.paste(picture)
        clean.save(output, "JPEG", quality=85)
    return output.getvalue()


@contextmanager
def _inside(folder: Path, name: str) -> Iterator[int]:
    """Open a file below a folder, one step at a time and through no link, so that nothing outside can be reached."""
    parts = PurePosixPath(name).parts
    if not parts or any(part in ("..", "/") for part in parts):
        raise OSError(f"{name} is no path below the folder")
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for number, part in enumerate(parts, 1):
            # O_NONBLOCK: a pipe of that name would wait for a writer.
            kind = os.O_DIRECTORY if number < len(parts) else os.O_NONBLOCK
            inner = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | kind, dir_fd=place)
            os.close(place)
            place = inner
        yield place
    finally:
        os.close(place)


def read_inside(folder: Path, name: str) -> bytes:
    """Return the bytes of a regular file below a folder.

    Parameters
    ----------
    folder : path
        The folder.
    name : str
        Relative path, as an index holds it. No part of it may be a link or ``..``.

    Raises
    ------
    Refusal
        If there is no such file any more (404), or it is larger than 256 MiB (413).
    """
    try:
        with _inside(folder, name) as number:
            status = os.fstat(number)
            if not stat.S_ISREG(status.st_mode):
                raise OSError("not a regular file")
            if status.st_size > _MAX_FILE:
                raise Refusal(413, "the file of this item is too large to be shown")
            with os.fdopen(os.dup(number), "rb") as file:
                return file.read(_MAX_FILE)
    except (OSError, ValueError) as error:  # ValueError: a null character
        raise Refusal(404, "the file of this item is no longer in the folder that was indexed") from error
