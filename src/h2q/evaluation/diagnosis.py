"""Diagnosis of codes: how well they use their bits, how items are distributed over them, and what they separate."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr

from h2q.checks import as_codes, as_embeddings, as_labels, check_n_bits
from h2q.evaluation.rankers import CodeRanker
from h2q.evaluation.summaries import Summarized
from h2q.quantization.objectives import quantization_errors

__all__ = ["CodesDiagnosis", "diagnose_codes"]

_CHUNK_ROWS = 1 << 14
_SAMPLED_ITEMS = 1_000
_RANDOM_ERROR = 2 - 2 * np.sqrt(2 / np.pi)  # L2 quantization error of random directions, for many bits
_FEW_CODES = 10
_COPY = 0.9
_SKEWED = 0.1


@dataclass(frozen=True, eq=False, repr=False)
class CodesDiagnosis(Summarized):
    """Statistics of codes.

    Attributes
    ----------
    n_items, n_bits : int
        Number of codes, and of their bits.
    bit_balance : ndarray of float64, shape (n_bits,)
        Share of items in which each bit is 1; 0.5 is balanced.
    bit_entropy : ndarray of float64, shape (n_bits,)
        Entropy of each bit, from 0 to 1 bit.
    bit_correlation : ndarray of float64, shape (n_bits, n_bits)
        Pearson correlation of every two bits; 0 if one of them is constant.
    effective_bits : float
        Number of independent bits that vary as much: (tr C)^2 / tr(C^2), with C the correlation of the bits that are
        not constant.
    bucket_sizes : ndarray of int64, shape (distinct_codes,)
        Number of items that share each code, largest first.
    distances : ndarray of int64, shape (n_bits + 1,)
        Number of pairs at each Hamming distance, between a sample of the items and all others.
    similar_distances, dissimilar_distances : ndarray of int64, shape (n_bits + 1,), or None
        Among these, pairs with a label in common, and the others; None without labels.
    separation : float or None
        Probability that a similar pair is nearer than a dissimilar one, ties counted half: 0.5 is chance, 1 is perfect.
        None without labels, or if one kind of pair does not occur.
    quantization_error_l1, quantization_error_l2 : float or None
        Mean abs(z - sgn z) and mean (z - sgn z)^2 of the rotated embeddings, rows scaled to norm sqrt(n_bits); None
        without embeddings.
    sign_agreement : float or None
        Share of bits that are the signs of the rotated embeddings; 1 if the codes were computed from them.
    findings : tuple of str
        Observations in words, the most serious first.

    Examples
    --------
    >>> diagnosis = diagnose_codes(np.array([[0b1], [0b1], [0b0]], dtype=np.uint8), n_bits=8)
    >>> diagnosis.distinct_codes, diagnosis.largest_bucket
    (2, 2)
    """

    n_items: int
    n_bits: int
    bit_balance: NDArray[np.float64]
    bit_entropy: NDArray[np.float64]
    bit_correlation: NDArray[np.float64]
    effective_bits: float
    bucket_sizes: NDArray[np.int64]
    distances: NDArray[np.int64]
    similar_distances: NDArray[np.int64] | None
    dissimilar_distances: NDArray[np.int64] | None
    separation: float | None
    quantization_error_l1: float | None
    quantization_error_l2: float | None
    sign_agreement: float | None
    findings: tuple[str, ...] = ()

    def summary(self) -> dict[str, Any]:
        """Return the numbers, then the findings."""
        shown = super().summary()
        findings = shown.pop("findings")
        return {**shown, "distinct_codes": self.distinct_codes, "findings": findings}

    @property
    def distinct_codes(self) -> int:
        """Number of different codes."""
        return len(self.bucket_sizes)

    @property
    def largest_bucket(self) -> int:
        """Number of items that share the most frequent code."""
        return int(self.bucket_sizes[0])


def diagnose_codes(
    codes: Any, n_bits: int, *, rotated: Any = None, labels: Any = None, random_state: int = 0
) -> CodesDiagnosis:
    """Diagnose codes, and how they relate to the embeddings and labels of their items.

    Parameters
    ----------
    codes : array-like of uint8, shape (n, ceil(n_bits / 8))
        Packed codes.
    n_bits : int
        Bits of a code.
    rotated : array-like of float, shape (n, n_bits), optional
        The rotated embeddings whose signs the codes are: a quantizer's ``transform(X)``.
    labels : array-like, optional
        Class ids (n,) or multi-hot rows (n, classes); pairs with a label in common are similar.
    random_state : int
        Seed of the sample of items for the pairs; only needed with more than 1,000 items.

    Returns
    -------
    CodesDiagnosis
        Statistics, and observations in words.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or there are no codes.

    Examples
    --------
    >>> codes = np.array([[0b1000], [0b1000], [0b1000], [0b0100]], dtype=np.uint8) << 4
    >>> diagnosis = diagnose_codes(codes, 4)
    >>> diagnosis.distinct_codes, diagnosis.largest_bucket, diagnosis.bit_balance.tolist()
    (2, 3, [0.75, 0.25, 0.0, 0.0])
    >>> diagnosis.findings[0]
    'bits 2, 3 are the same in all items: they carry nothing'
    """
    n_bits = check_n_bits(n_bits)
    codes = as_codes(codes, n_bits)
    if len(codes) == 0:
        raise ValueError("codes is empty: pass at least one code")
    labels = None if labels is None else as_labels(labels, len(codes))
    balance, correlation = _bit_statistics(codes, n_bits)
    changing = (balance > 0) & (balance < 1)
    of_changing = correlation[np.ix_(changing, changing)]
    effective = float(changing.sum() ** 2 / (of_changing**2).sum()) if changing.any() else 0.0
    distances, similar = _pair_distances(codes, n_bits, labels, random_state)
    dissimilar = None if similar is None else distances - similar
    errors = (None, None, None) if rotated is None else _quantization(codes, n_bits, rotated)
    diagnosis = CodesDiagnosis(
        len(codes), n_bits, balance, (entr(balance) + entr(1 - balance)) / np.log(2), correlation, effective,
        _bucket_sizes(codes), distances, similar, dissimilar, _separation(similar, dissimilar), *errors,
    )  # fmt: skip
    return replace(diagnosis, findings=tuple(_findings(diagnosis)))


def _bit_statistics(codes: NDArray[np.uint8], n_bits: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the share of ones in each bit, and the correlation of every two bits."""
    ones, both = np.zeros(n_bits), np.zeros((n_bits, n_bits))
    for start in range(0, len(codes), _CHUNK_ROWS):
        bits = np.unpackbits(codes[start : start + _CHUNK_ROWS], axis=1, count=n_bits).astype(np.float32)
        ones += bits.sum(axis=0)
        both += bits.T @ bits  # whole numbers below 2^24: exact in float32
    balance = ones / len(codes)
    deviation = np.sqrt(balance * (1 - balance))
    covariance = both / len(codes) - np.outer(balance, balance)
    scale = np.outer(deviation, deviation)
    return balance, np.clip(np.divide(covariance, scale, out=np.zeros_like(scale), where=scale > 0), -1, 1)


def _bucket_sizes(codes: NDArray[np.uint8]) -> NDArray[np.int64]:
    rows = np.ascontiguousarray(codes).view(np.dtype((np.void, codes.shape[1])))[:, 0]
    counts = np.unique(rows, return_counts=True)[1]
    return np.asarray(np.sort(counts)[::-1], np.int64)


def _pair_distances(
    codes: NDArray[np.uint8], n_bits: int, labels: NDArray[Any] | None, random_state: int
) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """Count pairs of different items at each distance: all, and similar ones."""
    n = len(codes)
    sample = np.arange(n)
    if n > _SAMPLED_ITEMS:
        sample = np.sort(np.random.default_rng(random_state).choice(n, _SAMPLED_ITEMS, replace=False))
    known = np.zeros(n, np.int64) if labels is None else labels
    counts = CodeRanker(codes[sample], codes, known[sample], known, n_bits=n_bits, ties="expected").count_all()
    # An item is no pair with itself; it is similar to itself if it has a label.
    labeled = len(sample) if known.ndim == 1 else int(known[sample].any(axis=1).sum())
    counts[0] -= [len(sample) - labeled, labeled]
    return counts.sum(axis=1), None if labels is None else counts[:, 1]


def _separation(similar: NDArray[np.int64] | None, dissimilar: NDArray[np.int64] | None) -> float | None:
    """Return the area under the ROC curve of "nearer means similar"."""
    if similar is None or dissimilar is None or similar.sum() == 0 or dissimilar.sum() == 0:
        return None
    a, b = similar / similar.sum(), dissimilar / dissimilar.sum()
    farther = 1 - np.cumsum(b)
    return float((a * (farther + b / 2)).sum())


def _quantization(codes: NDArray[np.uint8], n_bits: int, rotated: Any) -> tuple[float, float, float]:
    """Return the L1 and L2 quantization errors, and the share of bits that are signs of the rotated embeddings."""
    rows = as_embeddings(rotated, "rotated", n_features=n_bits)
    if len(rows) != len(codes):
        raise ValueError(f"rotated must have {len(codes)} rows, one for each code; got {len(rows)}")
    agreeing = 0
    for start in range(0, len(rows), _CHUNK_ROWS):
        bits = np.unpackbits(codes[start : start + _CHUNK_ROWS], axis=1, count=n_bits)
        agreeing += int(np.count_nonzero((rows[start : start + _CHUNK_ROWS] > 0) == bits))
    return *quantization_errors(rows), agreeing / rows.size


def _findings(diagnosis: CodesDiagnosis) -> list[str]:
    return [
        *_about_buckets(diagnosis),
        *_about_bits(diagnosis),
        *_about_pairs(diagnosis),
        *_about_embeddings(diagnosis),
    ]


def _about_buckets(diagnosis: CodesDiagnosis) -> list[str]:
    n, distinct = diagnosis.n_items, diagnosis.distinct_codes
    if n < 2 * _FEW_CODES:
        return []
    if distinct == 1:
        return ["all items have the same code: there is no ranking"]
    few = min(_FEW_CODES, distinct)
    share = diagnosis.bucket_sizes[:few].sum() / n
    if share >= 0.25 and diagnosis.bucket_sizes[:few].mean() >= 2:
        return [f"{_percent(share)} of the items share {few} codes: ties decide the ranking"]
    if diagnosis.largest_bucket >= max(2, 0.05 * n):
        return [f"{_percent(diagnosis.largest_bucket / n)} of the items have the same code: all of them are tied"]
    if distinct < 0.5 * n:
        return [f"{n:,} items have {distinct:,} codes, {n / distinct:.1f} items a code: many ties"]
    return []


def _about_bits(diagnosis: CodesDiagnosis) -> list[str]:
    if diagnosis.n_items < 2:
        return []
    findings = []
    balance = diagnosis.bit_balance
    constant, skewed = (balance == 0) | (balance == 1), np.minimum(balance, 1 - balance) < _SKEWED
    for bits, one, many in (
        (constant, "is the same in all items: it carries nothing", "are the same in all items: they carry nothing"),
        (
            skewed & ~constant,
            f"is the same in over {_percent(1 - _SKEWED)} of the items: it carries little",
            f"are the same in over {_percent(1 - _SKEWED)} of the items each: they carry little",
        ),
    ):
        if bits.any():
            findings.append(f"{_name_bits(bits)} {many if bits.sum() > 1 else one}")
    first, second = np.nonzero(np.triu(np.abs(diagnosis.bit_correlation), 1) > _COPY)
    if len(first):
        pairs = "pair of bits is" if len(first) == 1 else "pairs of bits are"
        findings.append(
            f"{len(first):,} {pairs} almost copies or opposites (correlation beyond {_COPY}), "
            f"{'for example ' if len(first) > 1 else ''}bits {first[0]} and {second[0]}"
        )
    changing = int((~constant).sum())
    # What a sample of so few items could show of independent bits.
    seen = changing / (1 + (changing - 1) / diagnosis.n_items) if changing else 0.0
    if changing > 1 and diagnosis.effective_bits < 0.5 * seen:
        findings.append(
            f"the {diagnosis.n_bits} bits vary like {diagnosis.effective_bits:.0f} independent ones: fewer bits would "
            "keep almost as much"
        )
    return findings


def _about_pairs(diagnosis: CodesDiagnosis) -> list[str]:
    findings = []
    if diagnosis.separation is not None and diagnosis.separation < 0.6:
        findings.append(
            f"a similar pair is nearer than a dissimilar one in {_percent(diagnosis.separation)} of the cases, and 50% "
            "is chance: the codes hardly reflect the labels"
        )
    if diagnosis.similar_distances is not None and diagnosis.dissimilar_distances is not None:
        alike, same_code = (
            diagnosis.similar_distances[0],
            diagnosis.similar_distances[0] + diagnosis.dissimilar_distances[0],
        )
        n_pairs = diagnosis.distances.sum()
        if same_code >= max(1, 0.001 * n_pairs) and alike < 0.8 * same_code:
            findings.append(
                f"{_percent(1 - alike / same_code)} of the pairs that share a code are dissimilar: no search can tell "
                "them apart"
            )
    return findings


def _about_embeddings(diagnosis: CodesDiagnosis) -> list[str]:
    findings = []
    if diagnosis.sign_agreement is not None and diagnosis.sign_agreement < 0.999:
        findings.append(
            f"{_percent(1 - diagnosis.sign_agreement)} of the bits are not the signs of the rotated embeddings: the "
            "codes come from other embeddings"
        )
    elif diagnosis.quantization_error_l2 is not None and diagnosis.quantization_error_l2 > 0.95 * _RANDOM_ERROR:
        findings.append(
            f"the L2 quantization error, {diagnosis.quantization_error_l2:.3f}, is that of random directions "
            f"({_RANDOM_ERROR:.3f}): a learned rotation would lower it"
        )
    return findings


def _name_bits(which: NDArray[np.bool_]) -> str:
    """Name some bits, counted from 0.

    >>> _name_bits(np.array([False, True, True])), _name_bits(np.ones(20, dtype=bool))
    ('bits 1, 2', '20 of 20 bits (0, 1, 2, ...)')
    """
    numbers = np.flatnonzero(which)
    if len(numbers) == 1:
        return f"bit {numbers[0]}"
    if len(numbers) <= 8:
        return f"bits {', '.join(map(str, numbers))}"
    return f"{len(numbers)} of {len(which)} bits ({', '.join(map(str, numbers[:3]))}, ...)"


def _percent(share: float) -> str:
    """Return a share as people read it.

    >>> _percent(0.617), _percent(0.0042)
    ('62%', '0.42%')
    """
    percent = 100 * float(share)
    return f"{percent:.0f}%" if percent >= 1 or percent == 0 else f"{percent:.2g}%"
