"""``h2q embed``: images to embeddings in a file."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from h2q.cli.common import JsonOption, SeedOption, check_output, format_seconds, print_fields, print_json

if TYPE_CHECKING:
    from h2q.datasets import ImageDataset
    from h2q.datasets.images import FileImages

__all__ = ["embed"]


def embed(
    images: Annotated[
        str,
        typer.Argument(
            help="A data set's name (cifar10, nus-wide, coco, imagenet-100, digits), a folder with one sub-folder per "
            "class, a folder of images, or a list file."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="A .npy file for the embeddings; or .npz for them with labels, folds or paths."
        ),
    ],
    hasher: Annotated[
        Path | None, typer.Option(help="A hasher from h2q train: its embeddings instead of the backbone's features.")
    ] = None,
    backbone: Annotated[
        str, typer.Option(help="Network: efficientnet-lite0, alexnet, vgg16 or resnet50.")
    ] = "efficientnet-lite0",
    image_size: Annotated[int | None, typer.Option(min=1, help="Side in pixels that images are resized to.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of a data set that is called by its name.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch the data set if it is missing.")] = False,
    skip_broken: Annotated[bool, typer.Option("--skip-broken", help="Leave out images that do not decode.")] = False,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Turn images into embeddings with a frozen backbone or a trained hasher; features are computed once and cached."""
    import numpy as np

    from h2q.files import write_npy, write_npz

    check_output(output, ".npy", ".npz")
    began = time.perf_counter()
    dataset, unlabeled, n_skipped = _load(images, root, seed, skip_broken, download)
    source: Any = dataset or unlabeled
    if hasher is None:
        from h2q.similarity.features import extract_features

        key = None if unlabeled is None else unlabeled.fingerprint()
        embeddings = extract_features(source, backbone, image_size=image_size, cache_key=key)
    else:
        from h2q.hasher import ImageHasher

        embeddings = ImageHasher.load(hasher).embed(source)
    if output.suffix.lower() == ".npy":
        with write_npy(output, embeddings.shape, np.float32) as write:
            write(embeddings)
    elif dataset is not None:
        write_npz(output, embeddings=embeddings, labels=dataset.labels, **dataset.folds)
    else:
        write_npz(output, embeddings=embeddings, paths=np.array(source.paths))
    result = {
        "output": output,
        "images": len(embeddings),
        "dimensions": embeddings.shape[1],
        "skipped": n_skipped,
        "seconds": round(time.perf_counter() - began, 3),
    }
    if as_json:
        print_json(result)
    else:
        shown = {**result, "images": f"{len(embeddings):,}", "seconds": format_seconds(result["seconds"])}
        print_fields((name.replace("seconds", "time"), value) for name, value in shown.items() if value != 0)


def _load(
    images: str, root: Path | None, seed: int, skip_broken: bool, download: bool
) -> "tuple[ImageDataset | None, FileImages | None, int]":
    """Return a data set, or the images of a folder without sub-folders; and how many were left out."""
    from h2q.datasets import load_dataset
    from h2q.datasets.image_folder import SUFFIXES
    from h2q.datasets.list_files import find_lists
    from h2q.datasets.screening import screen_files

    folder = Path(images)
    if root is None and folder.is_dir() and not find_lists(folder):
        entries = sorted(folder.iterdir())
        names = [entry.name for entry in entries if entry.suffix.lower() in SUFFIXES and entry.is_file()]
        if names and not any(entry.is_dir() and not entry.name.startswith(".") for entry in entries):
            screened = screen_files(folder, names, skip_broken=skip_broken, listed_in=images)
            return None, screened.images, screened.n_skipped
    dataset = load_dataset(images, root, random_state=seed, skip_broken=skip_broken, download=download)
    return dataset, None, dataset.n_skipped
