"""ImageNet-100: the 100 classes of ImageNet that HashNet (Cao et al., ICCV 2017) drew, by its list files."""

from pathlib import Path

from h2q.datasets import list_files
from h2q.datasets.dataset import ImageDataset
from h2q.datasets.sources import DatasetSource, register

__all__ = ["load"]

NO_DOWNLOAD = (
    "ImageNet can only be downloaded by registered users: get ILSVRC2012 from image-net.org, and the lists train.txt, "
    "test.txt and database.txt from HashNet's repository (pytorch/data/imagenet of thuml/HashNet); put lists and "
    "images (image/ and val_image/, or train/<synset>/ and val/, or all in images/) into one folder"
)


def load(
    folder: Path, *, random_state: int = 0, skip_broken: bool = False, overlap: list_files.Overlap = "keep"
) -> ImageDataset:
    """Load ImageNet-100 from HashNet's lists; the 5,000 test images alternate between query and validation.

    Parameters
    ----------
    folder : path
        With ``train.txt``, ``test.txt`` and ``database.txt``, and the images that they list: at the listed place, or
        anywhere below the folder, since no two images of ImageNet have one name.
    random_state : int
        Has no effect: the folds are published lists.
    skip_broken : bool
        Whether to leave out images that are missing or do not decode.
    overlap : {"keep", "remove"}
        HashNet's 13,000 training images are also in its database list of 128,503. "keep", the default, is the published
        protocol; "remove" takes them out of the database, which then has 115,503.
    """
    return list_files.load(
        folder,
        random_state=random_state,
        skip_broken=skip_broken,
        overlap=overlap,
        single_label=True,
        by_name=True,
        name="imagenet-100",
    )


register(DatasetSource("imagenet-100", load, no_download=NO_DOWNLOAD, position=3))
