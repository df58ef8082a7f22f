"""String ids, metadata and filters of the exact index: any history equals a dictionary and a DataFrame's filter."""

import datetime
import io
import pickle
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits

from h2q.errors import FileFormatError
from h2q.index import BinaryIndex, check_index
from h2q.index import ids as ids_module
from h2q.index.ids import bucket_of
from h2q.quantization import HouseholderQuantizer

DIGITS, DIGIT = load_digits(return_X_y=True)
DIGITS = DIGITS.astype(np.float32)
CODES = np.packbits(DIGITS[:, 8:24] > 8, axis=1)
LABELS = [None, "cat", "dog", "cow"]
SCHEMA = pa.schema({"year": pa.int64(), "label": pa.string()})
WHERE = {
    "year >= 2020 and label in ('cat', 'dog')": lambda row: row["year"] >= 2020 and row["label"] in ("cat", "dog"),
    "label like 'c%' or year < 2019": lambda row: (row["label"] or "").startswith("c") or row["year"] < 2019,
    "not label = 'cat'": lambda row: row["label"] is not None and row["label"] != "cat",
    "label is null": lambda row: row["label"] is None,
    "year > 9000": lambda row: False,
    None: lambda row: True,
}


def few_hashes(strings: np.ndarray) -> np.ndarray:
    return np.array([8 * (zlib.crc32(string.encode()) % 100) for string in strings], np.int64)


def as_key(item: object) -> object:
    return item if isinstance(item, int) else (int(bucket_of(np.array([item], object))[0]), item)


operations = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "bare", "upsert", "remove", "save", "open", "compact", "pickle", "other"]),
        st.integers(1, 25),
    ),
    min_size=1,
    max_size=10,
)


class Oracle:
    """Items as a dictionary."""

    def __init__(self) -> None:
        self.items: dict[object, tuple[np.ndarray, dict]] = {}

    def nearest(self, query: np.ndarray, where: object, k: int | None, radius: int) -> list[tuple[object, int]]:
        kept = [(item, code) for item, (code, row) in self.items.items() if WHERE[where](row)]
        pairs = [(item, int(np.unpackbits(query ^ code).sum())) for item, code in kept]
        return sorted((p for p in pairs if p[1] <= radius), key=lambda p: (p[1], as_key(p[0])))[:k]


@given(st.integers(0, 2**32), st.booleans(), st.booleans(), operations)
@settings(max_examples=40, deadline=None)
def test_any_history_equals_a_dictionary(
    tmp_path_factory, seed: int, texts: bool, collide: bool, history: list[tuple[str, int]]
) -> None:
    generator = np.random.default_rng(seed)
    folder = tmp_path_factory.mktemp("index") / "index"
    index, oracle = BinaryIndex(16), Oracle()
    with pytest.MonkeyPatch.context() as patch:
        if collide:
            patch.setattr(ids_module, "bucket_of", few_hashes)
        for operation, count in history:
            try:
                index = apply(operation, count, index, oracle, generator, folder, texts)
            except FileExistsError:  # two processes chose ids of one hash
                assert collide
                return
        check_equal(index, oracle, generator, collide)


def apply(
    operation: str, count: int, index: BinaryIndex, oracle: Oracle, generator: Any, folder: Path, texts: bool
) -> BinaryIndex:
    items, known = oracle.items, list(oracle.items)
    codes = np.packbits(generator.random((count, 16)) < 0.3, axis=1)
    years, labels = generator.integers(2017, 2023, count).tolist(), generator.integers(4, size=count)
    rows = [{"year": year, "label": LABELS[label]} for year, label in zip(years, labels, strict=True)]
    fresh = generator.permutation(120)[:count].tolist()
    named = [f"photos/{i}.jpg" for i in fresh] if texts else fresh
    if operation == "add" or index.metadata_schema is None:
        new = [i for i, item in enumerate(named) if item not in items]
        index.add(codes[new], [named[i] for i in new], pa.Table.from_pylist([rows[i] for i in new], schema=SCHEMA))
        items |= {named[i]: (codes[i], rows[i]) for i in new}
    elif operation == "upsert":
        index.upsert(codes, named, pd.DataFrame(rows))
        items |= {item: (code, row) for item, code, row in zip(named, codes, rows, strict=True)}
    elif operation == "bare":
        index.upsert(codes, named, {"year": np.full(count, 2020)})
        items |= {item: (code, {"year": 2020, "label": None}) for item, code in zip(named, codes, strict=True)}
    elif operation == "remove" and known:
        gone = [known[i] for i in generator.permutation(len(known))[:count]]
        index.remove(gone)
        for item in gone:
            del items[item]
    elif operation == "save":
        index.save(folder)
    elif operation == "open":
        index.save(folder)
        assert check_index(folder).damages == ()
        return BinaryIndex.open(folder)
    elif operation == "compact":
        index.compact()
    elif operation == "pickle":
        return pickle.loads(pickle.dumps(index))
    elif operation == "other" and index.address is not None:
        other = BinaryIndex.open(folder)
        item = f"other/{len(known)}" if texts else 1000 + len(known)
        if item not in other and item not in items:
            other.add(codes[:1], [item], rows[:1])
            other.save()
            index.refresh()
            items[item] = (codes[0], rows[0])
    return index


def check_equal(index: BinaryIndex, oracle: Oracle, generator: np.random.Generator, collide: bool) -> None:
    items = oracle.items
    assert len(index) == len(items)
    assert index.ids.tolist() == sorted(items)
    queries = np.packbits(generator.random((4, 16)) < 0.3, axis=1)
    if not items:
        return
    for where in WHERE:
        k = int(generator.integers(1, 20))
        found = index.search(queries, k, where=where, columns=["label", "year"])
        near = index.search_radius(queries, 6, where=where, columns=["year"])
        some = index.search_radius(queries, 6, where=where, limit=k)
        for q, query in enumerate(queries):
            expected = oracle.nearest(query, where, k, 16)
            # Among ids of one hash the order is that in which they came.
            if not collide:
                assert list(zip(found.ids[q].tolist(), found.distances[q].tolist(), strict=True)) == expected
                assert [tuple(item) for item in near[q]] == oracle.nearest(query, where, None, 6)
                assert [tuple(item) for item in some[q]] == oracle.nearest(query, where, k, 6)
            assert [distance for _, distance in expected] == found.distances[q].tolist()
            assert [items[item][1]["year"] for item in near[q].ids] == near[q].metadata["year"].to_pylist()
            assert [items[item][1] for item in found[q].ids] == found[q].metadata.select(["year", "label"]).to_pylist()
    chosen = [list(items)[i] for i in generator.permutation(len(items))[:7]]
    np.testing.assert_array_equal(index.codes(chosen), [items[item][0] for item in chosen])
    assert index.metadata(chosen).select(["year", "label"]).to_pylist() == [items[item][1] for item in chosen]
    assert all(item in index for item in chosen)
    assert "missing" not in index
    assert 7777 not in index


@pytest.fixture(scope="module")
def quantizer() -> HouseholderQuantizer:
    return HouseholderQuantizer(24, random_state=0).fit(DIGITS)


@pytest.fixture
def index(quantizer: HouseholderQuantizer) -> BinaryIndex:
    index = BinaryIndex(quantizer=quantizer, keep_embeddings=True)
    names = [f"scans/{i}.png" for i in range(len(DIGITS))]
    index.add(DIGITS[:900], names[:900], {"digit": DIGIT[:900], "sum": DIGITS[:900].sum(axis=1)})
    index.add(DIGITS[900:], names[900:], pd.DataFrame({"sum": DIGITS[900:].sum(axis=1), "digit": DIGIT[900:]}))
    return index


@pytest.mark.parametrize("share", [1, 0.5, 0.1, 0.01, 0.002])
@pytest.mark.parametrize(
    "options", [{"scoring": "hamming"}, {"scoring": "asymmetric"}, {"rerank": 30}, {"rerank": 2000}]
)
def test_a_filter_is_exact_at_every_selectivity(index: BinaryIndex, share: float, options: dict) -> None:
    sums = DIGITS.sum(axis=1)
    cut = float(np.quantile(sums, share))
    kept = np.flatnonzero(sums <= cut)
    alone = BinaryIndex(quantizer=index.quantizer, keep_embeddings=True)
    alone.add(DIGITS[kept], [f"scans/{i}.png" for i in kept])
    for n_queries in (1, 40):
        queries = DIGITS[:n_queries]
        found = index.search(queries, 9, where=f"sum <= {cut}", columns=["digit"], **options)
        expected = alone.search(queries, 9, **options)
        np.testing.assert_array_equal(found.ids, expected.ids)
        np.testing.assert_array_equal(found.distances, expected.distances)
        rows = [int(item[6:-4]) for item in found.ids.ravel()]
        np.testing.assert_array_equal(found.metadata["digit"], DIGIT[rows])


def test_results_become_tables_with_metadata(index: BinaryIndex) -> None:
    found = index.search(DIGITS[:2], 3, where=pc.field("digit") == 7, columns=["digit", "sum"])
    assert found.to_arrow().column_names == ["query", "rank", "id", "distance", "digit", "sum"]
    frame = found.to_pandas()
    assert frame["digit"].tolist() == [7] * 6
    assert frame["id"].tolist() == found.ids.ravel().tolist()
    assert found[1:].metadata == found.metadata[3:]
    assert found[0][0].id == found.ids[0, 0]
    assert found[1][1:].metadata == found.metadata[4:]
    near = index.search_radius(DIGITS[:3], 4, columns=["digit"])
    assert near[1:].to_arrow()["digit"].to_pylist() == near.to_arrow()["digit"].to_pylist()[near.offsets[1] :]
    assert index.search(DIGITS[:2], 3, where="digit > 100", columns=["digit"]).to_arrow().num_rows == 0
    assert index.search_radius(DIGITS[:1], 24, where="digit > 100").counts.tolist() == [0]


def test_types_are_kept(tmp_path: Path) -> None:
    table = pa.table(
        {
            "day": pa.array([datetime.date(2024, 5, day) for day in (1, 2, 3)]),
            "tags": [["a"], [], None],
            "kind": pa.array(["x", None, "y"]).dictionary_encode(),
            "price": pa.array([1, 2, None], pa.decimal128(9, 2)),
            "box": [{"left": 1}, None, {"left": 3}],
        }
    )
    index = BinaryIndex(16)
    index.add(CODES[:3], metadata=table)
    index.add(CODES[:3], metadata=table.select(["kind", "day"]))
    index.save(tmp_path / "index")
    again = BinaryIndex.open(tmp_path / "index")
    assert again.metadata_schema == table.schema
    assert again.metadata([2, 0]).to_pylist() == table.take([2, 0]).to_pylist()
    assert again.metadata([4], ["day", "tags"]).to_pylist() == [{"day": datetime.date(2024, 5, 2), "tags": None}]
    assert again.search(CODES[:1], where="kind = 'y' and day >= '2024-05-03'").ids.tolist() == [[2, 5]]
    assert check_index(tmp_path / "index").damages == ()


def test_metadata_may_come_after_items_without(tmp_path: Path) -> None:
    index = BinaryIndex(16)
    index.add(CODES[:5])
    index.save(tmp_path / "index")
    index = BinaryIndex.open(tmp_path / "index")
    index.add(CODES[5:7], metadata=[{"a": 1}, {"a": 2}])
    index.save()
    for opened in (index, BinaryIndex.open(tmp_path / "index")):
        assert opened.metadata([0, 6, 5]).to_pydict() == {"a": [None, 2, 1]}
        assert sorted(opened.search(CODES[:1], where="a is null").ids[0]) == [0, 1, 2, 3, 4]
        opened.compact()
        assert opened.metadata([0, 6, 5]).to_pydict() == {"a": [None, 2, 1]}


def test_items_without_metadata_beside_others_have_nulls_in_results(tmp_path: Path) -> None:
    index = BinaryIndex(16)
    index.add(CODES[:3], ["a", "b", "c"], {"year": [1, 2, 3]})
    index.save(tmp_path / "index")  # so that the next items are a segment of their own
    index.add(CODES[3:4], ["d"])
    neighbors = index.search(CODES[3:4], 4, columns=["year"])
    years = dict(zip(neighbors.ids[0], neighbors.metadata["year"].to_pylist(), strict=True))
    assert years == {"a": 1, "b": 2, "c": 3, "d": None}
    assert index.metadata(["d"]).to_pylist() == [{"year": None}]


def test_every_form_of_ids_is_taken() -> None:
    names = ["b", "ä", "日本/1.jpg"]
    for given_ids in (
        names,
        tuple(names),
        np.array(names),
        pd.Series(names),
        pa.array(names),
        pa.chunked_array([names]),
    ):
        index = BinaryIndex(16)
        assert index.add(CODES[:3], given_ids).tolist() == names
        assert index.contains(["ä", "c"]).tolist() == [True, False]
        assert index.id_type == "string"


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (lambda i: i.add(DIGITS[:2]), ValueError, "ids are missing: those of this index are strings"),
        (lambda i: i.add(DIGITS[:2], [1, 2]), TypeError, "ids are whole numbers, but those of this index are strings"),
        (lambda i: i.add(DIGITS[:2], ["a", 2]), TypeError, r"all strings or all whole numbers; row 1 is 2 \(int\)"),
        (lambda i: i.add(DIGITS[:2], ["a", ""]), ValueError, "an empty string in row 1"),
        (lambda i: i.add(DIGITS[:2], ["a", "a"]), ValueError, r"more than once \(first: 'a'\)"),
        (lambda i: i.add(DIGITS[:2], ["a"]), ValueError, r"1-D with 2 entries, one an item; got shape \(1,\)"),
        (lambda i: i.add(DIGITS[:1], ["\ud800"]), ValueError, "no text in UTF-8"),
        (lambda i: i.add(DIGITS[:1], ["scans/1.png"]), ValueError, r"already has \(first: 'scans/1.png'\)"),
        (lambda i: i.remove(["a"]), ValueError, r"not in the index \(first: 'a'\); nothing was removed"),
        (lambda i: i.metadata(["scans/1.png"], ["x"]), ValueError, "columns names x, .* are: digit, sum"),
        (lambda i: i.search(DIGITS[:1], columns="digit"), TypeError, "columns must be a list of names"),
        (lambda i: i.search(DIGITS[:1], where="x = 1"), ValueError, "names the column x, which does not exist"),
        (lambda i: i.search_radius(DIGITS[:1], 3, where="digit = 'x'"), TypeError, "compares digit"),
        (lambda i: i.add(DIGITS[:1], ["a"], {"new": [1]}), ValueError, "has the column new, which the index does not"),
        (lambda i: i.add(DIGITS[:1], ["a"], {"digit": ["1"]}), TypeError, "digit is string, and in the index int64"),
        (lambda i: i.add(DIGITS[:1], ["a"], {"digit": [1, 2]}), ValueError, "must have 1 rows, .*; got 2"),
        (lambda i: i.add(DIGITS[:1], ["a"], {"digit": [1], "sum": [1, 2]}), ValueError, "different lengths"),
        (lambda i: i.add(DIGITS[:1], ["a"], {"id": [1]}), ValueError, "a column id, which is a column of results"),
        (lambda i: i.add(DIGITS[:1], ["a"], {}), ValueError, "metadata has no columns"),
        (lambda i: i.add(DIGITS[:1], ["a"], {3: [1]}), TypeError, "columns named by strings"),
        (
            lambda i: i.add(DIGITS[:2], ["a", "b"], {"sum": [1, "x"]}),
            ValueError,
            "metadata column sum has no single type",
        ),
        (lambda i: i.add(DIGITS[:1], ["a"], 3), TypeError, "metadata must be a pyarrow.Table, a DataFrame"),
        (lambda i: i.upsert(DIGITS[:1], None), TypeError, "ids must be given"),
    ],
)
def test_bad_input_is_refused_and_changes_nothing(index: BinaryIndex, action: Any, error: Any, message: str) -> None:
    before = index._state
    with pytest.raises(error, match=message):
        action(index)
    assert index._state is before


def test_an_index_of_integers_refuses_strings() -> None:
    index = BinaryIndex(16)
    index.add(CODES[:2])
    with pytest.raises(TypeError, match="ids are strings, but those of this index are whole numbers"):
        index.add(CODES[:1], ["a"])
    with pytest.raises(ValueError, match="where needs metadata, and the index has none"):
        index.search(CODES[:1], where="a = 1")
    with pytest.raises(ValueError, match=r"column a is null in all rows"):
        index.add(CODES[:1], metadata={"a": [None]})
    assert "a" not in index


def test_a_damaged_batch_of_metadata_costs_its_items_only(tmp_path: Path) -> None:
    n = 200_000
    codes = np.random.default_rng(0).integers(0, 256, (n, 2), dtype=np.uint8)
    index = BinaryIndex(16)
    index.add(codes, [f"item {i}" for i in range(n)], {"value": np.arange(n)})
    index.save(tmp_path / "index")
    (segment,) = (tmp_path / "index").glob("segment-*")
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1  # in the middle of the table, the largest part of the file
    segment.write_bytes(content)
    with pytest.raises(FileFormatError, match=f"{segment.name} is damaged: 65,536 rows of its metadata"):
        BinaryIndex.open(tmp_path / "index").metadata(["item 5"])
    result = check_index(tmp_path / "index", repair=True)
    (damage,) = result.damages
    assert damage.file == segment.name
    assert damage.lost_items == 65_536
    repaired = BinaryIndex.open(tmp_path / "index")
    assert len(repaired) == n - 65_536
    kept = repaired.ids[::1000]
    assert repaired.metadata(kept)["value"].to_pylist() == [int(item[5:]) for item in kept]
    np.testing.assert_array_equal(repaired.codes(kept), codes[[int(item[5:]) for item in kept]])
    assert check_index(tmp_path / "index").damages == ()


def test_pictures_with_their_paths_and_labels(tmp_path: Path) -> None:
    """CIFAR-10: the path is the id, the label and the size of the file are metadata, the code an average hash."""
    sample = pq.read_table(Path(__file__).parents[2] / "data" / "cifar10-sample.parquet").to_pandas()
    pictures = [Image.open(io.BytesIO(image["bytes"])).convert("L").resize((8, 8)) for image in sample["img"]]
    pixels = np.stack([np.asarray(picture).ravel() for picture in pictures])
    codes = np.packbits(pixels > pixels.mean(axis=1, keepdims=True), axis=1)
    table = pd.DataFrame({"label": sample["label"], "size": [len(image["bytes"]) for image in sample["img"]]})
    table["path"] = [f"{row}/{image['path']}" for row, image in enumerate(sample["img"])]
    index = BinaryIndex(64)
    half = len(table) // 2
    for part in (slice(None, half), slice(half, None)):
        index.add(codes[part], table["path"][part], table[["label", "size"]][part])
    index.save(tmp_path / "pictures")
    index = BinaryIndex.open(tmp_path / "pictures")
    kept = table[(table["label"].isin([3, 5]) & (table["size"] > table["size"].median())) | (table["label"] == 8)]
    where = f"label in (3, 5) and size > {table['size'].median()} or label = 8"
    found = index.search(codes[:20], 6, where=where, columns=["label", "size"]).to_pandas()
    assert set(found["id"]) <= set(kept["path"])
    for query, rows in found.groupby("query"):
        distances = np.unpackbits(codes[query] ^ codes[kept.index], axis=1).sum(axis=1)
        assert rows["distance"].tolist() == np.sort(distances)[:6].tolist()
    expected = table.set_index("path").loc[found["id"]]
    assert found["label"].tolist() == expected["label"].tolist()
    assert found["size"].tolist() == expected["size"].tolist()
