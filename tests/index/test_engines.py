"""Every engine through one suite: what it keeps and returns is compared with an exact index in memory."""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
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
    return np.array_equal(found, expected) if exact else bool((found == expected).mean() >= 0.97)


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
