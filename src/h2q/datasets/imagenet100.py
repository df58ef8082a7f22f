"""ImageNet-100: the 100 classes of ImageNet that HashNet (Cao et al., ICCV 2017) drew, by its list files."""

from pathlib import Path

from h2q.datasets import list_files
from h2q.datasets.dataset import ImageDataset

__all__ = ["NO_DOWNLOAD", "load"]

NO_DOWNLOAD = (
    "ImageNet can only be downloaded by registered users: get ILSVRC2012 from image-net.org, and the lists train.txt, "
    "test.txt and database.txt from HashNet's repository (pytorch/data/imagenet of thuml/HashNet); put lists and "
    "images (image/, val_image/) into one folder"
)


def load(folder: Path, *, random_state: int = 0, skip_broken: bool = False) -> ImageDataset:
    """Load ImageNet-100 from HashNet's lists; the 5,000 test images alternate between query and validation.

    Parameters
    ----------
    folder : path
        With ``train.txt``, ``test.txt`` and ``database.txt``, and the images that they list. The absolute paths of the
        lists' authors are made relative to this folder.
    random_state : int
        Has no effect: the folds are published lists.
    skip_broken : bool
        Whether images that are missing or do not decode are left out.
    """
    return list_files.load(
        folder, random_state=random_state, skip_broken=skip_broken, single_label=True, name="imagenet-100"
    )
