import os
import pickle

import numpy as np
import pyarrow as pa
import pytest

from h2q.datasets import BrokenImageError
from h2q.datasets.images import EncodedImages, FileImages, PixelImages


@pytest.fixture(params=["encoded", "files", "pixels"])
def images(request, photos, write_photos, tmp_path):
    data = [data for data, _ in photos[:7]]
    encoded = EncodedImages(pa.array(data), [f"row {i}" for i in range(7)])
    if request.param == "encoded":
        return encoded
    if request.param == "files":
        paths = [f"{i}.jpg" for i in range(7)]
        write_photos(tmp_path, paths)
        return FileImages(tmp_path, paths)
    return PixelImages(np.stack([np.asarray(image) for image in encoded]), "pixels")


def test_images_are_rgb_and_follow_sequence_rules(images):
    assert len(images) == 7
    assert {(image.mode, image.size) for image in images} == {("RGB", (32, 32))}
    assert np.array_equal(images[-1], images[6])
    with pytest.raises(IndexError, match="image 7 of 7"):
        images[7]
    with pytest.raises(IndexError, match="image -8 of 7"):
        images[-8]


def test_slices_and_selections_stay_lazy_and_keep_their_images(images):
    part = images[2:6:2]
    assert type(part) is type(images)
    assert np.array_equal(part[1], images[4])
    selected = images.select(np.array([5, 0]))
    assert np.array_equal(selected[0], images[5])
    assert selected.describe(0) == images.describe(5) or isinstance(images, PixelImages)
    assert np.array_equal(selected[1:][0], images[0])


def test_the_fingerprint_follows_the_images_and_their_order(images):
    same = images.select(np.arange(7))
    assert same.fingerprint() == images.fingerprint()
    assert images.select(np.arange(7)[::-1]).fingerprint() != images.fingerprint()
    assert images[:6].fingerprint() != images.fingerprint()


def test_images_can_be_sent_to_worker_processes(images):
    again = pickle.loads(pickle.dumps(images))
    assert np.array_equal(again[3], images[3])


def test_a_changed_file_changes_the_fingerprint(write_photos, tmp_path):
    write_photos(tmp_path, ["a.jpg", "b.jpg"])
    images = FileImages(tmp_path, ["a.jpg", "b.jpg"])
    before = images.fingerprint()
    os.utime(tmp_path / "b.jpg", ns=(1, 1))
    assert images.fingerprint() != before


def test_gray_and_transparent_images_become_rgb(tmp_path):
    from PIL import Image

    for mode in ("L", "RGBA", "P", "1"):
        Image.new(mode, (4, 5)).save(tmp_path / f"{mode}.png")
    images = FileImages(tmp_path, ["L.png", "RGBA.png", "P.png", "1.png"])
    assert {(image.mode, image.size) for image in images} == {("RGB", (4, 5))}


@pytest.mark.parametrize("content", [b"", b"no image", None], ids=["empty", "text", "truncated"])
def test_broken_images_name_their_file_and_the_way_out(content, photos, tmp_path):
    data = photos[0][0][:400] if content is None else content
    (tmp_path / "bad.jpg").write_bytes(data)
    for images, name in (
        (FileImages(tmp_path, ["bad.jpg"]), "bad.jpg"),
        (EncodedImages(pa.array([data]), ["table, row 0"]), "table, row 0"),
    ):
        with pytest.raises(BrokenImageError, match=rf"{name} does not decode as an image .*skip_broken=True"):
            images[0]


def test_a_missing_file_and_a_missing_value_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.jpg does not exist"):
        FileImages(tmp_path, ["gone.jpg"])[0]
    with pytest.raises(BrokenImageError, match=r"row 5 does not decode as an image \(no bytes\)"):
        EncodedImages(pa.array([None], pa.binary()), ["row 5"])[0]
