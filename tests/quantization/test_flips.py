"""The compiled descent against plain NumPy and against every code of small cases."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from h2q.quantization.flips import Decoder, refine_codes, score_scalars


def draw(n, k, d, seed=0):
    generator = np.random.default_rng(seed)
    return (
        generator.standard_normal((n, d)).astype(np.float32),
        (generator.standard_normal((k, d)) / np.sqrt(k)).astype(np.float32),
    )


def scaled(centered, radius):
    return centered.astype(np.float64) * radius / np.linalg.norm(centered, axis=1, keepdims=True)


def errors(bits, targets, rows):
    return ((targets - np.where(bits, 1.0, -1.0) @ rows.astype(np.float64)) ** 2).sum(axis=1)


def descend(target, rows, signs):
    """Flip bits in turn while that lowers the error, every error computed anew."""
    flipped = True
    while flipped:
        flipped = False
        for j in range(len(signs)):
            trial = signs.copy()
            trial[j] = -trial[j]
            if ((target - trial @ rows) ** 2).sum() < ((target - signs @ rows) ** 2).sum() - 1e-6:
                signs, flipped = trial, True
    return signs


@pytest.mark.parametrize(("k", "d"), [(5, 5), (31, 40), (32, 33), (40, 64)])
def test_without_kicks_it_is_the_plain_descent(k, d):
    centered, rows = draw(30, k, d)
    targets = scaled(centered, 2.0)
    bits, kept = refine_codes(centered, Decoder.from_rows(rows), 2.0, 0)
    assert not kept.any()
    for i, target in enumerate(targets):
        start = np.where(rows.astype(np.float64) @ target > 0, 1.0, -1.0)
        np.testing.assert_array_equal(bits[i], descend(target, rows.astype(np.float64), start) > 0)


@given(k=st.integers(1, 70), extra=st.integers(0, 20), seed=st.integers(0, 2**31))
@settings(deadline=None, max_examples=40)
def test_no_flip_of_one_bit_helps_and_kicks_only_lower_the_error(k, extra, seed):
    centered, rows = draw(5, k, k + extra, seed)
    targets, decoder = scaled(centered, 1.5), Decoder.from_rows(rows)
    signs = targets @ rows.T > 0
    plain, _ = refine_codes(centered, decoder, 1.5, 0)
    kicked, _ = refine_codes(centered, decoder, 1.5, 25)
    assert (errors(plain, targets, rows) <= errors(signs, targets, rows) + 1e-5).all()
    assert (errors(kicked, targets, rows) <= errors(plain, targets, rows) + 1e-5).all()
    for j in range(k):
        flipped = kicked.copy()
        flipped[:, j] ^= True
        assert (errors(flipped, targets, rows) > errors(kicked, targets, rows) - 1e-5).all()


def test_kicks_find_the_best_code_of_small_cases():
    centered, rows = draw(200, 10, 12)
    targets = scaled(centered, 1.5)
    codes = np.array(list(itertools.product([False, True], repeat=10)))
    best = np.array([errors(codes, target, rows).min() for target in targets])
    share = []
    for kicks in (0, 200):
        bits, _ = refine_codes(centered, Decoder.from_rows(rows), 1.5, kicks)
        share.append(np.mean(errors(bits, targets, rows) < best + 1e-5))
    assert share[0] < 0.7
    assert share[1] > 0.98


def test_the_code_of_a_row_depends_on_the_row_alone():
    centered, rows = draw(100, 41, 50)
    decoder = Decoder.from_rows(rows)
    bits, kept = refine_codes(centered, decoder, 1.5, 10)
    assert kept.any()
    order = np.random.default_rng(1).permutation(100)
    np.testing.assert_array_equal(refine_codes(centered[order], decoder, 1.5, 10)[0], bits[order])
    for start, stop in ((0, 1), (3, 20), (50, 100)):
        np.testing.assert_array_equal(refine_codes(centered[start:stop], decoder, 1.5, 10)[0], bits[start:stop])


def test_scalars_are_those_of_the_formula():
    centered, rows = draw(40, 24, 30)
    generator = np.random.default_rng(3)
    mean, smoother = generator.standard_normal(30), generator.standard_normal((30, 30))
    smoother = smoother + smoother.T
    bits, _ = refine_codes(centered, Decoder.from_rows(rows), 1.5, 5)
    scales, offsets = score_scalars(
        centered, bits, Decoder.from_rows(rows), mean.astype(np.float32), smoother.astype(np.float32)
    )
    decoded = np.where(bits, 1.0, -1.0) @ rows
    expected = np.linalg.norm(centered, axis=1) / np.linalg.norm(decoded, axis=1)
    np.testing.assert_allclose(scales, expected, rtol=1e-5)
    residual = centered - expected[:, None] * decoded
    np.testing.assert_allclose(offsets, ((mean + centered @ smoother) * residual).sum(axis=1), rtol=1e-3, atol=1e-3)


def test_a_row_of_zeros_has_a_code_and_empty_scalars():
    rows = draw(1, 8, 8)[1]
    zeros, decoder = np.zeros((1, 8), np.float32), Decoder.from_rows(rows)
    bits, _ = refine_codes(zeros, decoder, 1.0, 5)
    scales, offsets = score_scalars(zeros, bits, decoder, np.ones(8, np.float32), np.eye(8, dtype=np.float32))
    assert scales.tolist() == [0]
    assert offsets.tolist() == [0]
