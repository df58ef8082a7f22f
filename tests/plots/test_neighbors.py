"""The picture of queries and their neighbors."""

import numpy as np
import pytest
from PIL import Image

from h2q.plots import ImageRanking, draw_neighbors

GRAY = Image.new("RGB", (32, 32), "#808080")


def test_the_picture_marks_wrong_images_only() -> None:
    right = ImageRanking("sign", [[GRAY, GRAY], [GRAY, GRAY]], [[0, 0], [1, 1]])
    one_wrong = ImageRanking("H²Q", [[GRAY, GRAY], [GRAY, GRAY]], [[0, 0], [1, 0]])
    picture = draw_neighbors([GRAY, GRAY], [0, 1], [right, one_wrong], ["cat", "dog"], "title")
    pixels = np.asarray(picture.convert("RGB")).astype(int)
    red = (pixels == (0xD6, 0x33, 0x6C)).all(axis=2)
    gray = (pixels == 0x80).all(axis=2)
    assert gray.sum() == pytest.approx(10 * 64 * 64, rel=0.05)
    rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
    # The wrong image is the last of the last block, in the second row.
    assert np.ptp(rows) < 100
    assert np.ptp(columns) < 100
    assert rows.min() > pixels.shape[0] / 2
    assert columns.min() >= 0.75 * pixels.shape[1]


def test_the_picture_of_one_ranking_is_smaller() -> None:
    ranking = ImageRanking("sign", [[GRAY]], [[0]])
    sizes = [draw_neighbors([GRAY], [0], [ranking] * n, ["cat"], "title").size for n in (1, 2)]
    assert sizes[0][0] < sizes[1][0]
    assert sizes[0][1] == sizes[1][1]
