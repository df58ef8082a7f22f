"""The table of codes, and the margin from it."""

import csv
import math
from importlib.resources import files
from itertools import combinations

import numpy as np
import pytest

from h2q.similarity.losses.margins import code_margin, minimum_distance


def test_the_table_is_whole_and_keeps_the_bounds_of_codes() -> None:
    text = files("h2q.similarity.losses").joinpath("min_distance.csv").read_text("utf-8")
    rows = list(csv.reader(text.splitlines()))
    assert rows[0] == ["length", *[f"k{k}" for k in range(1, 15)]]
    assert [int(row[0]) for row in rows[1:]] == list(range(2, 257))
    for row in rows[1:]:
        n = int(row[0])
        for k, entry in enumerate(row[1:], start=1):
            assert bool(entry) == (k <= n)
            if entry:
                d = int(entry)
                assert sum(math.ceil(d / 2**i) for i in range(k)) <= n, "Griesmer"
                assert d <= n - k + 1, "Singleton"


@pytest.mark.parametrize("n_bits", [4, 8, 16, 32, 64, 128, 256])
def test_hadamard_codes_reach_the_distance_of_their_dimension(n_bits: int) -> None:
    # First-order Reed-Muller: 2 n codes, n / 2 bits apart.
    assert minimum_distance(n_bits, n_bits.bit_length()) == n_bits // 2
    assert code_margin(n_bits, 2 * n_bits) == 0


def test_a_code_of_the_extended_golay_size() -> None:
    assert (minimum_distance(23, 12), minimum_distance(24, 12), minimum_distance(7, 4)) == (7, 8, 3)


def test_long_codes_are_strung_together() -> None:
    codes = np.array([[0, 0, 0, 0], [1, 1, 0, 1], [0, 1, 1, 1], [1, 0, 1, 0]])  # linear, length 4, dimension 2
    twice = np.tile(codes, 2)
    apart = min((a != b).sum() for a, b in combinations(codes, 2))
    assert min((a != b).sum() for a, b in combinations(twice, 2)) == 2 * apart
    assert minimum_distance(300, 5) == minimum_distance(256, 5) + minimum_distance(44, 5)
    assert minimum_distance(257, 5) == minimum_distance(256, 5)
    assert code_margin(4096, 10) == code_margin(256, 10)


@pytest.mark.parametrize(
    ("n_classes", "dimension"), [(3, 2), (4, 2), (5, 3), (10, 4), (16, 4), (17, 5), (100, 7), (16_384, 14)]
)
def test_the_dimension_is_the_logarithm_rounded_up(n_classes: int, dimension: int) -> None:
    assert code_margin(64, n_classes) == 1 - 2 * minimum_distance(64, dimension) / 64


def test_two_classes_are_opposite() -> None:
    assert code_margin(1, 2) == code_margin(64, 2) == -1


def test_what_has_no_margin_says_so() -> None:
    with pytest.raises(ValueError, match=r"n_bits=3 and n_classes=10: .*more bits, or margin="):
        code_margin(3, 10)
    with pytest.raises(ValueError, match="dimension 15"):
        code_margin(64, 16_385)
    with pytest.raises(ValueError, match="n_classes must be at least 2; got 1"):
        code_margin(64, 1)
    with pytest.raises(ValueError, match="n_bits must be from 1"):
        code_margin(0, 10)
