"""Every convention gives back what it was given, and refuses what is not of it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2q import converters

NAMES = sorted(name.removeprefix("to_") for name in converters.__all__ if name.startswith("to_"))
CODES = np.array([[0b10110000, 0b00000010], [0, 0], [0b11111111, 0b11111110]], dtype=np.uint8)  # 15 bits


def test_every_convention_has_both_ways() -> None:
    assert sorted(converters.__all__) == sorted([f"{way}_{name}" for name in NAMES for way in ("from", "to")])
    assert len(NAMES) == 14


@pytest.mark.parametrize("name", NAMES)
@given(n=st.integers(0, 6), n_bits=st.integers(1, 100), seed=st.integers(0, 2**32 - 1))
def test_there_and_back(name: str, n: int, n_bits: int, seed: int) -> None:
    codes = np.packbits(np.random.default_rng(seed).random((n, n_bits)) < 0.5, axis=1)
    values = getattr(converters, f"to_{name}")(codes, n_bits)
    assert len(values) == n
    back = getattr(converters, f"from_{name}")(values, n_bits)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, codes)


# By hand from each format's documentation, for the 15 bits 1011 0000 0000 001.
GOLDEN = {
    "azure": [0b10110000, 0b00000010],
    "base64_binary": "DUA=",  # 0b00001101, 0b01000000
    "binary": [0b10110000 - 128, 0b00000010 - 128],
    "bson": b"\x10\x01\xb0\x02",
    "faiss": [0b00001101, 0b01000000],
    "hex": "b002",
    "int8": [0b10110000 - 256, 0b00000010],
    "lancedb": [0b10110000, 0b00000010],
    "milvus": b"\xb0\x02",
    "pgvector": "101100000000001",
    "pgvector_binary": b"\x00\x00\x00\x0f\xb0\x02",
    "sqlite_vec": b"\x0d\x40",
    "ubinary": [0b10110000, 0b00000010],
    "usearch": [0b10110000, 0b00000010],
}


@pytest.mark.parametrize("name", NAMES)
def test_golden_values(name: str) -> None:
    (value,) = getattr(converters, f"to_{name}")(CODES[:1], 15)
    value = value.as_py() if hasattr(value, "as_py") else value.tolist() if isinstance(value, np.ndarray) else value
    assert value == GOLDEN[name]


@pytest.mark.parametrize("name", NAMES)
def test_codes_of_other_lengths_are_refused(name: str) -> None:
    to, back = getattr(converters, f"to_{name}"), getattr(converters, f"from_{name}")
    with pytest.raises(ValueError, match="n_bits"):
        to(CODES, 33)
    with pytest.raises(ValueError, match=r"values.*(n_bits|padding|bit\(33\))"):
        back(to(CODES, 15), 33)
    with pytest.raises(TypeError, match="uint8"):
        to(CODES.astype(float), 15)


# The other values say themselves how many bits they have.
@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("bson", "pgvector", "pgvector_binary")])
def test_padding_bits_are_refused(name: str) -> None:
    values = getattr(converters, f"to_{name}")(CODES, 15)
    with pytest.raises(ValueError, match="padding"):
        getattr(converters, f"from_{name}")(values, 14)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("hex", ["b002", "zz"], r"values\[1\] must be hexadecimal digits; got 'zz'"),
        ("base64_binary", ["?"], r"values\[0\] must be base64; got '\?'"),
        ("azure", [[300, 0]], r"values\[0\] must be a list of bytes from 0 to 255"),
        ("azure", [2], r"values\[0\] must be a list of bytes from 0 to 255"),
        ("pgvector", ["01", "2" * 15], r"values\[0\] must be 15 digits 0 and 1; got 2 characters"),
        ("pgvector_binary", [b"\x00\x00\x00\x0e\xb0\x02"], r"values\[0\] must be a binary field of bit\(15\)"),
        ("bson", [b"\x03\x00\xb0\x02"], r"values\[0\] must be a BSON vector of packed bits with 1 padding bit"),
        ("milvus", [b"\xb0"], r"values\[0\] must have 2 bytes, those of 15 bits; got 1"),
        ("sqlite_vec", ["b0"], r"values\[0\] must be bytes; got 'b0'"),
        ("binary", CODES, "values must be of dtype int8; got a uint8 array"),
        ("faiss", CODES[0], r"values must have shape \(n, 2\), the bytes of 15 bits; got \(2,\)"),
        ("lancedb", CODES, "values must be an Arrow array of lists of uint8"),
    ],
)
def test_foreign_values_are_named(name: str, values: object, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        getattr(converters, f"from_{name}")(values, 15)
