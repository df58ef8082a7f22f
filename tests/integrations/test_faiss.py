from pathlib import Path

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.datasets import load_digits

import h2q
from h2q.integrations.faiss import linear_transform, with_rotation


@pytest.fixture(scope="module")
def digits() -> NDArray[np.float32]:
    data = np.asarray(load_digits().data, np.float32)
    return np.ascontiguousarray(data[:, data.std(axis=0) > 0])  # 61 columns


@pytest.mark.parametrize("options", [{}, {"center": False}, {"n_bits": 24}, {"n_bits": 24, "whitening": 1.0}])
def test_the_signs_of_the_transform_are_the_codes(digits: NDArray[np.float32], options: dict[str, float]) -> None:
    quantizer = h2q.HouseholderQuantizer(random_state=0, **options).fit(digits[:1000])
    rotated = linear_transform(quantizer).apply(digits[1000:])
    np.testing.assert_allclose(rotated, quantizer.transform(digits[1000:]), atol=1e-3 * np.abs(rotated).max())
    different = h2q.pack_bits(rotated) != quantizer.encode(digits[1000:])
    assert different.mean() < 1e-3  # entries within rounding of zero


def test_an_exact_index_behind_it_returns_the_same_neighbors(digits: NDArray[np.float32], tmp_path: Path) -> None:
    quantizer = h2q.HouseholderQuantizer(random_state=0).fit(digits)
    index = with_rotation(quantizer, "Flat")
    index.add(digits)
    plain = faiss.IndexFlatL2(61)
    plain.add(digits)
    distances, rows = index.search(digits[:50], 5)
    np.testing.assert_allclose(distances, plain.search(digits[:50], 5)[0], atol=0.05)
    faiss.write_index(index, str(tmp_path / "index"))
    np.testing.assert_array_equal(faiss.read_index(str(tmp_path / "index")).search(digits[:50], 5)[1], rows)


def test_signs_behind_a_learned_rotation_find_more(digits: NDArray[np.float32]) -> None:
    """FAISS's own codes (float queries against signs) behind no rotation and behind a learned one."""
    items, queries = digits[200:], digits[:200]
    truth = faiss.IndexFlatL2(61)
    truth.add(items)
    neighbors = truth.search(queries, 10)[1]
    recalls = {}
    for quantizer in (h2q.HouseholderQuantizer(random_state=0), h2q.SignQuantizer()):
        index = with_rotation(quantizer.fit(items), faiss.IndexLSH(61, 61, False, False))
        index.add(items)
        rows = index.search(queries, 10)[1]
        recalls[type(quantizer).__name__] = np.mean(
            [len(np.intersect1d(a, b)) for a, b in zip(rows, neighbors, strict=True)]
        )
    assert recalls["HouseholderQuantizer"] > recalls["SignQuantizer"] + 0.3


def test_an_index_of_another_width_is_refused(digits: NDArray[np.float32]) -> None:
    quantizer = h2q.RandomRotationQuantizer(16, random_state=0).fit(digits)
    with pytest.raises(ValueError, match=r"index must have 16 dimensions, .* got an index of 61"):
        with_rotation(quantizer, faiss.IndexFlatL2(61))
