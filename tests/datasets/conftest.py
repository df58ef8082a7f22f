"""Real images for the tests of data sets: the sample of CIFAR-10 in the repository."""

import struct
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "cifar10-sample.parquet"


@pytest.fixture(scope="session")
def sample_file():
    return SAMPLE


@pytest.fixture(scope="session")
def photos():
    """The bytes of 60 JPEG files and their labels 0 to 9, six of each."""
    rows = pq.read_table(SAMPLE).to_pylist()
    chosen = [[row for row in rows if row["label"] == label][:6] for label in range(10)]
    return [(row["img"]["bytes"], row["label"]) for group in chosen for row in group]


@pytest.fixture
def write_photos(photos):
    """Write real JPEG files at the given paths below a folder."""

    def write(folder, paths):
        for i, path in enumerate(paths):
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(photos[i % len(photos)][0])

    return write


def _python2_pickle(pixels, labels):
    """A batch as Python 2 wrote it (protocol 2, byte strings), opcode by opcode: Python 3 cannot write these."""

    def text(value):
        data = value.encode("latin1")
        return b"U" + bytes([len(data)]) + data

    raw = pixels.tobytes()
    numbers = b"".join(b"K" + bytes([label]) for label in labels)
    dtype = (
        b"cnumpy\ndtype\n"
        + text("u1")
        + b"K\x00K\x01\x87R(K\x03"
        + text("|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text("b") + b"\x87R(K\x01J"
        + struct.pack("<i", len(pixels)) + b"M" + struct.pack("<H", 3072) + b"\x86" + dtype + b"\x89T"
        + struct.pack("<i", len(raw)) + raw + b"tb"
    )  # fmt: skip
    names = b"]" + b"(" + text("leptodactylus_pentadactylus_s_000004.png") + b"e"
    return (
        b"\x80\x02}(" + text("batch_label") + text("training batch 1 of 5") + text("labels") + b"](" + numbers + b"e"
        + text("data") + array + text("filenames") + names + b"u."
    )  # fmt: skip


@pytest.fixture(scope="session")
def python2_pickle():
    return _python2_pickle


@pytest.fixture(scope="session")
def write_batches():
    """Write images and labels as the original python batches of CIFAR-10."""

    def write(folder, images, labels):
        folder.mkdir(parents=True)
        for name, rows in zip(
            [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"],
            np.array_split(np.arange(len(labels)), 6),
            strict=True,
        ):
            planes = np.stack([np.asarray(images[i]).transpose(2, 0, 1).ravel() for i in rows])
            (folder / name).write_bytes(_python2_pickle(planes, labels[rows]))

    return write


@pytest.fixture(scope="session")
def instances():
    """The instances file of MS COCO for 12 images: category ids have gaps, the last image has no object."""
    categories = [{"supercategory": "thing", "id": i, "name": n} for i, n in ((1, "person"), (3, "car"), (90, "brush"))]

    def make(part, first):
        numbers = range(first, first + 12)
        images = [
            {"license": 1, "file_name": f"COCO_{part}_{i:012d}.jpg", "height": 32, "width": 32, "id": i}
            for i in numbers
        ]
        annotations = [
            {"id": 10 * i + k, "image_id": i, "category_id": category, "area": 1.0, "iscrowd": 0, "bbox": [0, 0, 1, 1]}
            for i in numbers[:-1]
            for k, category in enumerate([1, 1, 3] if i % 2 else [90])
        ]
        return {"info": {}, "images": images, "annotations": annotations, "licenses": [], "categories": categories}

    return make
