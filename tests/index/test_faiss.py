"""What only the FAISS engine does: a recall that is asked for, measured, stored, and kept when the items change."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from h2q import RandomRotationQuantizer
from h2q.index import BinaryIndex, create_index, open_index
from h2q.index.faiss_index import FaissIndex

X = load_digits().data[:, 1:].astype(np.float32)


@pytest.fixture(scope="module")
def codes() -> np.ndarray:
    """Return codes of digits, and of nearby digits."""
    generator = np.random.default_rng(0)
    noisy = np.concatenate([X + generator.normal(0, 1, X.shape).astype(np.float32) for _ in range(4)])
    return RandomRotationQuantizer(64 - 8, random_state=0).fit(X).encode(noisy)


def recall_of(index: FaissIndex, codes: np.ndarray, k: int = 100) -> float:
    oracle = BinaryIndex(56)
    oracle.add(index.codes(index.ids), ids=index.ids)
    found, expected = index.search(codes, k), oracle.search(codes, k)
    return float((found.distances <= expected.distances[:, -1:]).mean())


@pytest.mark.parametrize("method", ["ivf", "hnsw"])
@pytest.mark.parametrize("target", [0.8, 0.97])
def test_the_recall_that_was_asked_for(tmp_path: Path, codes: np.ndarray, method: str, target: float) -> None:
    address = f"faiss:{tmp_path / 'index'}?method={method}&recall={target}&min_items=1000"
    with create_index(address, 56) as index:
        assert index.recall is None
        index.add(codes[200:])
    with open_index(address) as index:
        measured = index.recall
        assert (measured.method, measured.target, measured.items) == (method, target, len(codes) - 200)
        assert measured.value >= target - 0.05
        assert f"recall@100 {measured.value:.3f} measured" in repr(index)
        assert recall_of(index, codes[:200]) >= target - 0.05
        if method == "ivf":
            assert measured.effort < measured.lists  # not by visiting all


def test_changes_after_the_structure_was_built(tmp_path: Path, codes: np.ndarray) -> None:
    address = f"faiss:{tmp_path / 'index'}?recall=0.99&min_items=1000"
    with create_index(address, 56) as index:
        index.add(codes[:4000])
        index.save()
        built = index.recall
        index.add(codes[4000:5000])
        index.remove(np.arange(0, 2000))
        index.upsert(codes[:10], ids=np.arange(2000, 2010))
        assert recall_of(index, codes[:100]) > 0.97
        assert not np.isin(index.search(codes[:100], 50).ids, np.arange(2000)).any()
        assert (index.search(codes[:10], 1).distances == 0).all()
        assert index.recall is built
        index.save()
    with open_index(address) as index:
        assert index.recall == built
        assert recall_of(index, codes[:100]) > 0.97
        index.add(codes)  # more than twice as many as when it was built
        index.search(codes[:1], 1)
        assert index.recall.items == len(index)


def test_ties_go_to_the_lower_id_and_short_lists_are_no_reason_for_less(tmp_path: Path, codes: np.ndarray) -> None:
    with create_index(f"faiss:{tmp_path / 'index'}?recall=0.5&min_items=1000", 56) as index:
        index.add(codes)
        index.warm_up()
        k = 2 * len(codes) // index.recall.lists  # more than the lists that are visited first hold
        result = index.search(codes[:300], k)
        assert result.ids.shape == (300, k)
        assert (np.diff(np.sort(result.ids, axis=1)) > 0).all()
        keys = result.distances.astype(np.int64) * len(codes) + result.ids
        assert (np.diff(keys) > 0).all()
        assert index._graph.structure.nprobe == index.recall.effort


def test_a_damaged_structure_is_built_again(tmp_path: Path, codes: np.ndarray) -> None:
    address = f"faiss:{tmp_path / 'index'}?min_items=1000"
    with create_index(address, 56) as index:
        index.add(codes)
    path = tmp_path / "index" / "approximate.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 8
    path.write_bytes(content)
    with open_index(address) as index:
        assert index.recall is None
        assert recall_of(index, codes[:50]) > 0.9
        assert index.recall is not None
    with open_index(address) as index:
        assert index.recall is not None


def test_another_process_saved_items(tmp_path: Path, codes: np.ndarray) -> None:
    address = f"faiss:{tmp_path / 'index'}?min_items=1000"
    with create_index(address, 56) as index:
        index.add(codes[:3000])
    first, second = open_index(address), open_index(address)
    first.add(codes[3000:3100], ids=np.arange(5000, 5100))
    second.add(codes[3100:3200], ids=np.arange(6000, 6100))
    first.save()
    second.save()
    assert len(second) == 3200
    for index in (second, open_index(address)):
        assert (index.search(codes[3000:3200], 1).distances == 0).all()
        index.close()
    first.close()


def test_string_ids_and_metadata(tmp_path: Path, codes: np.ndarray) -> None:
    names = np.array([f"digit-{row}" for row in range(len(codes))], object)
    with create_index(f"faiss:{tmp_path / 'index'}?min_items=1000&recall=0.99", 56) as index:
        index.add(codes[:-50], ids=names[:-50], metadata={"row": np.arange(len(codes) - 50)})
        index.save()
        index.add(codes[-50:], ids=names[-50:], metadata={"row": np.arange(50)})
        index.remove(names[:3])
        assert index.recall is not None
        found = index.search(codes[-50:], 1)
        assert (found.distances == 0).all()
        np.testing.assert_array_equal(index.codes(found.ids.ravel()), codes[-50:])
        assert not np.isin(index.search(codes[:3], 30).ids, names[:3]).any()
        filtered = index.search(codes[:5], 5, where="row between 100 and 199", columns=["row"])
        assert np.isin(filtered.ids, names[100:200]).all()
        assert index.metadata(names[[7, 5]])["row"].to_pylist() == [7, 5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("recall=2", "recall in the address must be above 0 and at most 1; got 2"),
        ("recall=high", "recall in the address must be a number; got 'high'"),
        ("method=lsh", "method in the address must be ivf or hnsw; got 'lsh'"),
        ("nprobe=3", "the address has options that faiss does not have: nprobe=3; it has: recall, method"),
    ],
)
def test_wrong_options(tmp_path: Path, options: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_index(f"faiss:{tmp_path / 'index'}?{options}", 8)
    assert not (tmp_path / "index").exists()
