"""Pictures in terminals: what each protocol carries decodes to the picture again."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from h2q.cli.thumbnails import as_iterm, as_kitty, as_sixels, find_protocol

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8))


def pixels_of(content: str) -> list[object]:
    return list(np.asarray(Image.open(io.BytesIO(base64.b64decode(content)))).ravel())


def test_kitty_carries_the_picture_in_parts() -> None:
    parts = re.findall("\x1b_G([^;]*);([^\x1b]*)\x1b\\\\", as_kitty(PICTURE))
    assert [options.endswith("m=1") for options, _ in parts] == [True] * (len(parts) - 1) + [False]
    assert len(parts) > 1
    assert max(len(part) for _, part in parts) <= 4096
    assert pixels_of("".join(part for _, part in parts)) == list(np.asarray(PICTURE).ravel())


def test_iterm_carries_the_picture() -> None:
    (content,) = re.findall("\x1b]1337;File=inline=1;[^:]*:(.*)\a", as_iterm(PICTURE))
    assert pixels_of(content) == list(np.asarray(PICTURE).ravel())


@pytest.mark.parametrize("size", [(70, 50), (5, 6), (1, 1)])
def test_sixels_carry_the_picture(size: tuple[int, int]) -> None:
    picture = PICTURE.resize(size).quantize(64).convert("RGB")
    text = as_sixels(picture)
    header = re.match(r'\x1bPq"1;1;(\d+);(\d+)', text)
    assert header is not None
    width, height = map(int, header.groups())
    assert (width, height) == size
    body = text[header.end() : -2]
    palette = {int(c): [int(part) for part in rgb.split(";")] for c, rgb in re.findall(r"#(\d+);2;([\d;]+)", body)}
    body = re.sub(r"#\d+;2;[\d;]+", "", body)
    shown = np.full((height, width, 3), -1)
    for number, band in enumerate(body.split("-")):
        for part in band.split("$"):
            color, signs = re.fullmatch(r"#(\d+)([?-~]*)", part).groups()  # type: ignore[union-attr]
            for x, sign in enumerate(signs):
                for bit in range(6):
                    if (ord(sign) - 63) >> bit & 1:
                        shown[6 * number + bit, x] = palette[int(color)]
    np.testing.assert_array_equal(shown, np.asarray(picture).astype(int) * 100 // 255)


def test_only_terminals_that_are_known_to_show_pictures_get_them() -> None:
    assert find_protocol({"TERM": "xterm-kitty"}) is as_kitty
    assert find_protocol({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}) is as_iterm
    assert find_protocol({"TERM": "foot"}) is as_sixels
    for environment in (
        {},
        {"TERM": "xterm-256color"},
        {"TERM": "linux"},
        {"TERM": "tmux-256color", "TERM_PROGRAM": "WezTerm"},
        {"TERM": "xterm-kitty", "TMUX": "/tmp/tmux"},
    ):
        assert find_protocol(environment) is None
