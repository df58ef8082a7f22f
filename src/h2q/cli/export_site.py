"""``h2q export-site``: an index and its page as static files that search in the browser."""

from pathlib import Path
from typing import Annotated

import typer

from h2q.cli.collections import print_names
from h2q.cli.common import JsonOption, format_bytes, print_json

__all__ = ["export_site"]


def export_site(
    source: Annotated[Path, typer.Argument(metavar="INDEX", help="What h2q images index or h2q index build wrote.")],
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder to write; an earlier site is replaced.")],
    with_model: Annotated[
        bool, typer.Option("--with-model", help="Let visitors search by pictures of their own, in their browser.")
    ] = False,
    onnxruntime: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="Folder dist of the npm package onnxruntime-web, for --with-model."),
    ] = Path("node_modules/onnxruntime-web/dist"),
    with_comparison: Annotated[
        bool, typer.Option("--with-comparison", help="Compare quantizers on a sample of the items; takes minutes.")
    ] = False,
    thumbnail: Annotated[int, typer.Option(min=16, max=1024, help="Pixels of the longer side of thumbnails.")] = 160,
    as_json: JsonOption = False,
) -> None:
    """Write the page of an index as static files, which search in the browser with no server."""
    from h2q.web.site import export_site

    site = export_site(
        source,
        folder,
        onnxruntime=onnxruntime if with_model else None,
        thumbnail=thumbnail,
        comparison=with_comparison,
    )
    if as_json:
        print_json({"folder": folder, "items": site.items, "bytes": site.n_bytes, "missing": list(site.missing)})
        return
    print(f"{folder} holds a site of {site.items:,} items, {format_bytes(site.n_bytes)}")
    if site.missing:
        print(f"{len(site.missing):,} have no thumbnail, because their files are gone or do not decode:")
        print_names(site.missing)
    print(f"look at it: python -m http.server --directory {folder} --bind 127.0.0.1")
