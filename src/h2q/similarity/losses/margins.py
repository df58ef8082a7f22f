"""The margin that CEL and HyP2 share: how far apart the codes of all classes can be."""

import csv
from functools import cache
from importlib.resources import files

from h2q.checks import check_integer, check_n_bits

__all__ = ["code_margin", "minimum_distance"]


@cache
def _table() -> dict[tuple[int, int], int]:
    """Return the best known minimum distance of binary linear codes by (length, dimension)."""
    rows = csv.DictReader(files("h2q.similarity.losses").joinpath("min_distance.csv").read_text("utf-8").splitlines())
    return {
        (int(row["length"]), dimension): int(row[f"k{dimension}"])
        for row in rows
        for dimension in range(1, 15)
        if row[f"k{dimension}"]
    }


def minimum_distance(n_bits: int, dimension: int) -> int:
    """Return the best known minimum distance of 2^dimension binary codes that form a linear code.

    Parameters
    ----------
    n_bits : int
        Length of the codes. Beyond the table's 256, codes are strung together, whose distances add up.
    dimension : int
        1 to 14.

    Returns
    -------
    int
        In bits.

    Raises
    ------
    ValueError
        If there is no such code.

    Notes
    -----
    The table is that of M. Grassl, "Bounds on the minimum distance of linear codes" (codetables.de).

    Examples
    --------
    >>> minimum_distance(16, 4), minimum_distance(64, 7), minimum_distance(512, 4)
    (8, 32, 272)
    """
    if dimension == 1:
        return n_bits
    table = _table()
    whole, rest = divmod(n_bits, 256)
    distance = whole * table.get((256, dimension), 0) + table.get((rest, dimension), 0)
    if distance == 0:
        raise ValueError(f"there is no known code of {n_bits} bits and dimension {dimension}")
    return distance


def code_margin(n_bits: int, n_classes: int) -> float:
    """Return 1 - 2 d / n: the largest cosine similarity that two of the best codes for this number of classes have.

    Parameters
    ----------
    n_bits : int
        n, the bits of a code.
    n_classes : int
        At least 2; d is the minimum distance of a code of dimension ceil(log2(n_classes)).

    Returns
    -------
    float
        From -1 to 1.

    Raises
    ------
    ValueError
        If there are fewer than ceil(log2(n_classes)) bits, or more than 16,384 classes.

    Notes
    -----
    Xu et al., "HHF: Hashing-guided Hinge Function for Deep Hashing Retrieval", IEEE Transactions on Multimedia, 2022.

    Examples
    --------
    >>> code_margin(16, 10), code_margin(64, 100)
    (0.0, 0.0)
    >>> code_margin(32, 10)
    0.0
    >>> code_margin(4, 100)
    Traceback (most recent call last):
    ...
    ValueError: no margin is known for n_bits=4 and n_classes=100: there is no known code of 4 bits and dimension 7; \
pass more bits, or margin=
    """
    n_bits = check_n_bits(n_bits)
    dimension = (check_integer(n_classes, "n_classes", low=2) - 1).bit_length()
    try:
        distance = minimum_distance(n_bits, dimension)
    except ValueError as error:
        raise ValueError(
            f"no margin is known for n_bits={n_bits} and n_classes={n_classes}: {error}; pass more bits, or margin="
        ) from error
    return 1 - 2 * distance / n_bits
