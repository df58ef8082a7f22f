"""An index as static files: the page of `h2q serve` searches them in the browser, with no server.

index.html, page/        the page
data/info.json           description of the index; also marks the folder as an exported site
data/codes.bin           packed codes, one after another; the lower row wins ties
data/items.json          ids, metadata by column, texts
data/signs.bin           codes by plain signs, for the view Why
data/comparison.json     quantizers on a sample of the items
thumbnails/000/          small JPEGs, a thousand a folder
data/model.onnx          the network with the rotation folded in
onnxruntime/             onnxruntime-web, which runs it
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from h2q.checks import bytes_per_code
from h2q.errors import FileFormatError
from h2q.files import atomic_folder, read_json, write_json
from h2q.progress import progress_bar
from h2q.web.comparing import MIN_ITEMS, compare_on_sample
from h2q.web.contents import Contents, open_contents
from h2q.web.pictures import as_jpeg
from h2q.web.searching import plain, shown_columns
from h2q.web.settings import Refusal, Settings
from h2q.web.site_model import SiteModel, prepare_model
from h2q.web.why import sign_quantizer

__all__ = ["ExportedSite", "export_site"]

_KIND = "h2q site"
_TOP = {"index.html", "page", "data", "thumbnails", "onnxruntime"}
_PER_FOLDER = 1_000  # thumbnails; the page has the same number
_ROWS = 4_096
_MAX_NUMBER = 2**53  # JavaScript rounds larger whole numbers


@dataclass(frozen=True)
class ExportedSite:
    """Result of `export_site`.

    Attributes
    ----------
    path : Path
        The folder.
    items : int
        Items of the index.
    n_bytes : int
        Size of all files.
    missing : tuple of str
        Items without a thumbnail, because their pictures are gone or do not decode.
    """

    path: Path
    items: int
    n_bytes: int
    missing: tuple[str, ...]


def export_site(
    source: Path,
    folder: Path,
    *,
    onnxruntime: Path | None = None,
    thumbnail: int = 160,
    comparison: bool = False,
    progress: bool = True,
) -> ExportedSite:
    """Write the page and an index as static files, atomically; an earlier export in the folder is replaced.

    Parameters
    ----------
    source : path
        What ``h2q images index`` or ``h2q index build`` wrote.
    folder : path
        The folder to write.
    onnxruntime : path, optional
        The folder ``dist`` of the npm package onnxruntime-web. With it, the network that embeds the pictures is a part
        of the site, so that a picture can be the query; the picture does not leave the visitor's machine.
    thumbnail : int
        Pixels of the longer side of thumbnails.
    comparison : bool
        Whether to compare quantizers on a sample of the items, which takes minutes.
    progress : bool
        Whether to show a progress bar on a terminal.

    Raises
    ------
    FileExistsError
        If the folder holds other files.
    FileNotFoundError, FileFormatError
        If `source` is no index, or `onnxruntime` lacks a file.
    ValueError
        If no network can be a part of the site.
    """
    _refuse_other_files(folder)
    contents = open_contents(source)
    model = None if onnxruntime is None else prepare_model(contents, onnxruntime)
    with atomic_folder(folder) as temporary:
        missing = _write(contents, temporary, model, thumbnail, comparison, progress)
        n_bytes = sum(file.stat().st_size for file in temporary.rglob("*") if file.is_file())
    return ExportedSite(folder, len(contents.index), n_bytes, missing)


def _refuse_other_files(folder: Path) -> None:
    """Raise unless the folder is absent, empty or an earlier site."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise FileExistsError(f"{folder} is no folder; choose another name")
    names = {file.name for file in folder.iterdir()} if folder.is_dir() else set()
    if not names:
        return
    try:
        is_site = read_json(folder / "data" / "info.json").get("export") == _KIND
    except (OSError, FileFormatError, AttributeError):
        is_site = False
    others = sorted(names - _TOP) if is_site else sorted(names)
    if others:
        raise FileExistsError(f"{folder} holds other files ({', '.join(others[:3])}); choose an empty folder")


def _write(
    contents: Contents, folder: Path, model: SiteModel | None, thumbnail: int, comparison: bool, progress: bool
) -> tuple[str, ...]:
    """Write all files; return the items without a thumbnail."""
    index, data = contents.index, folder / "data"
    data.mkdir()
    views = []
    ids = index.ids
    ids = ids[np.argsort(index.tie_order(ids))]
    (data / "codes.bin").write_bytes(index.codes(ids).tobytes())
    # Without spaces: the browser loads this file before it shows anything.
    items = json.dumps(_items(contents, ids), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    (data / "items.json").write_text(items, encoding="utf-8")
    if index.keeps_embeddings and len(ids):
        signs = sign_quantizer(index)
        parts = (index.embeddings(ids[start : start + _ROWS]) for start in range(0, len(ids), _ROWS))
        (data / "signs.bin").write_bytes(b"".join(signs.encode(part).tobytes() for part in parts))
        views.append("why")
        if model is not None:
            model.write(folder, [index.quantizer, signs])
    if comparison and index.keeps_embeddings and len(ids) >= MIN_ITEMS:
        write_json(data / "comparison.json", compare_on_sample(index))
        views.append("comparison")
    missing = _write_thumbnails(contents, folder / "thumbnails", ids.tolist(), thumbnail, progress)
    write_json(data / "info.json", _describe(contents, views, model))
    _write_page(folder)
    return missing


def _items(contents: Contents, ids: Any) -> dict[str, Any]:
    """Return ids, metadata and texts, row by row."""
    index = contents.index
    names = list(shown_columns(index))
    columns = index.metadata(ids, names).to_pydict() if names else {}
    texts = [contents.text(item) for item in ids.tolist()] if contents.kind == "texts" else None
    metadata = {name: [plain(value) for value in values] for name, values in columns.items()}
    exact = [item if isinstance(item, str) or item <= _MAX_NUMBER else str(item) for item in ids.tolist()]
    return {"ids": exact, "metadata": metadata, "texts": texts}


def _describe(contents: Contents, views: Sequence[str], model: SiteModel | None) -> dict[str, Any]:
    """Return the fields of /api/info that a static site has, and the views and the network of the site."""
    limits = Settings()
    return {
        **contents.describe(),
        "export": _KIND,
        "bytes_per_item": bytes_per_code(contents.index.n_bits),
        "scorings": ["hamming"],
        "accepts": ["id", "code", *([] if model is None else ["image"])],
        "keeps_embeddings": False,
        "max_upload_bytes": limits.max_upload_bytes,
        "max_k": limits.max_k,
        "views": list(views),
        "model": None if model is None else model.describe(),
    }


def _write_thumbnails(
    contents: Contents, folder: Path, ids: Sequence[str | int], longest_side: int, progress: bool
) -> tuple[str, ...]:
    """Write a JPEG for each picture; return the items that have none."""
    if contents.kind != "pictures":
        return ()
    missing = []
    with progress_bar("thumbnails", len(ids), enabled=progress) as advance:
        for row, item in enumerate(ids):
            part = folder / f"{row // _PER_FOLDER:03d}"
            if row % _PER_FOLDER == 0:
                part.mkdir(parents=True)
            try:
                content = as_jpeg(contents.picture(item), Settings.max_pixels, longest_side)
                (part / f"{row:06d}.jpg").write_bytes(content)
            except Refusal:
                missing.append(str(item))
            advance(1)
    return tuple(missing)


def _write_page(folder: Path) -> None:
    """Copy the page; data-source tells it to read files in place of the API."""
    page = files("h2q.web") / "page"
    (folder / "page").mkdir()
    for file in page.iterdir():
        if file.name == "index.html":
            text = file.read_text(encoding="utf-8")
            (folder / file.name).write_text(
                text.replace('data-source="server"', 'data-source="site"'), encoding="utf-8"
            )
        else:
            (folder / "page" / file.name).write_bytes(file.read_bytes())
