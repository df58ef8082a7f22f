"""What users pass in is turned into arrays, or into a message that names the argument and the way out."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from h2q.checks import (
    as_codes,
    as_embeddings,
    as_ids,
    as_labels,
    bytes_per_code,
    check_integer,
    check_n_bits,
    check_number,
)

ROWS = np.array([[1.0, -2.0, 0.5], [0.25, 4.0, -1.0]])


@pytest.mark.parametrize(
    "given_rows",
    [
        ROWS,
        ROWS.astype(np.float32),
        ROWS.astype(np.float16),
        ROWS.tolist(),
        ROWS.astype(object),
        np.asfortranarray(ROWS),
        torch.tensor(ROWS),
        torch.tensor(ROWS, requires_grad=True),
        torch.tensor(ROWS).to(torch.bfloat16),
        list(ROWS),
        list(torch.tensor(ROWS)),
        pd.Series(list(ROWS)),
        pd.DataFrame(ROWS),
        np.ma.masked_array(ROWS),
    ],
    ids=[
        "float64",
        "float32",
        "float16",
        "list",
        "object",
        "fortran",
        "torch",
        "torch-grad",
        "bfloat16",
        "list-of-arrays",
        "list-of-tensors",
        "series-of-arrays",
        "data-frame",
        "masked-array",
    ],
)
def test_embeddings_of_every_kind_become_float32_rows(given_rows: object) -> None:
    result = as_embeddings(given_rows)
    assert result.dtype == np.float32
    assert result.flags.c_contiguous
    np.testing.assert_array_equal(result, ROWS)


def test_a_float32_memory_map_is_not_copied(tmp_path) -> None:
    np.save(tmp_path / "x.npy", ROWS.astype(np.float32))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert np.shares_memory(as_embeddings(mapped), mapped)


def test_integers_are_converted_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="queries holds integers \\(int8\\)"):
        assert as_embeddings(np.array([[1, -2]], np.int8), "queries").dtype == np.float32


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        (np.zeros(3), ValueError, r"queries must be 2-D .* shape \(3,\).*reshape\(1, -1\)"),
        (np.ones((1, 2, 3)), ValueError, r"queries must be 2-D .* shape \(1, 2, 3\)"),
        (np.ones((0, 3)), ValueError, "queries is empty"),
        (np.ones((3, 0)), ValueError, "queries has no columns"),
        (np.ones((2, 4)), ValueError, "queries has 4 features, but 3 were expected"),
        ([[1.0, 2.0, 3.0], [np.nan, 1.0, 1.0]], ValueError, r"NaN in 1 of 2 rows \(first: row 1\)"),
        ([[np.inf, 1.0, 1.0]], ValueError, r"infinity \(inf\) in 1 of 1 rows"),
        ([[1e300, 1.0, 1.0]], ValueError, "beyond the range of float32"),
        ([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]], ValueError, r"1 all-zero row\(s\) \(first: row 1\)"),
        (np.ones((1, 3), np.uint8), TypeError, "uint8 array.*looks like codes"),
        (np.ones((1, 3), bool), TypeError, "bool array.*looks like codes"),
        (np.ones((1, 3), complex), ValueError, "Complex data not supported"),
        (np.array([["a", "b", "c"]]), ValueError, "must hold numbers"),
        (np.array([[{}, 1, 2]], dtype=object), TypeError, "object dtype"),
        ([[1.0, 2.0], [1.0]], ValueError, "rows all have one length"),
        (scipy.sparse.eye(3), TypeError, r"sparse matrix.*toarray\(\)"),
        (torch.eye(3).to_sparse(), TypeError, r"sparse tensor \(sparse_coo\).*to_dense\(\)"),
        (torch.ones(1, 3, device="meta"), TypeError, "'meta', which holds no numbers"),
        (np.ma.masked_greater([[1.0, 2.0, 3.0]], 1.5), ValueError, "2 masked entries"),
        (np.array([["1.5", 1, 2]], dtype=object), TypeError, r"'1.5' \(str\) in an object array"),
        (pd.Series([np.ones(3), np.ones(2)]), ValueError, "rows all have one length"),
        (pd.Series([1.0, 2.0, 3.0]), ValueError, r"queries must be 2-D .* shape \(3,\)"),
        (ROWS * 1e-22, ValueError, r"too small for float32 arithmetic \(values up to 4e-22"),
        (ROWS * 1e18, ValueError, r"too large for float32 arithmetic \(values up to 4e\+18"),
        (ROWS * 1e30, ValueError, "too large for float32 arithmetic"),
    ],
)
def test_bad_embeddings_are_named(rows: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        as_embeddings(rows, "queries", n_features=3)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_quantized_tensors_are_refused() -> None:
    tensor = torch.quantize_per_tensor(torch.ones(1, 3), 0.1, 0, torch.qint8)
    with pytest.raises(TypeError, match=r"X is a quantized tensor \(torch.qint8\); pass X.dequantize\(\)"):
        as_embeddings(tensor)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_nested_tensors_are_refused() -> None:
    tensor = torch.nested.nested_tensor([torch.ones(3), torch.ones(2)])
    with pytest.raises(TypeError, match=r"X is a nested tensor; .* pass X.to_padded_tensor"):
        as_embeddings(tensor)


def test_a_tiny_row_among_others_is_not_zero() -> None:
    # Its square underflows float32; the values themselves are fine.
    rows = np.array([[1e-30, 0.0], [1.0, 1.0]], np.float32)
    np.testing.assert_array_equal(as_embeddings(rows), rows)


def test_zero_rows_may_be_allowed() -> None:
    assert not as_embeddings(np.zeros((2, 3)), allow_zero_rows=True).any()


@given(st.integers(1, 70).flatmap(lambda bits: st.tuples(st.just(bits), arrays(np.bool_, (3, bits)))))
def test_packed_bits_are_codes(bits_and_rows: tuple[int, np.ndarray]) -> None:
    n_bits, rows = bits_and_rows
    packed = np.packbits(rows, axis=1)
    np.testing.assert_array_equal(as_codes(packed, n_bits), packed)
    assert packed.shape[1] == bytes_per_code(n_bits)


@pytest.mark.parametrize(
    ("codes", "n_bits", "error", "message"),
    [
        (np.ones((2, 2)), 16, TypeError, "dtype uint8.*use pack_bits"),
        (np.ones((2, 2), np.uint8), 24, ValueError, r"shape \(n, 3\), the bytes of 24 bits; got \(2, 2\)"),
        (np.ones(2, np.uint8), 16, ValueError, r"reshape one code to \(1, -1\)"),
        (np.array([[0, 1]], np.uint8), 12, ValueError, r"last 4 padding bit\(s\) of 12-bit codes"),
    ],
)
def test_bad_codes_are_named(codes: object, n_bits: int, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        as_codes(codes, n_bits)


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        ([1, -2], ValueError, "must not be negative; got -2"),
        ([1, 2, 1, 2], ValueError, r"2 id\(s\) more than once \(first: 1\)"),
        ([1.5], TypeError, "whole numbers; got a float64 array"),
        ([True], TypeError, "whole numbers; got a bool array"),
        (["1"], TypeError, "whole numbers"),
        ([[1]], ValueError, "must be 1-D"),
        (np.array([2**63], np.uint64), ValueError, r"below 2\*\*63; got 9223372036854775808"),
        ([2**63, 1], ValueError, r"below 2\*\*63; got 9223372036854775808"),
        ([2**64, 1], ValueError, r"below 2\*\*63; got 18446744073709551616"),
        ([-1, 2**63], ValueError, "must not be negative; got -1"),
        (np.ma.masked_equal([1, 2], 2), ValueError, "1 masked entries"),
    ],
)
def test_bad_ids_are_named(ids: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        as_ids(ids)


def test_ids_must_be_as_many_as_the_items() -> None:
    with pytest.raises(ValueError, match="with 3 entries, one an item"):
        as_ids([1, 2], 3)
    assert as_ids([], 0).dtype == np.int64


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([0, -1], ValueError, "must not be negative; got -1"),
        ([[0, 2]], ValueError, "multi-hot rows of 0 and 1"),
        ([0.5], TypeError, "whole numbers"),
        (["cat"], TypeError, "whole numbers"),
        ([True, False], TypeError, "class ids"),
        (np.zeros((1, 1, 1)), ValueError, "multi-hot rows"),
    ],
)
def test_bad_labels_are_named(labels: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        as_labels(labels, name="labels")


def test_whole_floats_are_class_ids() -> None:
    np.testing.assert_array_equal(as_labels(np.array([0.0, 3.0])), [0, 3])
    with pytest.raises(ValueError, match="must have 3 rows, one an item; got 2"):
        as_labels([0, 1], 3)


@pytest.mark.parametrize("value", [True, 1.0, "8", None])
def test_only_whole_numbers_are_whole_numbers(value: object) -> None:
    with pytest.raises(TypeError, match="k must be a whole number"):
        check_integer(value, "k", low=1)


def test_whole_numbers_fit_64_bits() -> None:
    with pytest.raises(ValueError, match=r"radius must be below 2\*\*63; got 99999999999999999999"):
        check_integer(99999999999999999999, "radius", low=0)
    assert check_integer(2**63 - 1, "radius", low=0) == 2**63 - 1


@pytest.mark.parametrize("n_bits", [0, -8, 65_537])
def test_bits_beyond_the_range_are_refused(n_bits: int) -> None:
    with pytest.raises(ValueError, match=f"n_bits must be from 1 to 65536; got {n_bits}"):
        check_n_bits(n_bits)
    assert check_n_bits(np.int64(65_536)) == 65_536


@pytest.mark.parametrize(
    ("value", "bounds", "message"),
    [
        ("1", {}, "x must be a number; got '1'"),
        (True, {}, "x must be a number; got True"),
        (float("nan"), {}, "x must be a finite number; got nan"),
        (float("inf"), {"low": 0}, "x must be a finite number at least 0; got inf"),
        (-1, {"low": 0, "high": 2}, "x must be a finite number at least 0 and at most 2; got -1"),
        (3.5, {"above": 0, "high": 2}, "x must be a finite number above 0 and at most 2; got 3.5"),
        (0.0, {"above": 0}, "x must be a finite number above 0; got 0.0"),
    ],
)
def test_numbers_out_of_range_are_named(value: object, bounds: dict[str, float], message: str) -> None:
    with pytest.raises((TypeError, ValueError)) as caught:
        check_number(value, "x", **bounds)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("value", [0, 2.0, np.float32(1.5), np.int64(1)])
def test_numbers_in_range_become_floats(value: object) -> None:
    result = check_number(value, "x", low=0, high=2)
    assert type(result) is float
    assert result == value
