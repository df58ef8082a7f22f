import itertools
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from threadpoolctl import threadpool_limits

from h2q.index import BinaryIndex
from h2q.quantization import HouseholderQuantizer, RefinedQuantizer, load_quantizer, make_quantizer, unpack_bits
from h2q.quantization.decoders import fit_decoder, start_decoder
from h2q.quantization.procrustes import random_rotation
from h2q.quantization.reduction import principal_components
from h2q.quantization.scalars import fit_smoother

DIGITS = load_digits().data.astype(np.float32)
# Sums of neighbors and noise, so that no column is constant.
DIGITS = (DIGITS + np.roll(DIGITS, 1, axis=1) + np.random.default_rng(0).normal(size=DIGITS.shape)).astype(np.float32)
DIGITS /= np.linalg.norm(DIGITS, axis=1, keepdims=True)
X, QUERIES = DIGITS[200:], DIGITS[:200]
TRUE = 1 - QUERIES.astype(np.float64) @ X.T.astype(np.float64)


@pytest.fixture(scope="module")
def fitted() -> RefinedQuantizer:
    return RefinedQuantizer(n_bytes=6, random_state=0).fit(X)


def estimates(quantizer, metric="cosine"):
    items, queries = quantizer.encode_items(X), quantizer.asymmetric_queries(QUERIES, metric)
    products = queries.weights @ (2.0 * unpack_bits(items.codes, quantizer.n_bits_) - 1).T
    if items.scalars is not None:
        scales, offsets = quantizer.scalar_tables(metric)
        products = products * scales[items.scalars] + offsets[items.scalars]
    return queries.constants[:, None] - products


def recall(distances):
    near = np.argsort(TRUE, axis=1)[:, :10]
    ranked = np.argsort(distances, axis=1, kind="stable")[:, :10]
    return np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(near, ranked, strict=True)])


def hamming(queries, codes):
    return np.bitwise_count(queries[:, None] ^ codes[None]).sum(axis=2)


def test_it_ranks_better_than_a_rotation_of_as_many_bytes(fitted):
    rotation = HouseholderQuantizer(48, random_state=0).fit(X)
    assert recall(estimates(fitted)) > recall(estimates(rotation)) + 0.05
    assert np.abs(estimates(fitted) - TRUE).mean() < 0.5 * np.abs(estimates(rotation) - TRUE).mean()


def test_scalars_pay(fitted):
    items, queries = fitted.encode_items(X), fitted.asymmetric_queries(QUERIES)
    bare = queries.constants[:, None] - queries.weights @ (2.0 * unpack_bits(items.codes, fitted.n_bits_) - 1).T
    assert recall(estimates(fitted)) > recall(bare) + 0.02


def test_plain_signs_are_better_queries_for_hamming(fitted):
    codes = fitted.encode(X)
    plain, own = (recall(hamming(f(QUERIES), codes)) for f in (fitted.encode_queries, fitted.encode))
    assert plain > own


def test_metrics_of_unit_vectors_agree(fitted):
    cosine = estimates(fitted)
    np.testing.assert_allclose(estimates(fitted, "euclidean"), 2 * cosine, atol=1e-4)
    np.testing.assert_allclose(estimates(fitted, "inner_product"), cosine - 1, atol=1e-4)


def test_embeddings_count_by_direction_alone(fitted):
    sizes = np.exp2(np.random.default_rng(0).integers(-5, 5, (len(X), 1))).astype(np.float32)
    np.testing.assert_array_equal(fitted.encode(X * sizes), fitted.encode(X))
    np.testing.assert_array_equal(RefinedQuantizer(6, random_state=0).fit(X * sizes).encode(X), fitted.encode(X))


def test_an_item_has_one_code_in_whatever_batch_and_on_however_many_threads(fitted):
    expected = fitted.encode_items(X)
    for parts in ([X[:1], X[1:]], [X[start : start + 7] for start in range(0, len(X), 7)]):
        items = [fitted.encode_items(part) for part in parts]
        np.testing.assert_array_equal(np.concatenate([item.codes for item in items]), expected.codes)
        np.testing.assert_array_equal(np.concatenate([item.scalars for item in items]), expected.scalars)
    for n_threads in (1, 4):
        with threadpool_limits(n_threads, user_api="blas"):
            np.testing.assert_array_equal(fitted.encode(np.tile(X, (4, 1)))[: len(X)], expected.codes)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_an_index_gives_the_estimates(fitted, metric, tmp_path):
    index = BinaryIndex(quantizer=fitted, metric=metric)
    index.add(X)
    index.save(tmp_path / "index")
    expected = np.sort(estimates(fitted, metric), axis=1)[:, :10]
    for each in (index, BinaryIndex.open(tmp_path / "index")):
        np.testing.assert_allclose(each.search(QUERIES, 10, scoring="asymmetric").distances, expected, atol=1e-4)
    hamming_distances = index.search(QUERIES, 10, scoring="hamming").distances
    np.testing.assert_array_equal(
        hamming_distances, np.sort(hamming(fitted.encode_queries(QUERIES), fitted.encode(X)), axis=1)[:, :10]
    )
    near = index.search_radius(QUERIES[:1], int(hamming_distances[0, 9]))
    assert (near[0].distances <= hamming_distances[0, 9]).all()
    assert len(near[0].ids) >= 10


def test_decoding_comes_close(fitted):
    decoded = fitted.decode(fitted.encode(X))
    residual = np.sum((decoded - X) ** 2) / np.sum((X - fitted.mean_) ** 2)
    rotation = HouseholderQuantizer(40, random_state=0).fit(X)
    assert residual < 0.8 * np.sum((rotation.decode(rotation.encode(X)) - X) ** 2) / np.sum((X - fitted.mean_) ** 2)


def test_the_error_is_that_of_the_formula(fitted):
    centered = X - fitted.mean_
    decoded = fitted.decode(fitted.encode(X)) - fitted.mean_
    cosines = (centered * decoded).sum(axis=1) / np.linalg.norm(centered, axis=1) / np.linalg.norm(decoded, axis=1)
    assert fitted.quantization_error(X) == pytest.approx(np.mean(2 - 2 * cosines), abs=1e-5)


def test_a_file_gives_the_same_codes_scalars_and_fingerprint(fitted, tmp_path):
    fitted.save(tmp_path / "q.safetensors")
    for loaded in (load_quantizer(tmp_path / "q.safetensors"), pickle.loads(pickle.dumps(fitted))):
        assert loaded.get_params() == fitted.get_params()
        assert loaded.fingerprint() == fitted.fingerprint()
        for a, b in ((loaded.encode_items(X), fitted.encode_items(X)),):
            np.testing.assert_array_equal(a.codes, b.codes)
            np.testing.assert_array_equal(a.scalars, b.scalars)
        np.testing.assert_array_equal(loaded.transform(X), fitted.transform(X))


def test_the_same_seed_gives_the_same_bytes_and_another_gives_others(tmp_path):
    fingerprints = [RefinedQuantizer(4, random_state=seed).fit(X).fingerprint() for seed in (0, 0, 1)]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


def test_sizes():
    assert make_quantizer("refined", 40).n_bytes == 5
    assert make_quantizer("refined", 41).n_bytes == 6
    quantizer = make_quantizer("refined", None, random_state=0).fit(X)
    assert (quantizer.n_bits_, quantizer.encode(X).shape) == (64, (len(X), 8))
    assert clone(quantizer).n_bytes is None


def test_batches_and_samples():
    batches = RefinedQuantizer(4, random_state=0).fit(iter([X[:700], X[700:]]))
    assert batches.fingerprint() == RefinedQuantizer(4, random_state=0).fit(X).fingerprint()
    sampled = RefinedQuantizer(4, max_samples=500, random_state=0).fit(X)
    assert sampled.quantization_error(X) < 1.2 * batches.quantization_error(X)


@pytest.mark.parametrize(
    ("rows", "options", "error", "message"),
    [
        (X, {"n_bytes": 10}, ValueError, "n_bytes must be from 2 to 9 for embeddings of 64 features; got 10"),
        (X, {"n_bytes": 1}, ValueError, "n_bytes must be at least 2; got 1"),
        (X[:, :5], {"n_bytes": None}, ValueError, "n_bytes must be from 2"),
        (X, {"n_bytes": 4.5}, TypeError, "n_bytes must be a whole number"),
        (X, {"max_samples": 0}, ValueError, "max_samples must be at least 1"),
        (np.r_[X, np.zeros((1, 64))], {}, ValueError, r"X has 1 all-zero row\(s\)"),
        (np.tile(X[:1], (500, 1)), {}, ValueError, "all rows of X have the same direction"),
        (np.full((9, 64), np.nan), {}, ValueError, "X contains NaN"),
    ],
)
def test_bad_input_is_named(rows, options, error, message):
    with pytest.raises(error, match=message):
        RefinedQuantizer(**({"n_bytes": 4} | options)).fit(rows)


def test_bad_input_to_a_fitted_quantizer_is_named(fitted):
    with pytest.raises(ValueError, match="X has 32 features, but RefinedQuantizer is expecting 64"):
        fitted.encode(X[:, :32])
    with pytest.raises(ValueError, match="metric must be one of"):
        fitted.asymmetric_queries(QUERIES, "angle")
    for method in ("encode", "encode_queries", "asymmetric_queries", "decode"):
        with pytest.raises(NotFittedError):
            getattr(RefinedQuantizer(4), method)(X)


def test_few_rows_are_warned_of():
    with pytest.warns(UserWarning, match="X has 40 rows for 32 bits"):
        quantizer = RefinedQuantizer(5, random_state=0).fit(X[:40])
    assert np.isfinite(quantizer.decode(quantizer.encode(X[:3]))).all()


def test_the_decoder_is_the_least_squares_one():
    generator = np.random.default_rng(0)
    bits, targets = generator.random((300, 6)) > 0.5, generator.standard_normal((300, 8)).astype(np.float32)
    weights = generator.uniform(0.5, 2, 300)
    root = np.sqrt(weights)[:, None]
    expected = np.linalg.lstsq(root * np.where(bits, 1.0, -1.0), root * targets, rcond=None)[0]
    np.testing.assert_allclose(fit_decoder(bits, targets, weights), expected, atol=2e-3)


def test_the_ridge_of_the_decoder_only_shrinks_it_a_little():
    bits = np.array(list(itertools.product([False, True], repeat=3)))  # orthogonal columns of signs
    targets = np.random.default_rng(0).standard_normal((8, 5)).astype(np.float32)
    least_squares = np.where(bits, 1.0, -1.0).T @ targets / 8
    factors = fit_decoder(bits, targets, np.ones(8)) / least_squares
    assert 0.99 < factors.min() < 1
    np.testing.assert_allclose(factors, factors[0, 0], rtol=1e-5)


def decoder_error(targets, rows):
    """Return the squared error of codes without flips, and the factor of the decoder that would make it least."""
    decoded = np.sign(targets @ rows.T) @ rows
    return np.sum((targets - decoded) ** 2), np.sum(targets * decoded) / np.sum(decoded**2)


def test_the_first_decoder_has_the_scale_of_normal_rows():
    targets = np.random.default_rng(0).standard_normal((4000, 24)).astype(np.float32)
    _, factor = decoder_error(targets, start_decoder(targets, 16, np.random.default_rng(0)))
    assert factor == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("k", [8, 24])
def test_the_first_decoder_loses_less_than_random_rotations(k):
    targets = X[:500] - X[:500].mean(axis=0)
    targets /= np.linalg.norm(targets, axis=1, keepdims=True)
    error, _ = decoder_error(targets, start_decoder(targets, k, np.random.default_rng(0)))
    directions = principal_components(targets, k).directions
    for seed in range(5):
        rows = random_rotation(k, np.random.default_rng(seed)).T @ directions
        rows *= np.abs(targets @ rows.T).mean(axis=0)[:, None]
        assert error < decoder_error(targets, rows)[0]


def test_the_smoother_predicts_the_neighbors_of_a_row():
    centered = X - X.mean(axis=0)
    smoother = fit_smoother(centered, np.random.default_rng(0))
    np.testing.assert_allclose(smoother, smoother.T, atol=1e-6)
    distances = ((centered[:300, None] - centered[None]) ** 2).sum(axis=2)
    distances[np.arange(300), np.arange(300)] = np.inf
    means = centered[np.argsort(distances, axis=1)[:, :30]].mean(axis=1)
    residual = np.sum((centered[:300] @ smoother - means) ** 2) / np.sum(means**2)
    assert residual < 0.6 * np.sum((centered[:300] - means) ** 2) / np.sum(means**2)
