"""The winner of a comparison, beyond noise: as data and as a sentence."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from h2q.comparison.statistics import compare_queries, mean_and_deviation

__all__ = ["describe_leaders", "join_words", "leaders"]


def leaders(scores: Mapping[str, NDArray[np.float64]], *, random_state: int = 0) -> tuple[str, ...]:
    """Return the best contender and those that are not below it beyond noise, in the order given.

    A contender is below the best if the difference is beyond the noise of the queries (95% paired bootstrap of the mean
    over seeds) and, given several seeds, beyond the spread over seeds (the sum of the two standard deviations).

    Parameters
    ----------
    scores : mapping of str to ndarray of float64, shape (n_queries,) or (n_seeds, n_queries)
        For each contender the score of each query, with each seed.
    random_state : int
        Seed of the bootstrap.

    Returns
    -------
    tuple of str
        One name: it wins. All names: no difference beyond noise.

    Examples
    --------
    >>> queries = np.linspace(0, 1, 50)
    >>> leaders({"a": queries, "b": queries + 0.1, "c": queries + 0.1})
    ('b', 'c')
    >>> leaders({"a": np.array([queries, queries + 0.2]), "b": np.array([queries + 0.1, queries + 0.2])})
    ('a', 'b')
    """
    by_seed = {name: np.atleast_2d(values) for name, values in scores.items()}
    means = {name: mean_and_deviation(np.nanmean(values, axis=1)) for name, values in by_seed.items()}
    best = max(means, key=lambda name: means[name][0])

    def is_below(name: str) -> bool:
        difference = means[best][0] - means[name][0]
        if difference <= (means[best][1] or 0.0) + (means[name][1] or 0.0):
            return False
        queries = by_seed[best].mean(axis=0), by_seed[name].mean(axis=0)
        return compare_queries(*queries, random_state=random_state).is_better

    return tuple(name for name in scores if name == best or not is_below(name))


def describe_leaders(by_length: Mapping[int, Sequence[str]], n_contenders: int) -> str:
    """Return a sentence that names the leader at each code length.

    Parameters
    ----------
    by_length : mapping of int to sequence of str
        The `leaders` at each number of bits.
    n_contenders : int
        Number of contenders compared.

    Examples
    --------
    >>> describe_leaders({16: ["H²Q"], 32: ["ITQ", "H²Q"], 64: ["ITQ", "H²Q"]}, 4)
    '16 bits: H²Q wins; 32 and 64 bits: ITQ and H²Q lead, with no difference between them'
    """
    groups: dict[tuple[str, ...], list[int]] = {}
    for n_bits, names in by_length.items():
        groups.setdefault(tuple(names), []).append(n_bits)
    clauses = []
    for names, lengths in groups.items():
        if len(names) == n_contenders and n_contenders > 1:
            verdict = "no difference between any of them"
        elif len(names) == 1:
            verdict = f"{names[0]} wins"
        else:
            verdict = f"{join_words(names)} lead, with no difference between them"
        clauses.append(f"{join_words([str(n_bits) for n_bits in lengths])} bits: {verdict}")
    return "; ".join(clauses)


def join_words(words: Sequence[str]) -> str:
    """Join words as a sentence does.

    >>> join_words(["a"]), join_words(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
