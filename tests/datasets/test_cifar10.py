import io
import runpy

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from h2q.datasets import cifar10, find_data, load_dataset
from h2q.datasets.cifar10_batches import load_batches
from h2q.errors import FileFormatError


@pytest.fixture(scope="session")
def whole():
    folder = find_data("cifar10")
    if folder is None:
        pytest.skip("the 60,000 images are not here: set H2Q_DATA to a folder with cifar10/*.parquet")
    return cifar10.load(folder)


def test_the_papers_split_of_all_images(whole):
    assert len(whole) == 60_000
    sizes = {fold: len(positions) for fold, positions in whole.folds.items()}
    assert sizes == {"train": 5_000, "query": 1_000, "validation": 1_000, "database": 53_000}
    assert len(np.unique(np.concatenate(list(whole.folds.values())))) == 60_000
    for fold, per_class in (("train", 500), ("query", 100), ("validation", 100), ("database", 5_300)):
        assert np.bincount(whole.labels[whole.folds[fold]]).tolist() == [per_class] * 10


def test_the_sample_holds_600_untouched_images_a_class_and_is_split_in_proportion(sample_file, whole):
    sample = cifar10.load(sample_file)
    assert sample_file.stat().st_size < 2.5e6
    assert np.bincount(sample.labels).tolist() == [600] * 10
    assert {fold: len(positions) for fold, positions in sample.folds.items()} == {
        "train": 500, "query": 100, "validation": 100, "database": 5_300,
    }  # fmt: skip
    label_of = dict(zip(whole.images.digests(), whole.labels.tolist(), strict=True))
    assert [label_of[digest] for digest in sample.images.digests()] == sample.labels.tolist()


def test_the_script_draws_the_sample_that_is_kept(sample_file, tmp_path, whole):
    script = sample_file.parents[1] / "scripts" / "draw_cifar10_sample.py"
    runpy.run_path(str(script))["main"](find_data("cifar10"), tmp_path / "drawn.parquet")
    assert pq.read_table(tmp_path / "drawn.parquet").equals(pq.read_table(sample_file))


def test_the_split_follows_the_images_not_the_order_of_the_rows(sample_file, tmp_path):
    table = pq.read_table(sample_file)
    order = np.random.default_rng(0).permutation(len(table))
    (tmp_path / "plain_text").mkdir()
    for part, name in ((order[:4_000], "train-00000-of-00001"), (order[4_000:], "test-00000-of-00001")):
        pq.write_table(table.take(pa.array(part)), tmp_path / "plain_text" / f"{name}.parquet")
    first, second = cifar10.load(sample_file, random_state=3), cifar10.load(tmp_path, random_state=3)
    assert first.fingerprint != second.fingerprint
    of_first, of_second = first.images.digests(), second.images.digests()
    for fold in first.folds:
        assert {of_first[i] for i in first.folds[fold]} == {of_second[i] for i in second.folds[fold]}
    position = int(np.flatnonzero(order == 17)[0])
    assert np.array_equal(first.images[17], second.images[position])
    assert first.labels[17] == second.labels[position]


def test_seeds_change_folds_but_not_the_fingerprint(sample_file):
    first, second = cifar10.load(sample_file, random_state=0), cifar10.load(sample_file, random_state=1)
    assert first.fingerprint == second.fingerprint
    assert not np.array_equal(first.folds["query"], second.folds["query"])


def test_the_original_python_batches(sample_file, tmp_path, write_batches):
    sample = cifar10.load(sample_file)
    positions = np.concatenate([np.flatnonzero(sample.labels == label)[:12] for label in range(10)])
    images, labels = sample.images.select(positions), sample.labels[positions]
    write_batches(tmp_path / "cifar-10-batches-py", images, labels)
    dataset = load_dataset("cifar10", tmp_path)
    assert np.array_equal(dataset.labels, labels)
    assert all(np.array_equal(dataset.images[i], images[i]) for i in (0, 57, 119))
    assert {fold: len(p) for fold, p in dataset.folds.items()} == {
        "train": 10, "query": 10, "validation": 10, "database": 90,
    }  # fmt: skip


@pytest.mark.parametrize("payload", [b"cos\nsystem\n(S'touch %s'\ntR.", b'cbuiltins\neval\n(S\'open("%s", "w")\'\ntR.'])
def test_a_batch_that_would_run_code_is_refused_and_does_not_run(payload, tmp_path):
    written = tmp_path / "written"
    (tmp_path / "data_batch_1").write_bytes(payload % str(written).encode())
    with pytest.raises(FileFormatError, match=r"data_batch_1 is not a batch of CIFAR-10: it refers to \w+\.\w+"):
        load_batches(tmp_path)
    assert not written.exists()


def test_damaged_batches_are_named(tmp_path, python2_pickle):
    with pytest.raises(FileNotFoundError, match=r"data_batch_1 does not exist"):
        load_batches(tmp_path)
    whole_batch = python2_pickle(np.zeros((2, 3072), np.uint8), [1, 2])
    for data, message in (
        (b"", "is not a batch"),
        (whole_batch[:700], "is not a batch"),
        (python2_pickle(np.zeros((2, 3072), np.uint8), [1]), r"2 images, but labels of shape \(1,\)"),
    ):
        (tmp_path / "data_batch_1").write_bytes(data)
        with pytest.raises(FileFormatError, match=rf"data_batch_1.*{message}"):
            load_batches(tmp_path)


def table_of(rows, labels):
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.table({"img": pa.array([{"bytes": data, "path": None} for data in rows], kind), "label": labels})


def test_broken_images_are_named_or_skipped_and_counted(photos, tmp_path):
    rows, labels = [data for data, _ in photos], [label for _, label in photos]
    rows[7] = rows[7][:300]
    pq.write_table(table_of(rows, labels), tmp_path / "train.parquet")
    dataset = cifar10.load(tmp_path)
    with pytest.raises(ValueError, match=r"train\.parquet, row 7 does not decode"):
        dataset.images[7]
    skipped = cifar10.load(tmp_path, skip_broken=True)
    assert (len(skipped), skipped.n_skipped) == (59, 1)
    assert skipped.labels.tolist() == labels[:7] + labels[8:]
    assert np.array_equal(skipped.images[7], dataset.images[8])


def test_foreign_truncated_and_wrong_parquet_files_are_named(photos, tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no CIFAR-10"):
        cifar10.load(tmp_path)
    file = tmp_path / "train.parquet"
    file.write_bytes(b"PAR1 nothing")
    with pytest.raises(FileFormatError, match=r"train\.parquet is not a Parquet file"):
        cifar10.load(tmp_path)
    pq.write_table(pa.table({"image": [b"x"], "label": [1]}), file)
    with pytest.raises(FileFormatError, match=r"train\.parquet is not a Parquet file with the columns img"):
        cifar10.load(tmp_path)
    pq.write_table(pa.table({"img": [b"x"], "label": [1]}), file)
    with pytest.raises(FileFormatError, match=r"train\.parquet is not a Parquet file with the columns img"):
        cifar10.load(tmp_path)
    pq.write_table(table_of([photos[0][0]], [10]), file)
    with pytest.raises(FileFormatError, match="labels must be 0 to 9; got 10 to 10"):
        cifar10.load(tmp_path)
    buffer = io.BytesIO()
    pq.write_table(table_of([data for data, _ in photos], [label for _, label in photos]), buffer)
    file.write_bytes(buffer.getvalue()[:-200])
    with pytest.raises(FileFormatError, match=r"train\.parquet"):
        cifar10.load(tmp_path)


def test_an_empty_class_is_named(photos, tmp_path):
    some = [(data, label) for data, label in photos if label != 4]
    pq.write_table(table_of([data for data, _ in some], [label for _, label in some]), tmp_path / "train.parquet")
    with pytest.raises(ValueError, match="class 'deer' has no images"):
        cifar10.load(tmp_path)
