import pickle

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import estimator_checks_generator

from h2q.index import BinaryIndex
from h2q.quantization import (
    HouseholderQuantizer,
    NestedQuantizer,
    load_quantizer,
    make_quantizer,
    pack_bits,
    quantizer_names,
    unpack_bits,
)

DIGITS = load_digits().data.astype(np.float32)
# Sums of neighbors and noise, so that no column is constant.
DIGITS = (DIGITS + np.roll(DIGITS, 1, axis=1) + np.random.default_rng(0).normal(size=DIGITS.shape)).astype(np.float32)
X, QUERIES = DIGITS[200:], DIGITS[:200]
LENGTHS = (8, 16, 48)


@pytest.fixture(scope="module")
def fitted() -> NestedQuantizer:
    return NestedQuantizer(lengths=LENGTHS, steps=150, random_state=0).fit(X)


def cosines(Q, rows):
    unit = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in (Q, rows)]
    return unit[0] @ unit[1].T


def recall(ids):
    near = np.argsort(-cosines(QUERIES, X), axis=1)[:, :10]
    return np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(near, ids, strict=True)])


def hamming_recall(quantizer, n_bits=None):
    index = BinaryIndex(quantizer=quantizer)
    index.add(X)
    return recall(index.search(QUERIES, 10, scoring="hamming", n_bits=n_bits).ids)


def test_every_prefix_is_as_good_as_a_code_of_its_own_length(fitted):
    for n_bits in LENGTHS:
        own = HouseholderQuantizer(n_bits, random_state=0).fit(X)
        assert hamming_recall(fitted, n_bits) > hamming_recall(own) - 0.02
    # The order of the bits is what the short prefixes need.
    turned = NestedQuantizer(lengths=(48,), steps=150, random_state=0).fit(X)
    assert hamming_recall(fitted, 8) > hamming_recall(turned, 8) + 0.05


def test_codes_are_the_signs_of_a_linear_map(fitted):
    np.testing.assert_array_equal(fitted.encode(X), pack_bits((X - fitted.mean_) @ fitted.projection_))
    np.testing.assert_array_equal(fitted.encode(X), pack_bits(fitted.transform(X)))


def test_decoding_is_by_least_squares(fitted):
    signs = 2.0 * unpack_bits(fitted.encode(X), 48) - 1
    expected = signs @ np.linalg.lstsq(signs, X - fitted.mean_, rcond=None)[0] + fitted.mean_
    np.testing.assert_allclose(fitted.decode(fitted.encode(X)), expected, atol=0.02 * np.abs(expected).max())


@pytest.mark.parametrize("n_bits", [8, 13, 48])
def test_scores_of_a_prefix_have_the_scale_of_least_squares(fitted, n_bits):
    centered, signs = (X - fitted.mean_).astype(np.float64), 2.0 * unpack_bits(fitted.encode(X), 48)[:, :n_bits] - 1
    scores = centered @ fitted.projection_[:, :n_bits] @ signs.T
    products = centered @ centered.T
    assert fitted.scales_[n_bits - 1] == pytest.approx(np.vdot(scores, products) / np.vdot(scores, scores), rel=1e-4)
    prepared = fitted.asymmetric_queries(QUERIES, "euclidean", n_bits=n_bits)
    estimates = prepared.constants[:, None] - prepared.weights @ signs.T
    distances = ((QUERIES[:, None].astype(np.float64) - X[None]) ** 2).sum(axis=2)
    assert np.corrcoef(estimates.ravel(), distances.ravel())[0, 1] > 0.5
    assert np.abs(estimates - distances).mean() < np.abs(distances - distances.mean()).mean()


def test_asymmetric_scores_are_better_than_hamming_at_every_length(fitted):
    index = BinaryIndex(quantizer=fitted)
    index.add(X)
    for n_bits in LENGTHS:
        assert recall(index.search(QUERIES, 10, n_bits=n_bits).ids) > hamming_recall(fitted, n_bits) + 0.005


def test_without_centering_the_scale_of_a_row_counts_for_nothing():
    sizes = np.exp2(np.random.default_rng(0).integers(-5, 5, (len(X), 1))).astype(np.float32)
    plain, scaled = (NestedQuantizer(16, center=False, steps=5, random_state=0).fit(rows) for rows in (X, X * sizes))
    np.testing.assert_array_equal(plain.encode(X), scaled.encode(X * sizes))
    assert not plain.mean_.any()


def test_a_file_gives_the_same_codes_scores_and_fingerprint(fitted, tmp_path):
    fitted.save(tmp_path / "q.safetensors")
    for loaded in (load_quantizer(tmp_path / "q.safetensors"), pickle.loads(pickle.dumps(fitted))):
        assert loaded.get_params() == fitted.get_params()
        assert loaded.lengths_ == LENGTHS
        assert loaded.fingerprint() == fitted.fingerprint()
        np.testing.assert_array_equal(loaded.encode(X), fitted.encode(X))
        for n_bits in (8, None):
            weights = [q.asymmetric_queries(QUERIES, n_bits=n_bits).weights for q in (loaded, fitted)]
            np.testing.assert_array_equal(*weights)
        np.testing.assert_array_equal(loaded.loss_curve_, fitted.loss_curve_)


def test_the_same_seed_gives_the_same_bytes_and_another_gives_others():
    fits = [NestedQuantizer(16, steps=5, random_state=seed).fit(X).fingerprint() for seed in (0, 0, 1)]
    assert fits[0] == fits[1] != fits[2]


@pytest.mark.parametrize(
    ("options", "lengths"),
    [
        ({}, (16, 32, 64)),
        ({"n_bits": 40}, (16, 32, 40)),
        ({"n_bits": 16}, (16,)),
        ({"n_bits": 5}, (5,)),
        ({"lengths": [4, 9]}, (4, 9)),
        ({"n_bits": 9, "lengths": (4, 9)}, (4, 9)),
    ],
)
def test_lengths(options, lengths):
    quantizer = NestedQuantizer(**options, steps=1, random_state=0).fit(X)
    assert quantizer.lengths_ == lengths
    assert quantizer.n_bits_ == lengths[-1]
    assert quantizer.encode(X[:3]).shape == (3, -(-lengths[-1] // 8))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_bits": 65}, ValueError, "n_bits must be at most the number of features, 64; got 65"),
        ({"lengths": (16, 384)}, ValueError, "n_bits must be at most the number of features, 64; got 384"),
        ({"lengths": (16, 8)}, ValueError, r"lengths must increase, as in \(16, 32, 64\); got"),
        ({"lengths": ()}, ValueError, "lengths must increase"),
        ({"lengths": (0, 8)}, ValueError, "every one of lengths must be at least 1; got 0"),
        ({"lengths": (8, 9.5)}, TypeError, "every one of lengths must be a whole number; got 9.5"),
        ({"lengths": "16"}, TypeError, "lengths must be whole numbers"),
        ({"lengths": 16}, TypeError, "lengths must be whole numbers"),
        (
            {"n_bits": 64, "lengths": (16, 32)},
            ValueError,
            "n_bits=64 must be the last of the lengths, 32; leave one out",
        ),
        ({"steps": 0}, ValueError, "steps must be at least 1; got 0"),
        ({"center": 1}, TypeError, "center must be True or False; got 1"),
    ],
)
def test_bad_options_are_named(options, error, message):
    with pytest.raises(error, match=message):
        NestedQuantizer(**options).fit(X)


def test_odd_rows():
    with pytest.raises(NotFittedError):
        NestedQuantizer().lengths_  # noqa: B018
    with pytest.raises(ValueError, match="n_bits must be from 1 to 48; got 49"):
        NestedQuantizer(48, steps=1, random_state=0).fit(X).asymmetric_queries(QUERIES, n_bits=49)
    with pytest.warns(UserWarning, match="X has 3 rows, fewer than the 16 bits"):
        few = NestedQuantizer(16, steps=3, random_state=0).fit(X[:3])
    assert np.isfinite(few.decode(few.encode(X[:3]))).all()
    with pytest.warns(UserWarning, match="all rows of X are the same"):
        same = NestedQuantizer(16, steps=3, random_state=0).fit(np.tile(X[:1], (40, 1)))
    assert np.isfinite(same.decode(same.encode(X[:3]))).all()
    with pytest.warns(UserWarning, match="all-zero"):
        zeros = NestedQuantizer(16, steps=3, random_state=0).fit(np.r_[X, np.zeros((2, 64))])
    assert np.isfinite(zeros.projection_).all()


def test_registered():
    assert "nested" in quantizer_names(rotations_only=False)
    assert make_quantizer("nested", 32, steps=7).get_params()["steps"] == 7


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_scikit_learn_accepts_the_estimator():
    skipped = 0
    for estimator, check in estimator_checks_generator(NestedQuantizer(steps=2, random_state=0)):
        try:
            check(estimator)
        except pytest.skip.Exception:
            raise
        except Exception as error:
            if type(error).__name__ != "SkipTest":
                raise
            skipped += 1
    assert skipped <= 1
