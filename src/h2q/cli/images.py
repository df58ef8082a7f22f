"""``h2q images``: search a folder of pictures by what they show."""

import time
from pathlib import Path
from typing import Annotated

import typer

from h2q.cli.common import JsonOption, format_seconds, print_json, print_paragraph, print_table

__all__ = ["duplicates", "index", "search"]

_NAMES_SHOWN = 20
CollectionArgument = Annotated[Path, typer.Argument(metavar="COLLECTION", help="What h2q images index wrote.")]


def index(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of pictures, at any depth.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Collection to write or to bring up to date.")],
    backbone: Annotated[
        str, typer.Option(help="Network, such as efficientnet-lite0, resnet50, dinov2-small.")
    ] = "efficientnet-lite0",
    image_size: Annotated[int | None, typer.Option(min=1, help="Side in pixels that pictures are resized to.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Index a folder of pictures; the next time, only what is new, changed or gone."""
    from h2q.collections import PictureCollection

    if not folder.is_dir():
        raise typer.BadParameter(f"{folder} is not a folder", param_hint="FOLDER")
    began = time.perf_counter()
    collection = PictureCollection(output, folder, backbone=backbone, image_size=image_size)
    update = collection.update()
    total, seconds = len(collection.index or ()), time.perf_counter() - began
    if as_json:
        counts = {name: getattr(update, name) for name in ("added", "changed", "removed", "kept")}
        unreadable = list(update.unreadable)
        print_json({"collection": output, **counts, "pictures": total, "unreadable": unreadable, "seconds": seconds})
        return
    print(
        f"{update.added:,} new, {update.changed:,} changed, {update.removed:,} gone, {update.kept:,} as before, in "
        f"{format_seconds(seconds)}"
    )
    print(f"{output} holds {total:,} pictures")
    if update.unreadable:
        more = len(update.unreadable) - _NAMES_SHOWN
        print(f"{len(update.unreadable):,} could not be read:")
        for name in update.unreadable[:_NAMES_SHOWN]:
            print(f"  {name}")
        if more > 0:
            print(f"  and {more:,} more (--json lists them)")


def search(
    path: CollectionArgument,
    picture: Annotated[Path, typer.Argument(metavar="PICTURE", help="Picture to search for, from anywhere.")],
    k: Annotated[int, typer.Option("-k", min=1, help="Number of pictures.")] = 10,
    where: Annotated[
        str | None, typer.Option(help="Only pictures that fulfil a condition: \"modified >= '2024-05-01'\".")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Find the pictures most like one; the distance is 1 - cosine of the network's features."""
    from h2q.collections import PictureCollection

    collection = PictureCollection.open(path)
    neighbors = collection.search(picture, k, where=where)
    pairs = [(str(collection.folder / item.id), item.distance) for item in neighbors[0]]
    if as_json:
        paths, distances = [name for name, _ in pairs], [distance for _, distance in pairs]
        print_json({"picture": picture, "paths": paths, "distances": distances})
        return
    print_table(["picture", "distance"], [[name, f"{distance:.3f}"] for name, distance in pairs])


def duplicates(
    path: CollectionArgument,
    radius: Annotated[int, typer.Option(min=0, help="Largest distance of a pair, in bits of the code.")] = 8,
    keep: Annotated[
        str | None, typer.Option(help="best: name in each group the one to keep. Nothing is ever deleted.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Group pictures that are nearly the same."""
    from h2q.collections import PictureCollection, find_duplicates

    if keep not in (None, "best"):
        raise typer.BadParameter(f"expected best; got {keep}", param_hint="--keep")
    collection = PictureCollection.open(path)
    if collection.index is None:
        raise ValueError(f"{path} holds no pictures yet")
    groups = find_duplicates(collection.index, radius)
    if as_json:
        print_json({"groups": [{"paths": group.paths, "distance": group.distance} for group in groups]})
        return
    for group in groups:
        for number, name in enumerate(group.paths):
            mark = "" if keep is None else "keep  " if number == 0 else "      "
            print(f"{mark}{collection.folder / name}")
        print()
    spare = sum(len(group.paths) - 1 for group in groups)
    print_paragraph(f"{len(groups):,} groups within {radius} bits, {spare:,} pictures more than one of each")
