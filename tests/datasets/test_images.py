import os
import pickle
import struct
import sys
import zlib

import numpy as np
import pyarrow as pa
import pytest

from h2q.datasets import BrokenImageError
from h2q.datasets.images import EncodedImages, FileImages, PixelImages, has_heif, to_rgb
from h2q.errors import MissingDependencyError


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


def half_white():
    """An image whose left half is white and whose right half is black: 6 x 4 pixels."""
    from PIL import Image

    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[:, :3] = 255
    return Image.fromarray(pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied_once(orientation, tmp_path):
    from PIL import Image, ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    half_white().save(tmp_path / "x.png", exif=exif)
    with Image.open(tmp_path / "x.png") as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored))
    upright = FileImages(tmp_path, ["x.png"])[0]
    assert np.array_equal(upright, expected)
    assert np.array_equal(to_rgb(upright), expected)
    data = (tmp_path / "x.png").read_bytes()
    assert np.array_equal(EncodedImages([data], ["row 0"])[0], expected)
    if orientation == 6:
        assert upright.size == (4, 6)


def test_a_damaged_exif_block_is_no_orientation(photos, tmp_path):
    data = photos[0][0]
    exif = b"Exif\0\0MM\0*\xff\xff\xff\xff"
    (tmp_path / "x.jpg").write_bytes(data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:])
    with pytest.warns(UserWarning, match="Corrupt EXIF data"):
        image = FileImages(tmp_path, ["x.jpg"])[0]
    assert np.array_equal(image, EncodedImages([data], ["x"])[0])


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_composited_over_white(mode, tmp_path):
    from PIL import Image

    alpha = np.zeros((4, 6), np.uint8)
    alpha[:, 1:3] = 255
    image = Image.fromarray(np.dstack([np.zeros((4, 6, 3), np.uint8), alpha]))
    image.convert(mode).save(tmp_path / "x.png")
    pixels = np.asarray(FileImages(tmp_path, ["x.png"])[0])
    assert np.array_equal(pixels[..., 0], 255 - alpha)
    halfway = Image.new("RGBA", (1, 1), (0, 0, 0, 128))
    assert to_rgb(halfway).getpixel((0, 0)) == (127, 127, 127)


def test_gray_images_of_16_bits_are_scaled_not_clipped(tmp_path):
    from PIL import Image

    gray = np.array([[0, 257, 25_700, 65_535]], np.uint16)
    Image.fromarray(gray).save(tmp_path / "x.png")
    assert np.asarray(FileImages(tmp_path, ["x.png"])[0])[0, :, 0].tolist() == [0, 1, 100, 255]


def png_header(side):
    """A PNG file that claims side x side pixels and holds none."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)) + chunk(b"IEND", b"")
    )


def test_a_decompression_bomb_is_a_broken_image_that_is_named(tmp_path):
    (tmp_path / "bomb.png").write_bytes(png_header(30_000))
    with pytest.raises(BrokenImageError, match=r"bomb\.png does not decode .*decompression bomb"):
        FileImages(tmp_path, ["bomb.png"])[0]


def test_heif_images_decode_where_pillow_heif_is_installed(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    half_white().resize((60, 40)).save(tmp_path / "x.HEIC", quality=100)
    pixels = np.asarray(FileImages(tmp_path, ["x.HEIC"])[0]).astype(int)
    assert pixels.shape == (40, 60, 3)
    assert pixels[:, :25].min() > 240
    assert pixels[:, 35:].max() < 15


def test_without_pillow_heif_a_heif_image_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    has_heif.cache_clear()
    try:
        (tmp_path / "x.heic").write_bytes(b"x")
        with pytest.raises(MissingDependencyError, match=r'x\.heic: .*pip install "h2q\[heif\]"'):
            FileImages(tmp_path, ["x.heic"])[0]
    finally:
        has_heif.cache_clear()


def test_names_that_are_no_utf_8_have_a_fingerprint(write_photos, tmp_path):
    name = os.fsdecode(b"caf\xe9.jpg")
    write_photos(tmp_path, [name])
    images = FileImages(tmp_path, [name])
    assert len(images.fingerprint()) == 16
    assert images[0].size == (32, 32)
