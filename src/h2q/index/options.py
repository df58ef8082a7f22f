"""Checks of the options of an index and of a search."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.checks import check_integer, check_n_bits
from h2q.errors import describe
from h2q.index.prefixes import Prefix
from h2q.quantization.scoring import METRICS

__all__ = ["check_options", "check_prefix", "choose_scoring"]


def check_options(n_bits: int | None, quantizer: Any, keep_embeddings: bool, metric: str) -> int:
    """Return the bits of a code, or say which option of an index is wrong.

    Raises
    ------
    TypeError, ValueError
        See `h2q.index.BinaryIndex`.
    """
    if quantizer is not None:
        fitted = getattr(quantizer, "n_bits_", None)
        if fitted is None:
            raise ValueError(f"quantizer must be fitted; got {describe(quantizer)}: call its fit first")
        if n_bits is not None and n_bits != fitted:
            raise ValueError(f"n_bits is {n_bits}, but the quantizer makes codes of {fitted} bits; leave n_bits out")
        n_bits = fitted
    if n_bits is None:
        raise ValueError("n_bits is missing: give the bits of a code, or a fitted quantizer")
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {', '.join(METRICS)}; got {describe(metric)}")
    if not isinstance(keep_embeddings, bool):
        raise TypeError(f"keep_embeddings must be True or False; got {describe(keep_embeddings)}")
    if keep_embeddings and quantizer is None:
        raise ValueError("keep_embeddings needs a quantizer, which makes the codes: BinaryIndex(quantizer=...)")
    return check_n_bits(n_bits)


def choose_scoring(
    scoring: str, queries: NDArray[Any], metric: str, *, keeps_embeddings: bool, rerank: int | None
) -> str:
    """Return "asymmetric" or "hamming" for these queries, or say what a search lacks.

    Raises
    ------
    TypeError, ValueError
        See `h2q.index.BinaryIndex.search`.

    Examples
    --------
    >>> codes, embeddings = np.zeros((1, 2), np.uint8), np.ones((1, 16), np.float32)
    >>> for queries in (codes, embeddings):
    ...     print(choose_scoring("auto", queries, "cosine", keeps_embeddings=False, rerank=None))
    hamming
    asymmetric
    """
    if scoring not in ("auto", "asymmetric", "hamming"):
        raise ValueError(f"scoring must be 'auto', 'asymmetric' or 'hamming'; got {describe(scoring)}")
    if rerank is not None and not keeps_embeddings:
        raise ValueError(
            "rerank needs the embeddings of the items, which this index does not keep: make it with "
            "BinaryIndex(quantizer=..., keep_embeddings=True)"
        )
    holds_codes = queries.dtype == np.uint8
    if holds_codes and (scoring == "asymmetric" or rerank is not None):
        what = "asymmetric scoring" if rerank is None else "re-ranking"
        raise TypeError(f"{what} needs queries as embeddings, not codes")
    if scoring == "auto":
        scoring = "hamming" if holds_codes else "asymmetric"
    if scoring == "asymmetric" and metric == "cosine" and not queries.any(axis=1).all():
        row = int(np.flatnonzero(~queries.any(axis=1))[0])
        raise ValueError(f"queries has an all-zero row (row {row}), which has no cosine; remove such rows")
    return scoring


def check_prefix(
    n_bits: int | None, prefix: int | None, shortlist: int | None, code_bits: int, k: int, scoring: str
) -> tuple[int | None, Prefix | None]:
    """Return the bits that are scored (None: all) and the first pass of a search (None: there is one pass).

    Raises
    ------
    TypeError, ValueError
        See `h2q.index.BinaryIndex.search`.

    Examples
    --------
    >>> check_prefix(None, 64, 100, 384, 10, "hamming")
    (None, Prefix(n_bits=64, shortlist=100))
    """
    if n_bits is not None:
        n_bits = check_integer(n_bits, "n_bits", low=1, high=code_bits)
        n_bits = None if n_bits == code_bits else n_bits
    if prefix is None:
        if shortlist is not None:
            raise ValueError("shortlist needs prefix, the bits by which items are let through: search(..., prefix=64)")
        return n_bits, None
    if n_bits is not None:
        raise ValueError("prefix and n_bits exclude each other: the second pass compares whole codes")
    prefix = check_integer(prefix, "prefix", low=1, high=code_bits)
    if shortlist is not None:
        shortlist = check_integer(shortlist, "shortlist", low=k)
    elif scoring != "hamming":
        raise ValueError(
            "prefix without shortlist promises the exact result, which only the Hamming distance can prove: pass "
            'shortlist, the number of items to score, or scoring="hamming"'
        )
    return n_bits, Prefix(prefix, shortlist)
