"""Every engine through one suite: what it keeps and returns is compared with an exact index in memory."""

import datetime
import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from h2q import RandomRotationQuantizer
from h2q.index import BinaryIndex, Index, create_index, open_index
from h2q.quantization import RefinedQuantizer

X = load_digits().data[:600, 1:].astype(np.float32)
K = 10

# What each engine finds: all of the nearest codes, or most of them.
ENGINES = {
    "file": True,
    "faiss-ivf": False,
    "faiss-hnsw": False,
    "postgresql": True,
    "postgresql-hnsw": False,
    "milvus": True,
}


@pytest.fixture(scope="module")
def quantizer() -> RandomRotationQuantizer:
    return RandomRotationQuantizer(48, random_state=0).fit(X)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def address(engine: str, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """Return a new address."""
    name = f"t{uuid.uuid4().hex}"
    if engine.startswith("postgresql"):
        kind = "hnsw" if engine.endswith("hnsw") else "none"
        return f"{request.getfixturevalue('postgresql')}?table={name}&index={kind}"
    if engine == "milvus":
        return f"{request.getfixturevalue('milvus')}/{name}?quantizer={tmp_path / 'quantizer.safetensors'}"
    if engine.startswith("faiss"):
        return f"faiss:{tmp_path / name}?method={engine.removeprefix('faiss-')}&recall=0.99&min_items=100"
    return str(tmp_path / name)


@pytest.fixture
def make(address: str, request: pytest.FixtureRequest) -> Callable[..., Index]:
    def make(*arguments: Any, **options: Any) -> Index:
        index = create_index(address, *arguments, **options)
        request.addfinalizer(index.close)
        return index

    return make


def same(found: np.ndarray, expected: np.ndarray, *, exact: bool) -> bool:
    """Return whether distances are those of an exact search; those of an engine that is not exact nearly so."""
    assert found.shape == expected.shape
    return np.array_equal(found, expected) if exact or not found.size else bool((found == expected).mean() >= 0.97)


def test_one_history_in_every_engine(engine: str, address: str, make: Callable[..., Index], quantizer: Any) -> None:
    index, oracle = make(quantizer=quantizer), BinaryIndex(quantizer=quantizer)
    assert len(index) == 0
    assert index.search(X[:2]).ids.shape == (2, 0)
    for each in (index, oracle):
        np.testing.assert_array_equal(each.add(X[:200]), np.arange(200))
        codes = quantizer.encode(X[200:400])
        np.testing.assert_array_equal(each.add(codes, ids=np.arange(1400, 1600)), np.arange(1400, 1600))
        np.testing.assert_array_equal(each.add(X[400:500]), np.arange(1600, 1700))
        each.remove([3, 1402])
        each.upsert(X[500:504], ids=[7, 8, 3, 5000])
    index.save()
    index.close()
    with open_index(address) as index:
        assert len(index) == len(oracle) == 500
        np.testing.assert_array_equal(index.ids, oracle.ids)
        assert (7 in index, 1402 in index, "7" in index, -1 in index) == (True, False, False, False)
        assert index.contains([7, 1402, 5000]).tolist() == [True, False, True]
        some = [5000, 7, 3, 1600, 0]
        np.testing.assert_array_equal(index.codes(some), oracle.codes(some))
        queries = quantizer.encode(X[:50])
        found, expected = index.search(queries, K), oracle.search(queries, K)
        assert found.distances.dtype == np.int32
        assert same(found.distances, expected.distances, exact=ENGINES[engine])
        true = oracle.codes(
            found.ids.ravel() if len(set(found.ids.ravel())) == found.ids.size else np.unique(found.ids)
        )
        assert len(true)
        for row, neighbors in enumerate(found):
            bits = np.unpackbits(oracle.codes(neighbors.ids) ^ queries[row], axis=1).sum(axis=1)
            np.testing.assert_array_equal(bits, neighbors.distances)
            assert (np.lexsort((neighbors.ids, neighbors.distances)) == np.arange(K)).all()
        assert index.add(X[:1]).tolist() == [5001]


def test_more_neighbors_than_items(make: Callable[..., Index], quantizer: Any) -> None:
    index = make(48)
    index.add(quantizer.encode(X[:30]))
    index.save()
    neighbors = index.search(quantizer.encode(X[:3]), 1000)
    assert neighbors.ids.shape == (3, 30)
    assert (np.sort(neighbors.ids, axis=1) == np.arange(30)).all()
    assert index.search(quantizer.encode(X[:1])[0], 5).ids.shape == (1, 5)  # 1-D
    assert index.search(np.zeros((0, 6), np.uint8), 5).ids.shape == (0, 5)


def test_radius(make: Callable[..., Index], quantizer: Any) -> None:
    index, oracle = make(48), BinaryIndex(48)
    for each in (index, oracle):
        each.add(quantizer.encode(X))
    index.save()
    queries = np.concatenate([quantizer.encode(X[:20]), np.full((1, 6), 0b10101010, np.uint8)])
    for radius, limit in [(0, None), (9, None), (9, 3), (48, None)]:
        found, expected = (
            index.search_radius(queries, radius, limit=limit),
            oracle.search_radius(queries, radius, limit=limit),
        )
        np.testing.assert_array_equal(found.counts, expected.counts)
        np.testing.assert_array_equal(found.distances, expected.distances)
        if limit is None:
            np.testing.assert_array_equal(found.ids, expected.ids)


@pytest.mark.parametrize("kind", ["plain", "refined"])
def test_two_steps(engine: str, make: Callable[..., Index], kind: str) -> None:
    """Candidates by codes, then estimates or embeddings: with all items as candidates it is the exact order."""
    quantizer = RandomRotationQuantizer(48, random_state=0) if kind == "plain" else RefinedQuantizer(8, random_state=0)
    quantizer.fit(X)
    index, oracle = (
        make(quantizer=quantizer, keep_embeddings=True),
        BinaryIndex(quantizer=quantizer, keep_embeddings=True),
    )
    for each in (index, oracle):
        each.add(X)
    index.save()
    for options in ({}, {"rerank": 300}, {"rerank": 300, "scoring": "hamming"}):
        found, expected = index.search(X[:20], K, **options), oracle.search(X[:20], K, **options)
        overlap = np.mean(
            [len(set(a) & set(b)) / K for a, b in zip(found.ids.tolist(), expected.ids.tolist(), strict=True)]
        )
        assert overlap > (0.9 if not options else 0.99)
        assert found.distances.dtype == np.float32
        if overlap == 1:
            np.testing.assert_allclose(found.distances, expected.distances, atol=1e-5)
    np.testing.assert_array_equal(index.search(X[:20], 1, rerank=10).ids[:, 0], np.arange(20))


# The folder of the exact index holds its embeddings itself, mapped.
@pytest.mark.parametrize("engine", [name for name in ENGINES if name != "file"], indirect=True)
def test_embeddings_in_a_file(address: str, tmp_path: Path, quantizer: Any) -> None:
    np.save(tmp_path / "floats.npy", X)
    oracle = BinaryIndex(quantizer=quantizer, keep_embeddings=True)
    oracle.add(X)
    address += f"{'&' if '?' in address else '?'}embeddings={tmp_path / 'floats.npy'}"
    with create_index(address, quantizer=quantizer) as index:
        index.add(X)
        index.save()
        found, expected = index.search(X[:20], K, rerank=200), oracle.search(X[:20], K, rerank=200)
        assert (found.ids == expected.ids).mean() > 0.99
        index.add(X[:1])  # without a row in the file
        with pytest.raises(ValueError, match=r"embeddings has 600 rows, one for each id from 0; .* item 600$"):
            index.search(X[:1], 2, rerank=600, scoring="hamming")


def test_strings_are_asked_for_before_the_first_items(make: Callable[..., Index]) -> None:
    index = make(48)
    assert index.contains(["a", "b"]).tolist() == [False, False]
    assert "a" not in index
    for ask in (index.remove, index.codes):
        with pytest.raises(ValueError, match="2 of 2 ids are not in the index"):
            ask(["a", "b"])


@pytest.mark.parametrize("table", ["q", "order"])
def test_a_table_of_postgresql_may_have_any_name(postgresql: str, table: str, quantizer: Any) -> None:
    codes = quantizer.encode(X[:20])
    index = create_index(f"{postgresql}?table={table}", 48)
    index.add(codes, ids=["b", *map(str, range(19))], metadata={"code": np.arange(20)})
    index.save()
    index.upsert(codes[:1], ["a"], {"code": [30]})
    index.remove(["b"])
    assert index.search(codes[:1], 1, where="code > 20").ids.tolist() == [["a"]]
    assert len(index) == 20
    index.drop()
    index.close()


def test_nothing_changes_when_something_is_wrong(make: Callable[..., Index], quantizer: Any) -> None:
    index = make(quantizer=quantizer)
    index.add(X[:50])
    for wrong in (
        lambda: index.add(X[50:60], ids=[*range(50, 59), 4]),
        lambda: index.add(X[50:60], ids=[50] * 10),
        lambda: index.add(X[50:60], ids=range(9)),
        lambda: index.add(X[50:60, :5]),
        lambda: index.upsert(X[50:52], ids=[-1, 3]),
        lambda: index.remove([1, 2, 999]),
        lambda: index.codes([1, 999]),
        lambda: index.search(X[:2], 0),
        lambda: index.search(X[:2], scoring="nearest"),
        lambda: index.search(X[:2], 5, rerank=10),
        lambda: index.search_radius(X[:2], -1),
        lambda: index.add(X[50:52], metadata={"year": [1, 2, 3]}),
        lambda: index.search(X[:2], where="year > 3"),
        lambda: index.add(X[50:52], ids=["a", "b"]),
    ):
        with pytest.raises((ValueError, TypeError)) as raised:
            wrong()
        assert len(str(raised.value)) > 20
    assert len(index) == 50
    np.testing.assert_array_equal(index.codes(np.arange(50)), quantizer.encode(X[:50]))


def test_another_quantizer_is_refused(address: str, make: Callable[..., Index], quantizer: Any) -> None:
    other = RandomRotationQuantizer(48, random_state=1).fit(X)
    index = make(quantizer=quantizer)
    index.add(quantizer.encode_items(X[:20]))
    with pytest.raises(ValueError, match="another quantizer"):
        index.add(other.encode_items(X[:20]))
    index.save()
    with pytest.raises(ValueError, match="another quantizer"):
        open_index(address, quantizer=other)
    with open_index(address, quantizer=quantizer) as same:
        assert same.quantizer.fingerprint() == quantizer.fingerprint()
        assert len(same) == 20


def test_addresses(address: str, make: Callable[..., Index], quantizer: Any) -> None:
    with pytest.raises(FileNotFoundError):
        open_index(address)
    with make(48) as index:
        index.add(quantizer.encode(X[:5]))
        address = index.address
    with pytest.raises(FileExistsError):
        create_index(address, 48)
    with pytest.raises(ValueError, match="closed"):
        index.add(quantizer.encode(X[:5]))
    with open_index(address) as index:
        assert len(index) == 5
        assert index.quantizer is None
        with pytest.raises(TypeError, match="no quantizer"):
            index.search(X[:1])


N = 60
ODD = "a \"b'; drop table items; -- %s {x}"
TEXTS = [
    "cat", "Cat", "catalog", "dog%", "d_g", "", "it's", 'say "no"', "\\n\n\\", "Ärger", "ÄRGER", "straße", "日本",
    None, "\N{KELVIN SIGN}",
]  # fmt: skip
DAYS = [datetime.datetime(2020, 1, 1 + day, 12) for day in range(10)]


def repeated(values: list[Any], kind: Any = None) -> Any:
    return pa.array((values * N)[:N], kind)


TABLE = pa.table(
    {
        "year": repeated([2019, 2020, None, 2024, -5]),
        "small": repeated([1, 2, None, 200], pa.uint8()),
        "huge": repeated([0, 2**64 - 1, None, 2**53 + 1, 2**63], pa.uint64()),
        "big": repeated([2**62 + 1, -(2**63), 2**63 - 1, None, 2**53 + 1]),
        "label": repeated(TEXTS),
        "kind": repeated(["x", "y", None, "select"]).dictionary_encode(),
        "kept": repeated([True, False, None]),
        "score": repeated([1.5, -0.0, float("nan"), None, float("inf"), float("-inf"), 1e22, 2.0]),
        "rough": repeated([0.1, float("nan"), None, 3], pa.float32()),
        "price": repeated([Decimal("1.25"), None, Decimal("2.00"), Decimal("0.10")]),
        "day": repeated([*DAYS, None], pa.date32()),
        "taken": repeated([*DAYS, None], pa.timestamp("ns")),
        "zoned": repeated([None, *DAYS], pa.timestamp("ms", "Europe/Berlin")),
        "tags": repeated([["a", "b"], [], None]),
        "raw": repeated([b"\0\xff", b"", None]),
        ODD: repeated([1, 2, None]),
        "x" * 70: repeated([1, 2]),
        "codes": repeated([7, 8, None]),
        "Naïve": repeated([1, None]),
        "ctid": repeated([1, 2]),
        "column_15": repeated([3, 4]),
        "and": repeated([5, 6]),
    }
)
IDS = [f'photos/{i}\'s "x".jpg' for i in range(N)]
QUOTED = ODD.replace('"', '""')
CONDITIONS = [
    "year >= 2020 and label in ('cat', 'dog%')",
    "year not in (2019, 2024, 2000.5)",
    "not year < 2020.5",
    "year <> 2019.5 and year <= 2024.0",
    "small < 300 and small > -1 and small in (1, 200, 300)",
    "huge > 5 or huge in (0, 9223372036854775808)",
    "not huge < 9007199254740993",
    "big > 4611686018427387904 or big = -9223372036854775807",
    "big >= 9223372036854775807 or big < -9223372036854775807",
    "big = 9007199254740993 and big > 1e15",
    "label like 'cat%'",
    "label not like 'cat%'",
    "label like '%a%'",
    r"not label like 'd\_g' and label like 'd%g%'",
    "label like '%' and not label like '_%'",
    "label ilike 'ärg%' or label ilike 'STRASSE' or label ilike 'STRAßE' or label ilike 'k'",
    "label not ilike 'CAT%'",
    "label < 'b' or label >= '日'",
    r"""label = 'it''s' or label = 'say "no"' or label like '\\n%'""",
    "label <> '''; drop table items; --'",
    """label in ('cat") or (id != "', '%s')""",
    "label is null or label = ''",
    "kind in ('x', 'z') or kind = 'select'",
    "kind <> 'x'",
    "not kept",
    "kept in (true, false) and kept < true",
    "score > 1.5",
    "not score > 1.5",
    "score <> 2 and score >= -1e308",
    "score in (0, 1.5, 1e308)",
    "score not in (0, 1e308)",
    "score > 1e308 or score < -1e308",
    "not score between -1e308 and 2",
    "not score = score",
    "score < year or rough = score",
    "not rough < year",
    "rough > 0.1 or rough = 3",
    "price in (1.25, 0.1) or price > 1.5",
    "price < score",
    "day >= '2020-01-03' and day <> date '2020-01-05'",
    "taken between '2020-01-02 12:00:00' and '2020-01-04'",
    "taken in ('2020-01-02 12:00:00', '2020-01-02')",
    "zoned > '2020-01-02T13:00:00+01:00' and zoned < '2020-01-09'",
    "day < taken and not taken = day",
    "tags is null or raw is null",
    "tags is not null and raw = raw",
    f'"{QUOTED}" = 1 or "{QUOTED}" is null',
    f'"{"x" * 70}" = 2 and codes = 7 and "Naïve" = 1 and ctid = 1 and column_15 > 3 or "and" = 6',
    "(year > 3000 or kept) and not (label is null and small = 2)",
    "year > 3000",
]


def check_where(index: Index, oracle: BinaryIndex, where: str, engine: str) -> None:
    """An engine finds the items that the exact index does, by radius and among the nearest."""
    query = np.full((1, 6), 0b10101010, np.uint8)
    found, expected = (each.search_radius(query, 48, where=where, columns=["year"]) for each in (index, oracle))
    # Of equal distances, engines order strings each in its own way.
    assert sorted(found.ids.tolist()) == sorted(expected.ids.tolist()), where
    np.testing.assert_array_equal(found.distances, expected.distances)
    years = dict(zip(expected.ids.tolist(), expected.metadata["year"].to_pylist(), strict=True))
    assert found.metadata["year"].to_pylist() == [years[item] for item in found.ids.tolist()]
    found, expected = (each.search(query, 4, where=where, columns=["year"]) for each in (index, oracle))
    assert same(found.distances, expected.distances, exact=ENGINES[engine]), where
    assert found.metadata["year"].to_pylist() == [years[item] for item in found.ids[0].tolist()]


def test_filters_keep_what_those_of_the_exact_index_keep(
    engine: str, address: str, make: Callable[..., Index], quantizer: Any
) -> None:
    index, oracle = make(48), BinaryIndex(48)
    for each in (index, oracle):
        assert (each.id_type, each.metadata_schema) == (None, None)
        each.add(quantizer.encode(X[: N - 3]), IDS[: N - 3], TABLE.slice(0, N - 3))
        each.upsert(quantizer.encode(X[N - 3 : N]), IDS[N - 3 :], TABLE.slice(N - 3))
    index.save()
    index.close()
    with open_index(address) as index:
        assert index.id_type == "string"
        assert index.metadata_schema == TABLE.schema
        assert index.ids.tolist() == sorted(IDS)
        np.testing.assert_array_equal(index.codes(IDS), quantizer.encode(X[:N]))
        assert str(index.metadata(IDS).to_pylist()) == str(TABLE.to_pylist())
        assert index.metadata(IDS[3:5], ["year"]).to_pydict() == {"year": [2024, -5]}
        # What a strong read of Milvus has seen, a weaker one sees sooner.
        with open_index(f"{address}&consistency=Eventually" if engine == "milvus" else address) as reader:
            for where in CONDITIONS:
                check_where(reader, oracle, where, engine)
        for each in (index, oracle):  # without metadata an item keeps none
            each.upsert(quantizer.encode(X[:2]), IDS[:2])
            each.upsert(quantizer.encode(X[2:4]), IDS[2:4], [{"year": 1}, {"year": 2}])
            each.remove(IDS[5:7])
        for where in ("year is null", "year < 3", "not label = 'cat'"):
            check_where(index, oracle, where, engine)
        assert index.contains([IDS[0], IDS[5], "x"]).tolist() == [True, False, False]
        assert (IDS[0] in index, IDS[5] in index, 0 in index, "\0" in index) == (True, False, False, False)


def test_metadata_after_the_first_items(engine: str, make: Callable[..., Index], quantizer: Any) -> None:
    index, oracle = make(quantizer=quantizer, keep_embeddings=True), BinaryIndex(48)
    parts = np.arange(20) % 4
    for each, items in ((index, X), (oracle, quantizer.encode(X))):
        each.add(items[:20])
        each.add(items[20:40], metadata={"year": parts})
    index.save()
    assert index.id_type == "integer"
    check_where(index, oracle, "year = 3 or year is null", engine)
    found = index.search(X[:5], 3, where="year in (1, 2)", rerank=20, columns=["year"])
    assert set(found.metadata["year"].to_pylist()) == {1, 2}
    unit = X[:40] / np.linalg.norm(X[:40], axis=1, keepdims=True)
    similarities = np.where(np.isin(parts, [1, 2]), unit[:5] @ unit[20:].T, -1)
    np.testing.assert_array_equal(found.ids[:, 0], 20 + similarities.argmax(axis=1))
    for wrong, message in (
        (lambda: index.search(X[:1], where="year = 'x'"), "compares year"),
        (lambda: index.search(X[:1], where="yeer = 1"), "names the column yeer"),
        (lambda: index.search(X[:1], columns=["yeer"]), "columns names yeer"),
        (lambda: index.add(X[:1], metadata={"year": ["x"]}), "year is string, and in the index int64"),
        (lambda: index.add(X[:1], metadata={"yeer": [1]}), "has the column yeer, which the index does not"),
        (lambda: index.add(X[:1], ["x"]), "ids are strings, but those of this index are whole numbers"),
        (lambda: index.metadata([1, 999]), "not in the index"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            wrong()
    assert len(index) == 40


@pytest.mark.parametrize("engine", ["postgresql", "milvus"], indirect=True)
def test_what_a_server_cannot_hold_is_refused(engine: str, make: Callable[..., Index], quantizer: Any) -> None:
    index, codes = make(48), quantizer.encode(X[:1])
    index.add(codes, ["a"], {"label": ["x"]})
    with pytest.raises(TypeError, match="where must be a text"):
        index.search(codes, where=pc.field("label") == "x")
    with pytest.raises(ValueError, match="no text in UTF-8"):
        index.add(codes, ["\ud800"])
    with pytest.raises(ValueError, match="ids are missing: those of this index are strings"):
        index.add(codes)
    if engine == "postgresql":
        for wrong in (
            lambda: index.add(codes, ["\0"]),
            lambda: index.add(codes, ["b"], {"label": ["\0"]}),
            lambda: index.search(codes, where="label = '\0'"),
        ):
            with pytest.raises(ValueError, match="NUL"):
                wrong()
    else:
        with pytest.raises(ValueError, match="65,536 bytes"):
            index.add(codes, ["b"], {"label": ["x" * 70_000]})
        with pytest.raises(ValueError, match="65,535 bytes"):
            index.add(codes, ["b" * 70_000])
    assert index.ids.tolist() == ["a"]


texts = st.one_of(st.sampled_from([text for text in TEXTS if text]), st.text(max_size=3)).filter(
    lambda text: "\0" not in text
)
rows = st.fixed_dictionaries(
    {
        "year": st.one_of(st.none(), st.integers(2018, 2022), st.integers(-(2**63) + 1, 2**63 - 1)),
        "score": st.one_of(st.none(), st.sampled_from([0.5, 2.0, -0.0]), st.floats(allow_subnormal=False)),
        "label": st.one_of(st.none(), texts),
        "kept": st.one_of(st.none(), st.booleans()),
    }
)
SCHEMA = pa.schema({"year": pa.int64(), "score": pa.float64(), "label": pa.string(), "kept": pa.bool_()})
numeric = st.sampled_from(["year", "score"])
literals = st.one_of(st.integers(2017, 2023), st.sampled_from(["0.5", "2.0", "-0.0", "1e308", "2019.5", "1e300"]))
negated = st.sampled_from(["", "not "])
operators = st.sampled_from(["=", "<>", "<", "<=", ">", ">="])


def quote(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


patterns = st.lists(st.one_of(st.sampled_from(["%", "_", "c", "A", r"\%", r"\_"]), texts), max_size=4).map(
    lambda parts: quote(
        "".join(part if part[0] == "\\" and len(part) == 2 else part.replace("\\", r"\\") for part in parts if part)
    )
)
leaves = st.one_of(
    st.builds("{} {} {}".format, numeric, operators, literals),
    st.builds("{} {}in ({}, {})".format, numeric, negated, literals, literals),
    st.builds("{} between {} and {}".format, numeric, literals, literals),
    st.builds("label {} {}".format, operators, texts.map(quote)),
    st.builds("label {}in ({}, {})".format, negated, texts.map(quote), texts.map(quote)),
    st.builds("label {} {}".format, st.sampled_from(["like", "not like", "ilike"]), patterns),
    st.builds("{} is {}null".format, st.sampled_from(SCHEMA.names), negated),
    st.sampled_from(["kept", "kept = false", "year < score", "score = score"]),
)
conditions = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds("({} and {})".format, inner, inner),
        st.builds("({} or {})".format, inner, inner),
        st.builds("not ({})".format, inner),
    ),
    max_leaves=5,
)


@pytest.mark.parametrize("engine", ["postgresql", "postgresql-hnsw", "milvus"], indirect=True)
def test_any_filter_on_any_table_equals_that_of_the_exact_index(engine: str, make: Callable[..., Index]) -> None:
    index, oracle = make(48), BinaryIndex(48)
    codes = np.packbits(np.random.default_rng(0).random((8, 48)) < 0.5, axis=1)

    @settings(max_examples=10 if engine == "milvus" else 40)
    @given(st.lists(rows, min_size=8, max_size=8), st.lists(conditions, min_size=3, max_size=3))
    def compare(values: list[dict[str, Any]], wheres: list[str]) -> None:
        for each in (index, oracle):
            each.upsert(codes, range(8), pa.Table.from_pylist(values, schema=SCHEMA))
        for where in wheres:
            check_where(index, oracle, where, engine)

    compare()
