"""``h2q images``: search a folder of pictures by what they show."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from h2q.cli.collections import (
    CollectionOption,
    CountOption,
    KeepOption,
    RadiusOption,
    on_one_line,
    print_duplicates,
    update_collection,
)
from h2q.cli.common import JsonOption, check_output, print_json, refuse_overwriting
from h2q.cli.thumbnails import print_thumbnail, shows_pictures

__all__ = ["duplicates", "index", "search"]

_SHEET = "search.html"
CollectionArgument = Annotated[Path, typer.Argument(metavar="COLLECTION", help="What h2q images index wrote.")]


def index(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of pictures, at any depth.")],
    output: CollectionOption,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="Network, such as resnet50; folder of a trained hasher; or a sentence-transformers model that takes "
            "images. Default: efficientnet-lite0."
        ),
    ] = None,
    image_size: Annotated[int | None, typer.Option(min=1, help="Side in pixels that pictures are resized to.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Index a folder of pictures; the next time, only what is new, changed or gone."""
    if not folder.is_dir():
        raise typer.BadParameter(f"{folder} is not a folder", param_hint="FOLDER")
    from h2q.collections import PictureCollection

    collection = PictureCollection(output, folder, backbone=backbone, image_size=image_size)
    update_collection(collection, as_json=as_json)


def search(
    path: CollectionArgument,
    picture: Annotated[Path, typer.Argument(metavar="PICTURE", help="Picture to search for, from anywhere.")],
    k: CountOption = 10,
    where: Annotated[
        str | None, typer.Option(help="Only pictures that fulfil a condition: \"modified >= '2024-05-01'\".")
    ] = None,
    open_sheet: Annotated[
        bool, typer.Option("--open", help="Write a sheet of thumbnails, an HTML page, and show it in the browser.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The sheet to write. Default: search.html in the collection.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Find the pictures most like one; the distance is 1 - cosine of the network's features."""
    if output is not None:
        check_output(output, ".html", ".htm")
        refuse_overwriting(output, picture)
    from h2q.collections import PictureCollection

    collection = PictureCollection.open(path)
    neighbors = collection.search(picture, k, where=where)
    pictures = [(collection.folder / item.id, item.distance) for item in neighbors[0]]
    sheet = path / _SHEET if output is None and open_sheet else output
    if sheet is not None:
        _write_sheet(sheet, picture, pictures, show=open_sheet and sys.stdout.isatty())
    if as_json:
        paths, distances = [name for name, _ in pictures], [distance for _, distance in pictures]
        sheet_key = {} if sheet is None else {"sheet": sheet}
        print_json({"picture": picture, "paths": paths, "distances": distances, **sheet_key})
        return
    thumbnails = shows_pictures()
    for name, distance in pictures:  # in lines: a table would cut paths to the width of the terminal
        if thumbnails:
            print_thumbnail(name)
        print(f"{distance:.3f}  {on_one_line(str(name))}")
    if sheet is not None:
        print(f"{sheet} shows them")


def _write_sheet(sheet: Path, picture: Path, pictures: list[tuple[Path, float]], *, show: bool) -> None:
    from h2q.collections import write_sheet

    write_sheet(sheet, picture, pictures)
    if show:
        import webbrowser

        webbrowser.open(sheet.resolve().as_uri())


def duplicates(
    path: CollectionArgument, radius: RadiusOption = None, keep: KeepOption = None, as_json: JsonOption = False
) -> None:
    """Group pictures that are nearly the same."""
    from h2q.collections import PictureCollection

    collection = PictureCollection.open(path)
    print_duplicates(
        collection,
        radius,
        keep,
        lambda paths: [str(collection.folder / name) for name in paths],
        key="paths",
        as_json=as_json,
    )
