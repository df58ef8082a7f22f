import numpy as np
import pytest
from sklearn.datasets import load_digits

from h2q.quantization import (
    HouseholderQuantizer,
    ITQQuantizer,
    RandomRotationQuantizer,
    SignQuantizer,
    load_quantizer,
    unpack_bits,
)
from h2q.quantization.scoring import linear_queries

QUANTIZERS = [HouseholderQuantizer, ITQQuantizer, RandomRotationQuantizer, SignQuantizer]
DIGITS = load_digits().data.astype(np.float32)
# Sums of neighbors and noise, so that no column is constant.
DIGITS = (DIGITS + np.roll(DIGITS, 1, axis=1) + np.random.default_rng(0).normal(size=DIGITS.shape)).astype(np.float32)
X, QUERIES = DIGITS[200:], DIGITS[:200]


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def estimates(quantizer, queries, items, metric):
    encoded = quantizer.encode_items(items)
    prepared = quantizer.asymmetric_queries(queries, metric)
    signs = 2.0 * unpack_bits(encoded.codes, quantizer.n_bits_) - 1
    products = prepared.weights.astype(np.float64) @ signs.T
    tables = quantizer.scalar_tables()
    if tables is not None:
        scales, offsets = tables
        products = products * scales[encoded.scalars] + offsets[encoded.scalars]
    return prepared.constants[:, None] - products


def true_distances(queries, items, metric):
    queries, items = queries.astype(np.float64), items.astype(np.float64)
    if metric == "inner_product":
        return -queries @ items.T
    if metric == "cosine":
        return 1 - unit(queries) @ unit(items).T
    return ((queries[:, None] - items[None]) ** 2).sum(axis=2)


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "inner_product"])
@pytest.mark.parametrize("center", [True, False])
def test_the_estimate_is_the_distance_to_the_decoded_item(metric, center):
    """Exactly so if items are codes of an orthogonal decoder, which lie equally far from the mean."""
    generator = np.random.default_rng(0)
    rotation, _ = np.linalg.qr(generator.standard_normal((8, 8)))
    signs = np.array([[1 - 2 * (i >> j & 1) for j in range(8)] for i in range(256)])
    mean = generator.standard_normal(8) if center else np.zeros(8)
    decoder, queries = 0.5 * rotation, generator.standard_normal((5, 8))
    items = mean + signs @ decoder
    spread = np.array([8 * 0.25, np.linalg.norm(items, axis=1).std()], np.float32)
    prepared = linear_queries(*(a.astype(np.float32) for a in (queries, mean, decoder)), spread, metric)
    estimated = prepared.constants[:, None] - prepared.weights @ signs.T
    if metric != "cosine" or not center:
        np.testing.assert_allclose(estimated, true_distances(queries, items, metric), atol=1e-5)
    else:  # the items' part along the mean is left out, their norm is the root mean square
        norm = np.sqrt(mean @ mean + 8 * 0.25)
        expected = 1 - (unit(queries) @ items.T / norm - (items - mean) @ mean / norm**2)
        np.testing.assert_allclose(estimated, expected, atol=1e-5)


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "inner_product"])
@pytest.mark.parametrize("kind", QUANTIZERS)
def test_estimates_are_close_and_rank_better_than_hamming(kind, metric):
    items, queries = unit(X), unit(QUERIES)
    quantizer = kind(random_state=0).fit(items)
    estimated, expected = estimates(quantizer, queries, items, metric), true_distances(queries, items, metric)
    assert np.corrcoef(estimated.ravel(), expected.ravel())[0, 1] > 0.85
    assert estimated.mean() == pytest.approx(expected.mean(), abs=0.003 * np.abs(expected).max())
    near = np.argsort(expected, axis=1)[:, :10]
    hamming = np.bitwise_count(quantizer.encode(queries)[:, None] ^ quantizer.encode(items)[None]).sum(axis=2)
    recalls = []
    for distances in (estimated, hamming):
        ranked = np.argsort(distances, axis=1, kind="stable")[:, :10]
        recalls.append(np.mean([len(np.intersect1d(a, b)) for a, b in zip(near, ranked, strict=True)]))
    assert recalls[0] > recalls[1] + 0.5


def test_inner_products_count_the_norms_of_items():
    items = X * np.random.default_rng(0).uniform(0.5, 2, (len(X), 1)).astype(np.float32)
    quantizer = RandomRotationQuantizer(random_state=0).fit(items)
    estimated = estimates(quantizer, QUERIES, items, "inner_product")
    expected = true_distances(QUERIES, items, "inner_product")
    assert np.corrcoef(estimated.ravel(), expected.ravel())[0, 1] > 0.85


def test_a_shift_of_everything_changes_no_euclidean_estimate():
    quantizer = RandomRotationQuantizer(random_state=0).fit(X)
    shifted = RandomRotationQuantizer(random_state=0).fit(X + 7)
    before = quantizer.asymmetric_queries(QUERIES, "euclidean")
    after = shifted.asymmetric_queries(QUERIES + 7, "euclidean")
    np.testing.assert_allclose(after.weights, before.weights, rtol=1e-3, atol=0.1)
    np.testing.assert_allclose(after.constants, before.constants, rtol=1e-4)


def test_plain_codes_have_no_scalars():
    quantizer = SignQuantizer(16).fit(X)
    encoded = quantizer.encode_items(X)
    assert encoded.scalars is None
    assert quantizer.scalar_tables() is None
    assert len(encoded) == len(X)
    np.testing.assert_array_equal(encoded.codes, quantizer.encode(X))


def test_bad_queries_are_named():
    quantizer = SignQuantizer(16).fit(X)
    with pytest.raises(ValueError, match="metric must be one of cosine, euclidean, inner_product; got 'angle'"):
        quantizer.asymmetric_queries(QUERIES, "angle")
    with pytest.raises(ValueError, match="Q has 3 features, but 64 were expected"):
        quantizer.asymmetric_queries(QUERIES[:, :3])
    with pytest.raises(ValueError, match=r"Q has 1 all-zero row\(s\)"):
        quantizer.asymmetric_queries(np.zeros((1, 64), np.float32))
    assert len(quantizer.asymmetric_queries(np.zeros((1, 64), np.float32), "euclidean")) == 1


@pytest.mark.parametrize("kind", QUANTIZERS)
def test_the_fingerprint_tells_quantizers_apart_and_survives_a_file(kind, tmp_path):
    quantizer = kind(16, random_state=np.random.default_rng(0)).fit(X)
    quantizer.save(tmp_path / "q.safetensors")
    assert load_quantizer(tmp_path / "q.safetensors").fingerprint() == quantizer.fingerprint()
    others = [
        kind(15, random_state=0).fit(X),
        kind(16, random_state=0).fit(X[::2]),
        kind(16, center=False).fit(X[:, 1:]),
    ]
    moved = load_quantizer(tmp_path / "q.safetensors")
    moved.reconstruction_ = moved.reconstruction_ * np.float32(2)
    prints = {fitted.fingerprint() for fitted in (quantizer, moved, *others)}
    assert len(prints) == 5
    assert all(len(text) == 32 for text in prints)
