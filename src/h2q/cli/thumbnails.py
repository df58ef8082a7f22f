"""Small pictures in terminals that can show them: the protocols of kitty, of iTerm2, and sixels."""

import base64
import io
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

_SIDE = 96  # pixels
_ROWS = 5  # of text
_CHUNK = 4096  # bytes that kitty takes at once
_BAND = 6  # rows of pixels in a sixel
_COLORS = 64


def shows_pictures() -> bool:
    """Return whether standard output is a terminal that is known to show pictures."""
    return sys.stdout.isatty() and find_protocol(os.environ) is not None


def print_thumbnail(path: Path) -> None:
    """Show a picture in a terminal that can; nothing where it does not decode."""
    from h2q.collections.sheets import read_thumbnail

    encode, image = find_protocol(os.environ), read_thumbnail(path, _SIDE)
    if encode is not None and image is not None:
        print(encode(image))


def find_protocol(environment: Mapping[str, str]) -> "Callable[[Image], str] | None":
    """Return the function that encodes pictures for a terminal, None unless it is known to show them.

    Multiplexers, which would have to pass the pictures on, count as terminals that show none.

    Examples
    --------
    >>> find_protocol({"TERM": "xterm-kitty"}).__name__, find_protocol({"TERM": "xterm-256color"})
    ('as_kitty', None)
    """
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if term.startswith(("screen", "tmux", "dumb")) or "TMUX" in environment or "STY" in environment:
        return None
    if term in ("xterm-kitty", "xterm-ghostty") or program == "ghostty":
        return as_kitty
    if program in ("iTerm.app", "WezTerm"):
        return as_iterm
    return as_sixels if term.startswith(("foot", "mlterm")) else None


def as_kitty(image: "Image") -> str:
    """Return a picture in kitty's graphics protocol: PNG in base64, in parts."""
    content = base64.b64encode(_as_png(image)).decode()
    parts = [content[start : start + _CHUNK] for start in range(0, len(content), _CHUNK)]
    commands = []
    for number, part in enumerate(parts):
        first = f"f=100,a=T,r={_ROWS}," if number == 0 else ""
        commands.append(f"\x1b_G{first}m={int(number < len(parts) - 1)};{part}\x1b\\")
    return "".join(commands)


def as_iterm(image: "Image") -> str:
    """Return a picture in iTerm2's protocol: PNG in base64."""
    content = _as_png(image)
    options = f"inline=1;height={_ROWS};size={len(content)}"
    return f"\x1b]1337;File={options}:{base64.b64encode(content).decode()}\a"


def as_sixels(image: "Image") -> str:
    """Return a picture as sixels: bands of six rows, and in each a pass over the columns for each color."""
    import numpy as np

    paletted = image.quantize(_COLORS)
    pixels, palette = np.asarray(paletted), np.array(paletted.getpalette() or [], np.int64).reshape(-1, 3)
    height, width = pixels.shape
    used = np.unique(pixels).tolist()
    colors = "".join(
        f"#{color};2;{red};{green};{blue}"
        for color, (red, green, blue) in zip(used, (palette[used] * 100 // 255).tolist(), strict=True)
    )
    bands = []
    for top in range(0, height, _BAND):
        band = pixels[top : top + _BAND]
        weights = 1 << np.arange(len(band))
        passes = []
        for color in np.unique(band).tolist():
            signs = 63 + (weights[:, None] * (band == color)).sum(axis=0)
            passes.append(f"#{color}" + bytes(signs.tolist()).decode())
        bands.append("$".join(passes))
    return f'\x1bPq"1;1;{width};{height}{colors}{"-".join(bands)}\x1b\\'


def _as_png(image: "Image") -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()
