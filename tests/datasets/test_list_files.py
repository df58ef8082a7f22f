from pathlib import Path

import numpy as np
import pytest

from h2q.datasets import load_dataset
from h2q.datasets.list_files import find_lists, locate, read_lists
from h2q.errors import FileFormatError

# As HashNet's lists are: absolute paths of another machine, one image a line, 0 and 1 for each class.
FOREIGN = "/home/someone/dataset/nus_wide/"
FILES = [f"images/{i}.jpg" for i in range(20)]


def line(path, labels):
    return f"{path} {' '.join(map(str, labels))}\n"


def multi_hot(i):
    return [i % 2, 1, int(i > 10)]


@pytest.fixture
def lists(write_photos, tmp_path):
    write_photos(tmp_path, FILES)
    for name, members in (("train", range(4)), ("test", range(4, 9)), ("database", range(2, 20))):
        text = "".join(line(FOREIGN + FILES[i], multi_hot(i)) for i in members)
        (tmp_path / f"{name}.txt").write_text(text)
    return tmp_path


def paths_of(dataset, fold):
    return [dataset.images.paths[i] for i in dataset.folds[fold]]


def test_published_lists_give_the_folds_and_the_test_list_takes_turns(lists):
    dataset = load_dataset(lists)
    assert paths_of(dataset, "train") == FILES[:4]
    assert paths_of(dataset, "query") == [FILES[4], FILES[6], FILES[8]]
    assert paths_of(dataset, "validation") == [FILES[5], FILES[7]]
    assert paths_of(dataset, "database") == FILES[9:]
    assert dataset.labels.dtype == np.bool_
    assert dataset.labels.astype(int).tolist() == [multi_hot(i) for i in range(20)]
    assert dataset.images[19].size == (32, 32)


def test_a_validation_list_is_taken_where_there_is_one(lists):
    (lists / "validation.txt").write_text(line(FOREIGN + FILES[19], multi_hot(19)))
    dataset = load_dataset(lists)
    assert paths_of(dataset, "query") == FILES[4:9]
    assert paths_of(dataset, "validation") == [FILES[19]]
    assert FILES[19] not in paths_of(dataset, "database")


def test_lists_in_parts_are_joined(lists):
    (lists / "test").mkdir()
    for name in ("test", "database"):
        lines = (lists / f"{name}.txt").read_text().splitlines(keepends=True)
        (lists / f"{name}.txt").unlink()
        for part in range(2):
            (lists / "test" / f"{name}{part}.txt").write_text("".join(lines[part::2]))
    assert [path.name for path in find_lists(lists)["database"]] == ["database0.txt", "database1.txt"]
    dataset = load_dataset(lists)
    assert sorted(paths_of(dataset, "database")) == sorted(FILES[9:])


def test_one_list_file_is_split_by_seed(write_photos, tmp_path):
    names = [f"a photo {i}.jpg" for i in range(20)]
    write_photos(tmp_path, names)
    (tmp_path / "all.txt").write_text("".join(line(name, multi_hot(i)) for i, name in enumerate(names)))
    dataset = load_dataset(tmp_path / "all.txt", random_state=1)
    assert dataset.name == "all"
    assert {fold: len(p) for fold, p in dataset.folds.items()} == {
        "train": 8, "query": 2, "validation": 2, "database": 8,
    }  # fmt: skip
    assert dataset.images.paths == names
    again = load_dataset("all.txt", tmp_path, random_state=1)
    assert all(np.array_equal(dataset.folds[fold], again.folds[fold]) for fold in dataset.folds)


def test_paths_that_cannot_be_found_lose_their_leading_slash(tmp_path):
    assert locate(tmp_path, ["/a/b.jpg", "c.jpg"]) == ["a/b.jpg", "c.jpg"]


@pytest.mark.parametrize("prefix", ["./", "./data/nus_wide/", "data/../", ".//data/./"])
def test_relative_prefixes_are_removed(prefix, lists):
    for name in ("train", "test", "database"):
        (lists / f"{name}.txt").write_text((lists / f"{name}.txt").read_text().replace(FOREIGN, prefix))
    assert paths_of(load_dataset(lists), "train") == FILES[:4]


def test_the_database_keeps_training_images_where_it_is_asked_to(lists):
    dataset = load_dataset(lists, overlap="keep")
    assert paths_of(dataset, "train") == FILES[:4]
    assert paths_of(dataset, "database") == FILES[2:]
    with pytest.raises(ValueError, match='overlap must be "keep" or "remove"; got True'):
        load_dataset(lists, overlap=True)


def test_a_list_of_the_class_ids_0_and_1_is_refused_until_it_is_said_what_it_is(write_photos, tmp_path):
    write_photos(tmp_path, FILES)
    (tmp_path / "all.txt").write_text("".join(line(name, [i % 2]) for i, name in enumerate(FILES)))
    with pytest.raises(FileFormatError, match=r'all\.txt: every line ends in a single 0 or 1.* labels="class-ids" or'):
        load_dataset(tmp_path / "all.txt")
    ids = load_dataset(tmp_path / "all.txt", labels="class-ids")
    assert ids.class_names == ("class 0", "class 1")
    assert ids.labels.tolist() == [i % 2 for i in range(20)]
    one_class = load_dataset(tmp_path / "all.txt", labels="multi-hot")
    assert one_class.labels.tolist() == [[i % 2 == 1] for i in range(20)]
    with pytest.raises(ValueError, match='labels must be "auto", "multi-hot" or "class-ids"; got \'ids\''):
        load_dataset(tmp_path / "all.txt", labels="ids")


def test_class_ids_above_1_are_recognized(write_photos, tmp_path):
    write_photos(tmp_path, FILES)
    (tmp_path / "all.txt").write_text("".join(line(name, [[1, 4, 17][i % 3]]) for i, name in enumerate(FILES)))
    dataset = load_dataset(tmp_path / "all.txt")
    assert dataset.class_names == ("class 1", "class 4", "class 17")
    assert dataset.labels.tolist() == [i % 3 for i in range(20)]
    text = (tmp_path / "all.txt").read_text()
    (tmp_path / "all.txt").write_text(text.replace("3.jpg 1\n", "3.jpg one\n"))
    with pytest.raises(FileFormatError, match=r"all\.txt, line \d+: expected a path and a class id; got 0 labels"):
        load_dataset(tmp_path / "all.txt", labels="class-ids")


@pytest.mark.parametrize("on_disk", ["caf\u00e9.jpg", "caf\udce9.jpg"], ids=["UTF-8", "latin-1"])
def test_a_list_in_latin_1_finds_its_images(on_disk, write_photos, tmp_path):
    names = [on_disk, *(f"{i}.jpg" for i in range(9))]
    write_photos(tmp_path, names)
    text = "".join(line(name, [1, i % 2]) for i, name in enumerate(["caf\u00e9.jpg", *names[1:]]))
    (tmp_path / "all.txt").write_bytes(text.encode("latin-1"))
    dataset = load_dataset(tmp_path / "all.txt")
    assert dataset.images.paths[0] == on_disk
    assert dataset.images[0].size == (32, 32)


def test_a_byte_order_mark_is_no_part_of_a_path(write_photos, tmp_path):
    write_photos(tmp_path, FILES)
    text = "".join(line(name, [1, i % 2]) for i, name in enumerate(FILES))
    (tmp_path / "all.txt").write_text(text, encoding="utf-8-sig")
    assert load_dataset(tmp_path / "all.txt").images.paths == FILES


def test_a_wrong_number_of_labels_names_file_and_line_or_is_skipped_and_counted(lists):
    text = (lists / "database.txt").read_text().splitlines()
    text[4] = text[4][:-2]
    (lists / "database.txt").write_text("\n".join(text) + "\n\n")
    with pytest.raises(FileFormatError, match=r"database\.txt, line 5: expected a path and 3 labels of 0 or 1; got 2"):
        load_dataset(lists)
    skipped = load_dataset(lists, skip_broken=True)
    assert skipped.n_skipped == 1


@pytest.mark.parametrize("content", ["images/0.jpg\n", "images/0.jpg 2 x\n", "0 1 1\n1 0 1 1\n"])
def test_lines_without_labels_are_named(content, tmp_path):
    (tmp_path / "all.txt").write_text(content)
    with pytest.raises(FileFormatError, match=r"all\.txt, line \d: expected a path"):
        read_lists([tmp_path / "all.txt"])


def test_an_empty_list_and_missing_lists_are_named(tmp_path):
    (tmp_path / "train.txt").write_text("\n")
    with pytest.raises(FileFormatError, match=r"train\.txt lists no images"):
        read_lists([tmp_path / "train.txt"])
    with pytest.raises(FileNotFoundError, match=r"needs the list files train\.txt, test\.txt \(or query\.txt\)"):
        load_dataset(tmp_path)


def test_missing_images_are_named_or_skipped_and_counted(lists):
    (lists / FILES[12]).unlink()
    with pytest.raises(FileNotFoundError, match=r"images/12\.jpg does not exist: .* of which 1 are missing"):
        load_dataset(lists)
    skipped = load_dataset(lists, skip_broken=True)
    assert (len(skipped), skipped.n_skipped) == (19, 1)
    assert paths_of(skipped, "database") == FILES[9:12] + FILES[13:]
    assert skipped.labels.astype(int).tolist() == [multi_hot(i) for i in range(20) if i != 12]


def test_an_empty_class_is_named(lists):
    for name in ("train", "test", "database"):
        (lists / f"{name}.txt").write_text((lists / f"{name}.txt").read_text().replace(" 1 1 ", " 0 1 "))
    with pytest.raises(ValueError, match="class 'class 0' has no images"):
        load_dataset(lists)


@pytest.mark.parametrize(("content", "kind"), [(b"PAR1\x15\x04", "a Parquet file"), (b"\x89PNG\0\0", "a binary file")])
def test_a_file_that_is_no_text_is_refused_by_its_kind(tmp_path: Path, content: bytes, kind: str) -> None:
    (tmp_path / "x.parquet").write_bytes(content)
    with pytest.raises(FileFormatError, match=f"is {kind}; expected a list file"):
        load_dataset(tmp_path / "x.parquet")
