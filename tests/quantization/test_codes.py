import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from h2q.quantization import pack_bits, unpack_bits


@given(
    n=st.integers(1, 5),
    n_bits=st.one_of(st.integers(1, 200), st.sampled_from([1023, 65_535, 65_536])),
    seed=st.integers(0, 99),
)
def test_unpacking_gives_back_what_was_packed(n, n_bits, seed):
    bits = np.random.default_rng(seed).random((n, n_bits)) < 0.5
    codes = pack_bits(bits)
    assert codes.shape == (n, -(-n_bits // 8))
    np.testing.assert_array_equal(unpack_bits(codes, n_bits), bits)
    np.testing.assert_array_equal(pack_bits(np.where(bits, 0.5, -0.5)), codes)


def test_layout_is_most_significant_bit_first_with_zero_padding():
    assert pack_bits([[1.0, -1.0, 0.0, 2.0, -0.0, 1e-30, -1.0, -1.0, 3.0]]).tolist() == [[0b10010100, 0b10000000]]


def test_faiss_reads_the_same_distances():
    import faiss

    bits = np.random.default_rng(0).random((20, 32)) < 0.5
    index = faiss.IndexBinaryFlat(32)
    index.add(pack_bits(bits))
    distances, ids = index.search(pack_bits(bits[:3]), 20)
    for query in range(3):
        expected = (bits[query] != bits[ids[query]]).sum(axis=1)
        np.testing.assert_array_equal(distances[query], expected)


def test_tensors_are_packed_too():
    assert pack_bits(torch.tensor([[1.0, -1.0]], requires_grad=True)).tolist() == [[128]]


@pytest.mark.parametrize(
    ("z", "error", "message"),
    [
        (np.ones((1, 3), np.uint8), TypeError, "may be packed codes already"),
        (np.ones(3), ValueError, r"2-D.*\(3,\)"),
        (np.ones((2, 0)), ValueError, "from 1 to 65536; got 0"),
        (np.ones((1, 65_537), bool), ValueError, "from 1 to 65536; got 65537"),
        (np.array([[np.nan]]), ValueError, "NaN"),
        (np.array([[1j]]), TypeError, "complex128"),
        (np.array([["a"]]), TypeError, "real numbers"),
    ],
)
def test_what_has_no_signs_is_refused(z, error, message):
    with pytest.raises(error, match=message):
        pack_bits(z)


@pytest.mark.parametrize(
    ("codes", "n_bits", "error", "message"),
    [
        (np.zeros((1, 2), np.uint8), 8, ValueError, r"\(n, 1\)"),
        (np.ones((1, 1), np.uint8), 7, ValueError, "padding"),
        (np.zeros((1, 1)), 8, TypeError, "uint8"),
        (np.zeros((1, 1), np.uint8), 0, ValueError, "n_bits must be from 1"),
        (np.zeros((1, 1), np.uint8), 8.0, TypeError, "whole number"),
    ],
)
def test_what_are_no_codes_is_refused(codes, n_bits, error, message):
    with pytest.raises(error, match=message):
        unpack_bits(codes, n_bits)
