"""``h2q embed``: images to embeddings in a file."""

import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from h2q.cli.common import (
    DataOption,
    JsonOption,
    SeedOption,
    check_output,
    format_seconds,
    parse_options,
    print_fields,
    print_json,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from h2q.datasets import ImageDataset
    from h2q.datasets.images import FileImages

__all__ = ["embed"]

_NAMES_SHOWN = 5


def embed(
    images: Annotated[
        str,
        typer.Argument(
            help="A folder of images, at any depth; an image; a list file; or a data set's name, such as cifar10."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="A .npy file for the embeddings; or .npz for them with paths, labels and folds."
        ),
    ],
    hasher: Annotated[
        Path | None, typer.Option(help="A hasher from h2q train: its embeddings instead of the backbone's features.")
    ] = None,
    backbone: Annotated[
        str, typer.Option(help="Network, such as efficientnet-lite0, resnet50, vit-b16, dinov2-small.")
    ] = "efficientnet-lite0",
    image_size: Annotated[int | None, typer.Option(min=1, help="Side in pixels that images are resized to.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of a data set that is given by its name.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch the data set if it is missing.")] = False,
    skip_broken: Annotated[bool, typer.Option("--skip-broken", help="Leave out images that do not decode.")] = False,
    data_option: DataOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Turn images into embeddings with a frozen backbone or a trained hasher; features are computed once and cached."""
    check_output(output, ".npy", ".npz")
    began = time.perf_counter()
    options = parse_options(data_option, "--data-option")
    inputs = _load(images, root, download, {"random_state": seed, "skip_broken": skip_broken, **options})
    embeddings = _embed(inputs, hasher, backbone, image_size)
    arrays = {"embeddings": embeddings, **(inputs.arrays if output.suffix.lower() == ".npz" else {})}
    _write(output, arrays)
    result = {
        "output": output,
        "images": len(embeddings),
        "dimensions": embeddings.shape[1],
        "arrays": list(arrays),
        "skipped": len(inputs.skipped),
        "skipped_files": inputs.skipped,
        "other_files": inputs.other_files,
        "seconds": round(time.perf_counter() - began, 3),
    }
    if as_json:
        print_json(result)
    else:
        _print_result(result)


def _embed(inputs: "_Inputs", hasher: Path | None, backbone: str, image_size: int | None) -> "NDArray[np.float32]":
    """Return the backbone's features, or the hasher's embeddings."""
    if hasher is not None:
        from h2q.hasher import ImageHasher

        return ImageHasher.load(hasher).embed(inputs.source)
    from h2q.similarity.features import extract_features

    return extract_features(inputs.source, backbone, image_size=image_size, cache_key=inputs.cache_key)


def _write(output: Path, arrays: dict[str, Any]) -> None:
    """Write the embeddings alone as .npy, or all arrays as .npz."""
    from h2q.files import write_npy, write_npz

    if output.suffix.lower() == ".npz":
        write_npz(output, **arrays)
        return
    embeddings = arrays["embeddings"]
    with write_npy(output, embeddings.shape, embeddings.dtype) as write:
        write(embeddings)


def _print_result(result: dict[str, Any]) -> None:
    fields = [
        ("output", result["output"]),
        ("images", f"{result['images']:,}"),
        ("dimensions", result["dimensions"]),
        ("arrays", ", ".join(result["arrays"])),
    ]
    if result["skipped"]:
        names = result["skipped_files"][:_NAMES_SHOWN]
        more = result["skipped"] - len(names)
        end = f" and {more:,} more (--json lists them)" if more else ""
        fields.append(("skipped", f"{result['skipped']:,}: {', '.join(names)}{end}"))
    if result["other_files"]:
        suffixes = Counter(Path(name).suffix.lower() or "no suffix" for name in result["other_files"])
        counts = ", ".join(f"{suffix} {count:,}" for suffix, count in suffixes.most_common(_NAMES_SHOWN))
        fields.append(("no images", f"{len(result['other_files']):,} other file(s) ({counts})"))
    print_fields([*fields, ("time", format_seconds(result["seconds"]))])


@dataclass(frozen=True)
class _Inputs:
    """The images, the arrays that go into an .npz beside their embeddings, the images and the files left out."""

    source: "ImageDataset | FileImages"
    arrays: dict[str, Any]
    skipped: tuple[str, ...]
    other_files: tuple[str, ...] = ()
    cache_key: str | None = None


def _load(images: str, root: Path | None, download: bool, settings: dict[str, Any]) -> _Inputs:
    """Find out what kind of input `images` is, and load it."""
    import numpy as np

    from h2q.datasets import DATASETS, load_dataset
    from h2q.datasets.images import IMAGE_SUFFIXES, FileImages
    from h2q.datasets.list_files import find_lists

    path = Path(images) if root is None else root / images
    if images not in DATASETS:
        if path.is_dir() and not find_lists(path):
            return _load_folder(path, **settings)
        if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES:
            return _Inputs(FileImages(path.parent, [path.name]), {"paths": np.array([path.name])}, ())
    dataset = load_dataset(images, root, download=download, **settings)
    arrays: dict[str, Any] = {"labels": dataset.labels, **dataset.folds}
    if isinstance(dataset.images, FileImages):
        arrays["paths"] = np.array(dataset.images.paths)
    return _Inputs(dataset, arrays, dataset.skipped)


def _load_folder(folder: Path, *, random_state: int, skip_broken: bool, **options: Any) -> _Inputs:
    """Load all images below a folder; with class ids and folds where each image is in a sub-folder and they are enough.

    Embedding needs neither, so a class that is too small to be split is no error.
    """
    import numpy as np

    from h2q.datasets.image_folder import SHARES, class_labels, find_images
    from h2q.datasets.images import IMAGE_SUFFIXES
    from h2q.datasets.screening import screen_files
    from h2q.datasets.splits import split_per_class

    if options:
        raise TypeError(f"a folder of images has no option {', '.join(options)}")
    listing = find_images(folder)
    if not listing.paths:
        raise ValueError(f"{folder} holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    screened = screen_files(folder, listing.paths, skip_broken=skip_broken, listed_in=str(folder))
    paths = screened.images.paths
    arrays: dict[str, Any] = {"paths": np.array(paths)}
    classes = class_labels(paths)
    if classes is not None:
        labels, names = classes
        arrays |= {"labels": labels, "class_names": np.array(names)}
        with suppress(ValueError):  # a class of a few images cannot be split
            arrays |= split_per_class(labels, paths, SHARES, random_state=random_state, class_names=names)
    others = tuple(str(folder / path) for path in listing.other_files)
    return _Inputs(screened.images, arrays, screened.skipped, others, screened.images.fingerprint())
