"""``h2q images``: search a folder of pictures by what they show."""

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
from h2q.cli.common import JsonOption, print_json, print_table

__all__ = ["duplicates", "index", "search"]

CollectionArgument = Annotated[Path, typer.Argument(metavar="COLLECTION", help="What h2q images index wrote.")]


def index(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of pictures, at any depth.")],
    output: CollectionOption,
    backbone: Annotated[
        str | None,
        typer.Option(help="Network, such as resnet50, dinov2-small. Default: efficientnet-lite0."),
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
    print_table(["picture", "distance"], [[on_one_line(name), f"{distance:.3f}"] for name, distance in pairs])


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
