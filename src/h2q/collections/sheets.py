"""A sheet of thumbnails: one HTML page that holds all it shows."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from h2q.datasets.images import BrokenImageError, FileImages
from h2q.files import atomic_path

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["read_thumbnail", "write_sheet"]

_SIDE = 320  # pixels; shown at half the size, so that they are sharp on any screen
_PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
  :root {{ color-scheme: light dark; font: 15px/1.4 system-ui, sans-serif; }}
  body {{ margin: 1.5rem; }}
  h1 {{ font-size: 1.2rem; font-weight: 600; overflow-wrap: anywhere; }}
  ol {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); gap: 1rem; padding: 0; }}
  li {{ list-style: none; overflow-wrap: anywhere; font-size: .85rem; }}
  img, .none {{ width: 100%; height: 10rem; object-fit: contain; background: #8882; border-radius: .4rem; }}
  .none {{ display: grid; place-items: center; }}
  .query img {{ width: 10rem; }}
  small {{ display: block; opacity: .7; font-variant-numeric: tabular-nums; }}
</style>
<h1>{title}</h1>
<p class="query">{query}</p>
<ol>
{items}
</ol>
</html>
"""


def write_sheet(sheet: Path, query: Path, pictures: Sequence[tuple[Path, float]]) -> None:
    """Write the result of a search as a page that loads nothing; each thumbnail links to its picture.

    Parameters
    ----------
    sheet : Path
        The page to write; its folder must exist.
    query : Path
        The picture that was searched for.
    pictures : sequence of (Path, float)
        The pictures with their distances, nearest first.

    Examples
    --------
    >>> import tempfile
    >>> from PIL import Image
    >>> folder = Path(tempfile.mkdtemp())
    >>> Image.new("RGB", (8, 8), "red").save(folder / "red.png")
    >>> write_sheet(folder / "sheet.html", folder / "red.png", [(folder / "red.png", 0.0)])
    >>> (folder / "sheet.html").read_text().count("data:image/jpeg")
    2
    """
    items = "\n".join(
        f"<li>{_thumbnail(path)}{_text(path.name)}<small>{distance:.3f}</small></li>" for path, distance in pictures
    )
    title = f"Pictures most like {_text(query.name)}"
    page = _PAGE.format(title=title, query=_thumbnail(query), items=items)
    with atomic_path(sheet) as temporary:
        temporary.write_text(page, encoding="utf-8")


def read_thumbnail(path: Path, side: int) -> "Image | None":
    """Return a picture of at most `side` pixels on each side, as RGB; None if it is gone or does not decode."""
    try:
        image = FileImages(path.parent, [path.name])[0].copy()
    except (BrokenImageError, OSError):
        return None
    image.thumbnail((side, side))
    return image


def _thumbnail(path: Path) -> str:
    image = read_thumbnail(path, _SIDE)
    if image is None:
        return '<span class="none">cannot be read</span>'
    content = io.BytesIO()
    image.save(content, "JPEG", quality=85)
    source = base64.b64encode(content.getvalue()).decode()
    address = html.escape(path.resolve().as_uri())
    return f'<a href="{address}"><img src="data:image/jpeg;base64,{source}" alt="{_text(path.name)}"></a>'


def _text(text: str) -> str:
    return html.escape(text.encode("utf-8", "replace").decode())
