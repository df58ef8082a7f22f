"""A picture of queries with their nearest images, wrong ones marked."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.errors import require
from h2q.files import atomic_path

__all__ = ["PictureRow", "draw_neighbors", "one_query_a_class"]

_SIDE, _GAP, _CAPTION, _MARGIN, _TITLE = 96, 14, 24, 28, 92
_AFTER_QUERY = 36
_INK, _GRAY, _RIGHT, _WRONG, _PAPER = "#1b1b1b", "#6b6b6b", "#2b8a3e", "#d6336c", "#ffffff"
_FRAME, _CROSS = 5, 22


@dataclass(frozen=True)
class PictureRow:
    """A query and what it found, nearest first; images are PIL images."""

    query: Any
    label: int
    found: Sequence[Any]
    found_labels: Sequence[int]


def one_query_a_class(labels: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Return the first query of each class, at most n: nobody picked these.

    >>> one_query_a_class(np.array([2, 2, 0, 1, 0]), 2)
    array([2, 3])
    """
    _, first = np.unique(labels, return_index=True)
    return np.asarray(first[:n])


def draw_neighbors(path: Path, rows: Sequence[PictureRow], class_names: Sequence[str], title: str) -> None:
    """Draw a row for each query and write it as PNG, atomically.

    Parameters
    ----------
    path : path
        The picture.
    rows : sequence of PictureRow
        All with as many images.
    class_names : sequence of str
        By class id.
    title : str
        The line above.

    Raises
    ------
    MissingDependencyError
        Without Pillow.
    """
    require("PIL", "images")
    from PIL import Image, ImageDraw, ImageFont

    n_found = max(len(row.found) for row in rows)
    width = 2 * _MARGIN + (n_found + 1) * _SIDE + _AFTER_QUERY + (n_found - 1) * _GAP
    height = _TITLE + len(rows) * (_SIDE + _CAPTION + _GAP) + _MARGIN
    picture = Image.new("RGB", (width, height), _PAPER)
    pen = ImageDraw.Draw(picture)
    large, small = ImageFont.load_default(size=22), ImageFont.load_default(size=15)
    first = _MARGIN + _SIDE + _AFTER_QUERY

    def place(image: Any, x: int, y: int) -> None:
        enlarged = image.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BICUBIC)
        picture.paste(enlarged, (x, y))

    def caption(text: str, x: int, y: int, color: str) -> None:
        pen.text((x + _SIDE / 2, y + _SIDE + 4), text, fill=color, font=small, anchor="ma")

    # Pillow's own font has no raised two.
    pen.text((_MARGIN, 18), title.replace("²", "2"), fill=_INK, font=large)
    pen.text((_MARGIN, 56), "query", fill=_GRAY, font=small)
    wrong = sum(label != row.label for row in rows for label in row.found_labels)
    shown = sum(len(row.found_labels) for row in rows)
    counted = f"nearest first, left to right; {wrong} of {shown} are of another class, marked in red"
    pen.text((first, 56), counted, fill=_GRAY, font=small)
    for number, row in enumerate(rows):
        y = _TITLE + number * (_SIDE + _CAPTION + _GAP)
        place(row.query, _MARGIN, y)
        caption(class_names[row.label], _MARGIN, y, _INK)
        for rank, (image, label) in enumerate(zip(row.found, row.found_labels, strict=True)):
            x = first + rank * (_SIDE + _GAP)
            place(image, x, y)
            right = label == row.label
            box = (x - _FRAME, y - _FRAME, x + _SIDE + _FRAME - 1, y + _SIDE + _FRAME - 1)
            if not right:
                pen.rectangle(box, outline=_WRONG, width=_FRAME)
                cross = (x + _SIDE - _CROSS, y, x + _SIDE - 1, y + _CROSS - 1)
                pen.rectangle(cross, fill=_WRONG)
                left, top, end, bottom = (cross[0] + 6, cross[1] + 5, cross[2] - 5, cross[3] - 6)
                pen.line((left, top, end, bottom), fill=_PAPER, width=3)
                pen.line((left, bottom, end, top), fill=_PAPER, width=3)
            caption(class_names[label], x, y, _RIGHT if right else _WRONG)
    with atomic_path(path) as temporary:
        picture.save(temporary, format="PNG", optimize=True)
