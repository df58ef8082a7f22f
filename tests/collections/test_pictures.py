"""Folders of real pictures: indexed, brought up to date, searched, grouped."""

import io
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from h2q.collections import PictureCollection
from h2q.index import BinaryIndex

SAMPLE = Path(__file__).parents[2] / "data" / "cifar10-sample.parquet"


@pytest.fixture(scope="module")
def encoded() -> list[bytes]:
    return [image["bytes"] for image in pq.read_table(SAMPLE)["img"].to_pylist()[:40]]


@pytest.fixture
def photos(tmp_path: Path, encoded: list[bytes]) -> Path:
    """Return a folder of 40 pictures, a copy of one in other pixels, a broken one, and a text."""
    folder = tmp_path / "photos"
    (folder / "trips" / "2024").mkdir(parents=True)
    for number, content in enumerate(encoded):
        (folder / ("trips/2024" if number % 2 else ".") / f"{number:02}.jpg").write_bytes(content)
    Image.open(io.BytesIO(encoded[4])).resize((64, 64), Image.Resampling.BICUBIC).save(folder / "again.png")
    (folder / "broken.jpg").write_bytes(encoded[0][:200])
    (folder / "notes.txt").write_text("no picture")
    return folder


def open_collection(photos: Path) -> PictureCollection:
    return PictureCollection(photos.parent / "photos.h2q", photos, image_size=32)


def test_a_folder_is_indexed_searched_and_brought_up_to_date(photos: Path, encoded: list[bytes]) -> None:
    update = open_collection(photos).update()
    assert (update.added, update.changed, update.removed, update.kept) == (41, 0, 0, 0)
    assert update.unreadable == ("broken.jpg (does not decode)",)
    collection = PictureCollection.open(photos.parent / "photos.h2q")
    neighbors = collection.search(photos / "trips/2024/03.jpg", 3)
    assert neighbors.ids[0, 0] == "trips/2024/03.jpg"
    assert neighbors.distances[0, 0] == pytest.approx(0, abs=1e-5)
    assert collection.search(photos / "04.jpg", 2).ids.tolist() == [["04.jpg", "again.png"]]
    sizes = collection.search(photos / "04.jpg", 41, where="size < 900").metadata["size"].to_pylist()
    assert len(sizes) == sum(file.stat().st_size < 900 for file in photos.rglob("*.[jp][pn]g")) - 1
    assert max(sizes) < 900

    (photos / "00.jpg").unlink()
    (photos / "02.jpg").write_bytes(encoded[7])
    (photos / "new.jpg").write_bytes(encoded[9])
    os.utime(photos / "06.jpg", (1e9, 1e9))
    update = open_collection(photos).update()
    assert (update.added, update.changed, update.removed, update.kept) == (1, 2, 1, 38)
    assert set(open_collection(photos).search(photos / "trips/2024/07.jpg", 2).ids[0]) == {
        "02.jpg",
        "trips/2024/07.jpg",
    }
    update = open_collection(photos).update()
    assert (update.added, update.changed, update.removed, update.kept) == (0, 0, 0, 41)


def test_duplicates_are_grouped_and_the_best_comes_first(photos: Path, encoded: list[bytes]) -> None:
    (photos / "copy.jpg").write_bytes(encoded[11])
    collection = open_collection(photos)
    collection.update()
    groups = collection.duplicates(0)
    assert [set(group.ids) for group in groups] == [{"copy.jpg", "trips/2024/11.jpg"}]
    assert groups[0].distance == 0
    codes = np.unpackbits(collection.index.codes(["again.png", "04.jpg"]), axis=1)
    distance = int((codes[0] != codes[1]).sum())
    assert 0 < distance < 12
    (wider,) = [group for group in collection.duplicates(distance) if "04.jpg" in group.ids]
    assert wider.ids[0] == "again.png"  # it has more pixels
    assert wider.distance <= distance


@pytest.mark.parametrize("count", [1, 2, 9])
def test_a_few_pictures_are_enough(tmp_path: Path, encoded: list[bytes], count: int) -> None:
    (tmp_path / "few").mkdir()
    for number in range(count):
        (tmp_path / "few" / f"{number}.jpg").write_bytes(encoded[number])
    collection = PictureCollection(tmp_path / "few.h2q", tmp_path / "few", image_size=32)
    assert collection.update().added == count
    assert collection.search(tmp_path / "few" / "0.jpg", 5).ids[0, 0] == "0.jpg"


def test_what_cannot_be_a_collection_is_refused(tmp_path: Path, photos: Path, encoded: list[bytes]) -> None:
    with pytest.raises(FileNotFoundError, match="there is no collection of pictures at"):
        PictureCollection.open(tmp_path / "none")
    with pytest.raises(FileExistsError, match="holds other files and no collection"):
        PictureCollection(photos, photos)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no pictures that can be read"):
        PictureCollection(tmp_path / "e.h2q", tmp_path / "empty").update()
    open_collection(photos).update()
    with pytest.raises(ValueError, match="was made with image_size=32; leave the option out"):
        PictureCollection(tmp_path / "photos.h2q", photos, image_size=64)


def test_a_broken_picture_is_not_counted_whatever_its_name(photos: Path, encoded: list[bytes]) -> None:
    (photos / "copy (1).jpg").write_bytes(encoded[0][:200])
    update = open_collection(photos).update()
    assert update.unreadable == ("broken.jpg (does not decode)", "copy (1).jpg (does not decode)")
    with pytest.raises(ValueError, match=r"broken\.jpg does not decode as an image; search for another picture$"):
        PictureCollection.open(photos.parent / "photos.h2q").search(photos / "broken.jpg")
    assert update.added == len(BinaryIndex.open(photos.parent / "photos.h2q" / "index")) == 41


def test_names_of_any_kind_do_not_end_an_update(photos: Path, encoded: list[bytes]) -> None:
    names = {"two\nlines.jpg", 'quote\'s "twice".jpg', "été.jpg"}
    for name in names:
        (photos / name).write_bytes(encoded[20])
    with open(os.path.join(os.fsencode(photos), b"latin\xe9.jpg"), "wb") as file:
        file.write(encoded[21])
    (photos / "gone.jpg").symlink_to(photos / "nowhere")
    (photos / "empty.jpg").touch()
    update = open_collection(photos).update()
    assert update.added == 44
    assert sorted(update.unreadable) == [
        "broken.jpg (does not decode)",
        "empty.jpg (does not decode)",
        "gone.jpg (No such file or directory)",
        "latin\udce9.jpg (its name is not UTF-8: rename it)",
    ]
    found = open_collection(photos).search(photos / "two\nlines.jpg", 4).ids[0]
    assert set(found) == names | {"20.jpg"}


def test_a_picture_that_breaks_is_gone_and_a_folder_may_move(photos: Path) -> None:
    open_collection(photos).update()
    (photos / "04.jpg").write_bytes(b"no picture any more")
    moved = photos.rename(photos.with_name("moved"))
    path = photos.parent / "photos.h2q"
    update = PictureCollection(path, moved).update()
    assert (update.added, update.changed, update.removed, update.kept) == (0, 0, 0, 40)
    assert "04.jpg (does not decode)" in update.unreadable
    collection = PictureCollection.open(path)
    assert collection.folder == moved
    assert len(collection.opened_index()) == 40
