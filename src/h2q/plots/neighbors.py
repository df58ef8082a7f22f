"""A picture of queries with their nearest images, wrong ones marked, for several rankings side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from h2q.errors import require
from h2q.plots.style import DARK, MIDDLE, RIGHT, WRONG

__all__ = ["ImageRanking", "draw_neighbors"]

_SIDE, _GAP, _CAPTION = 64, 12, 20  # pixels of an image, between images, and below each for its class
_MARGIN, _HEADER, _BLOCK_GAP = 28, 96, 40
_FRAME, _CROSS = 4, 18
_PAPER = "#ffffff"


@dataclass(frozen=True)
class ImageRanking:
    """The images that a search found, nearest first.

    Attributes
    ----------
    title : str
        Name of the ranking.
    images : sequence of sequence of PIL images
        For each query its images.
    labels : sequence of sequence of int
        Their classes.

    Examples
    --------
    >>> from PIL import Image
    >>> gray = Image.new("RGB", (32, 32), "#808080")
    >>> len(ImageRanking("sign", images=[[gray, gray]], labels=[[0, 1]]).images[0])
    2
    """

    title: str
    images: Sequence[Sequence[Any]]
    labels: Sequence[Sequence[int]]


def draw_neighbors(
    queries: Sequence[Any],
    query_labels: Sequence[int],
    rankings: Sequence[ImageRanking],
    class_names: Sequence[str],
    title: str,
) -> Any:
    """Draw a row for each query, and in it a block for each ranking.

    Parameters
    ----------
    queries : sequence of PIL images
        The queries.
    query_labels : sequence of int
        Their classes.
    rankings : sequence of ImageRanking
        All with as many images. The number of wrong ones stands above each block.
    class_names : sequence of str
        Name of each class.
    title : str
        The line above.

    Returns
    -------
    PIL.Image.Image

    Examples
    --------
    >>> from PIL import Image
    >>> gray = Image.new("RGB", (32, 32), "#808080")
    >>> ranking = ImageRanking("sign", [[gray, gray]], [[0, 1]])
    >>> draw_neighbors([gray], [0], [ranking], ["cat", "dog"], "Neighbors").size
    (300, 192)
    """
    require("PIL", "images")
    from PIL import Image

    n_shown = max(len(row) for ranking in rankings for row in ranking.images)
    block = n_shown * _SIDE + (n_shown - 1) * _GAP
    width = 2 * _MARGIN + _SIDE + len(rankings) * (_BLOCK_GAP + block)
    height = _HEADER + len(queries) * (_SIDE + _CAPTION + _GAP)
    page = _Page(Image.new("RGB", (width, height), _PAPER))
    page.text(_MARGIN, 16, title, DARK, large=True)
    page.text(_MARGIN, 64, "query", MIDDLE)
    for row, (image, label) in enumerate(zip(queries, query_labels, strict=True)):
        page.image(image, _MARGIN, _top(row), class_names[label], DARK)
    for number, ranking in enumerate(rankings):
        left = _MARGIN + _SIDE + _BLOCK_GAP + number * (block + _BLOCK_GAP)
        page.text(left, 64, f"{ranking.title}: {_count_wrong(ranking, query_labels)} are of another class (red)", DARK)
        for row, label in enumerate(query_labels):
            for rank, (image, other) in enumerate(zip(ranking.images[row], ranking.labels[row], strict=True)):
                x = left + rank * (_SIDE + _GAP)
                page.image(image, x, _top(row), class_names[other], RIGHT if other == label else WRONG)
                if other != label:
                    page.mark_wrong(x, _top(row))
    return page.picture


def _count_wrong(ranking: ImageRanking, query_labels: Sequence[int]) -> str:
    """Count the images of another class than their query.

    >>> _count_wrong(ImageRanking("", [[]], [[0, 1, 2]]), [1])
    '2 of 3'
    """
    wrong = [other != label for label, row in zip(query_labels, ranking.labels, strict=True) for other in row]
    return f"{sum(wrong)} of {len(wrong)}"


def _top(row: int) -> int:
    return _HEADER + row * (_SIDE + _CAPTION + _GAP)


class _Page:
    """A picture with text and images on it."""

    def __init__(self, picture: Any) -> None:
        from PIL import ImageDraw, ImageFont

        self.picture = picture
        self.pen = ImageDraw.Draw(picture)
        self.fonts = {large: ImageFont.load_default(size=22 if large else 14) for large in (True, False)}

    def text(self, x: int, y: int, text: str, color: str, *, large: bool = False) -> None:
        # Pillow's own font has no superscript two.
        self.pen.text((x, y), text.replace("²", "2"), fill=color, font=self.fonts[large])

    def image(self, image: Any, x: int, y: int, caption: str, color: str) -> None:
        from PIL import Image

        self.picture.paste(image.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BICUBIC), (x, y))
        center = (x + _SIDE / 2, y + _SIDE + 4)
        self.pen.text(center, caption, fill=color, font=self.fonts[False], anchor="ma")

    def mark_wrong(self, x: int, y: int) -> None:
        """Frame an image, with a cross in its corner: the mark shows without color, too."""
        box = (x - _FRAME, y - _FRAME, x + _SIDE + _FRAME - 1, y + _SIDE + _FRAME - 1)
        self.pen.rectangle(box, outline=WRONG, width=_FRAME)
        corner = (x + _SIDE - _CROSS, y, x + _SIDE - 1, y + _CROSS - 1)
        self.pen.rectangle(corner, fill=WRONG)
        left, top, right, bottom = (corner[0] + 5, corner[1] + 4, corner[2] - 4, corner[3] - 5)
        self.pen.line((left, top, right, bottom), fill=_PAPER, width=3)
        self.pen.line((left, bottom, right, top), fill=_PAPER, width=3)
