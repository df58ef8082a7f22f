"""Choose a quantizer for given bytes an item, on queries held out."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from h2q.checks import as_embeddings, check_integer, check_metric, check_number
from h2q.comparison.quantizers import Contender, itq_options
from h2q.comparison.scoring import RERANKED, Score, score_embeddings, score_quantizer
from h2q.comparison.tuning_folds import Truth, tuning_folds
from h2q.comparison.winners import join_words, leaders
from h2q.errors import describe
from h2q.evaluation.results import MeanOverQueries
from h2q.quantization import quantizer_info, quantizer_names

__all__ = ["SCORINGS", "Trial", "TuningResult", "tune"]

SCORINGS = ("asymmetric", "hamming")
_WORDS = {"asymmetric": "asymmetric", "hamming": "Hamming"}
_NAMED = 3


@dataclass(frozen=True, eq=False)
class Trial:
    """A quantizer that was fitted and scored.

    Attributes
    ----------
    contender : Contender
        The quantizer and its options.
    score : Score
        All scores of the fit.
    by_labels : bool
        Whether mean average precision by labels counts; else recall.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> trial = tune(load_digits().data, 4, quantizers=["sign"]).trials[0]
    >>> trial.name, trial.value("asymmetric").value > trial.value("hamming").value
    ('sign', True)
    """

    contender: Contender
    score: Score
    by_labels: bool

    @property
    def name(self) -> str:
        """Name in tables."""
        return self.contender.label

    def value(self, scoring: str) -> MeanOverQueries:
        """Return what counts, by ``"hamming"`` or ``"asymmetric"``, from 0 to 1."""
        parts = {"hamming": "map_expected", "asymmetric": "map_asymmetric"}
        if not self.by_labels:
            parts = {"hamming": "recall", "asymmetric": "recall_asymmetric"}
        value: MeanOverQueries = getattr(self.score, parts[scoring])
        return value


@dataclass(frozen=True, eq=False)
class TuningResult:
    """The choice of a quantizer, and what it was chosen among.

    Attributes
    ----------
    trials : tuple of Trial
        What was tried, in order.
    best : Trial
        The chosen one.
    scoring : {"asymmetric", "hamming"}
        How its codes rank best.
    equals : tuple of str
        Other choices that are not below it beyond the noise of the queries.
    left_out : tuple of str
        Quantizers for which no time was left.
    n_bytes : int
        Bytes an item that were asked for.
    n_items, n_queries, n_features : int
        Items searched, queries held out, dimensions.
    k : int
        Number of neighbors of recall.
    metric : str
        Distance of the embeddings.
    truth : {"neighbors", "labels", "pairs"}
        What a right answer is.
    real_valued : float or None
        By labels, the mean average precision of the embeddings themselves.
    random_state : int
        Seed of queries and quantizers.
    seconds : float
        Time taken.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> result = tune(load_digits().data, 4, quantizers=["sign", "random"])
    >>> result.measure, result.n_queries, len(result.trials)
    ('recall@10', 359, 2)
    """

    trials: tuple[Trial, ...]
    best: Trial
    scoring: str
    equals: tuple[str, ...]
    left_out: tuple[str, ...]
    n_bytes: int
    n_items: int
    n_queries: int
    n_features: int
    k: int
    metric: str
    truth: Truth
    real_valued: float | None
    random_state: int
    seconds: float

    @property
    def measure(self) -> str:
        """Name of what is measured."""
        return {"neighbors": f"recall@{self.k}", "labels": "mAP", "pairs": f"recall@{self.k} of the pair"}[self.truth]

    def quantizer(self) -> Any:
        """Return the chosen quantizer, not fitted."""
        return self.best.contender.make(self._bits(), self.random_state)

    def _bits(self) -> int:
        """Return the bits an item that were given to the quantizers."""
        return _item_bits(self.best.contender, self.n_bytes, self.n_features)

    def code(self) -> str:
        """Return the Python code that fits the chosen quantizer and searches with it."""
        known = {"labels": ", labels", "pairs": ", pairs=pairs", "neighbors": ""}[self.truth]
        known = known if self.best.contender.options.get("whitening") == "auto" else ""
        scoring = "" if self.scoring == "asymmetric" else ', scoring="hamming"'
        metric = "" if self.metric == "cosine" else f", metric={self.metric!r}"
        return (
            f"quantizer = h2q.{self.quantizer()!r}.fit(X{known})\n"
            f"index = h2q.BinaryIndex(quantizer=quantizer{metric})\n"
            f"index.add(X)\n"
            f"neighbors = index.search(queries, k={self.k}{scoring})"
        )

    def verdict(self) -> tuple[str, ...]:
        """Return the choice in sentences: what to use, what is as good, what else would change."""
        value = self.best.value(self.scoring)
        low, high = value.confidence_interval()
        word = "scored asymmetrically" if self.scoring == "asymmetric" else "by Hamming distance"
        sentences = [
            f"Use {self.best.name}, {word}: {self.measure} {100 * value.value:.1f} % ({100 * low:.1f} to "
            f"{100 * high:.1f}) at {self.best.score.n_bytes} bytes an item."
        ]
        sentences.append(self._say_equals())
        other = next(scoring for scoring in SCORINGS if scoring != self.scoring)
        words = "By Hamming distance" if other == "hamming" else "Scored asymmetrically"
        sentences.append(f"{words} its codes have {100 * self.best.value(other).value:.1f} %.")
        sentences += self._further()
        return tuple(sentences)

    def _say_equals(self) -> str:
        if not self.equals:
            return "All else is below it beyond the noise of the queries."
        if len(self.equals) <= _NAMED:
            return f"No difference beyond the noise of the queries to {join_words(self.equals)}."
        return (
            f"{len(self.equals)} other choices are not below it beyond the noise of the queries, among them "
            f"{join_words(self.equals[:_NAMED])}: more queries would tell them apart."
        )

    def _further(self) -> list[str]:
        sentences = []
        floats = f"the float embeddings ({4 * self.n_features:,} bytes an item more)"
        if self.truth == "neighbors" and self.best.score.recall_reranked is not None:
            sentences.append(
                f"Keeping {floats} and re-ranking the first {RERANKED * self.k} by them would give "
                f"{100 * self.best.score.recall_reranked.value:.1f} %."
            )
        if self.real_valued is not None:
            sentences.append(f"The float embeddings themselves have {100 * self.real_valued:.1f} %.")
        if self.n_bytes > self.best.score.n_bytes:
            sentences.append(
                f"{self.best.score.n_bytes} of the {self.n_bytes} bytes are used: a code has at most one bit a "
                f"dimension, of {self.n_features}."
            )
        if self.left_out:
            sentences.append(f"No time was left for {join_words(self.left_out)}.")
        return sentences

    def values(self) -> dict[str, Any]:
        """Return all as plain numbers and text, for JSON."""
        return {
            "choice": self.best.name, "method": self.best.contender.quantizer,
            "options": dict(self.best.contender.options), "scoring": self.scoring, "equals": list(self.equals),
            "left_out": list(self.left_out), "bytes": self.n_bytes, "items": self.n_items, "queries": self.n_queries,
            "dimensions": self.n_features, "k": self.k, "metric": self.metric, "truth": self.truth,
            "measure": self.measure, "real_valued": self.real_valued, "seed": self.random_state,
            "seconds": round(self.seconds, 1), "verdict": list(self.verdict()), "code": self.code(),
            "trials": [
                {"method": trial.contender.quantizer, "options": dict(trial.contender.options)}
                | {key: value for key, value in trial.score.values().items() if value is not None}
                | {scoring: _with_interval(trial.value(scoring)) for scoring in SCORINGS}
                for trial in self.trials
            ],
        }  # fmt: skip


def _with_interval(value: MeanOverQueries) -> dict[str, Any]:
    return {"value": value.value, "interval": list(value.confidence_interval())}


def tune(
    X: Any,
    n_bytes: int = 48,
    *,
    labels: Any = None,
    pairs: Any = None,
    k: int = 10,
    metric: str = "cosine",
    scoring: str = "auto",
    quantizers: Sequence[str] | None = None,
    n_queries: int = 500,
    time_limit: float | None = None,
    random_state: int = 0,
    on_trial: Callable[[Trial], None] | None = None,
) -> TuningResult:
    """Choose quantizer, centering, whitening and scoring for your embeddings, on queries held out.

    Every registered quantizer is fitted on at most 20,000 rows without the queries, H²Q also without centering and
    with whitening. The highest score wins: recall of the float neighbors, or, given labels, mean average precision, or,
    given pairs, the share of pairs whose second item is among the k nearest to the first.

    Parameters
    ----------
    X : array-like of shape (n, d)
        Embeddings.
    n_bytes : int
        Bytes an item may take. Beyond one bit a dimension they are not used.
    labels : array-like of shape (n,) or (n, n_classes), optional
        Class ids, names of classes or multi-hot rows; -1 or a row of zeros where there is none. Some hundred are
        enough.
    pairs : array-like of int, shape (n_pairs, 2), optional
        Instead of labels: rows of `X` that are similar.
    k : int
        Neighbors of a query.
    metric : {"cosine", "euclidean"}
        Distance of the embeddings.
    scoring : {"auto", "asymmetric", "hamming"}
        How codes will be searched: "auto" is the better of the two. Search engines other than `BinaryIndex` have
        Hamming distance only.
    quantizers : sequence of str, optional
        Names of the quantizers to try. Default: all.
    n_queries : int
        Rows held out as queries, at most a fifth of the rows or of the labeled ones.
    time_limit : float, optional
        Seconds after which no further quantizer is tried; the first always is.
    random_state : int
        Seed.
    on_trial : callable, optional
        Called with each `Trial` when it is done.

    Returns
    -------
    TuningResult
        `best`, `scoring`, `verdict`, `code`, `quantizer`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> result = tune(load_digits().data, 4, time_limit=0)
    >>> result.best.name, result.scoring, result.left_out[:2]
    ('sign', 'asymmetric', ('random rotation', 'H²Q'))
    """
    began = time.perf_counter()
    n_bytes = check_integer(n_bytes, "n_bytes", low=1)
    k = check_integer(k, "k", low=1)
    check_metric(metric)
    if scoring not in ("auto", *SCORINGS):
        raise ValueError(f"scoring must be one of auto, {', '.join(SCORINGS)}; got {describe(scoring)}")
    if time_limit is not None:
        check_number(time_limit, "time_limit", low=0)
    seed = check_integer(random_state, "random_state", low=0)
    check_integer(n_queries, "n_queries", low=1)
    if quantizers is not None and not any(quantizer_info(name) for name in quantizers):
        raise ValueError("quantizers must name at least one; got none")
    rows = X if len(getattr(X, "shape", ())) == 2 else as_embeddings(X)
    folds, truth = tuning_folds(rows, labels, pairs, k, metric, n_queries, seed)
    n_features = folds.train.shape[1]
    trials: list[Trial] = []
    left_out = []
    for contender in _contenders(len(folds.train), n_features, n_bytes, truth):
        if quantizers is not None and contender.quantizer not in quantizers:
            continue
        if trials and time_limit is not None and time.perf_counter() - began > time_limit:
            left_out.append(contender.label)
            continue
        quantizer = contender.make(_item_bits(contender, n_bytes, n_features), seed)
        score = score_quantizer(quantizer, folds, name=contender.label, asymmetric=True, metric=metric, n_found=k)
        trials.append(Trial(contender, score, truth == "labels"))
        if on_trial is not None:
            on_trial(trials[-1])
    scorings = SCORINGS if scoring == "auto" else (scoring,)
    best, best_scoring, equals = _choose(trials, scorings)
    precision = None if truth != "labels" else score_embeddings(folds).map_expected
    return TuningResult(
        tuple(trials), best, best_scoring, equals, tuple(left_out), n_bytes, len(folds.database), len(folds.queries),
        n_features, k, metric, truth, None if precision is None else precision.value, seed, time.perf_counter() - began,
    )  # fmt: skip


def _choose(trials: list[Trial], scorings: tuple[str, ...]) -> tuple[Trial, str, tuple[str, ...]]:
    """Return the trial with the highest score, its scoring, and the names of those that are as good."""
    choices = {
        f"{trial.name} ({_WORDS[scoring]})" if len(scorings) > 1 else trial.name: (trial, scoring)
        for trial in trials
        for scoring in scorings
    }
    values = {name: trial.value(scoring) for name, (trial, scoring) in choices.items()}
    best = max(values, key=lambda name: values[name].value)
    lead = leaders({name: value.per_query for name, value in values.items()})
    return *choices[best], tuple(name for name in lead if name != best)


def _item_bits(contender: Contender, n_bytes: int, n_features: int) -> int:
    """Return the bits an item takes with a quantizer, as many as the bytes and the dimensions allow."""
    if contender.in_bytes:
        return 8 * min(n_bytes, n_features // 8 + 1)
    return min(8 * n_bytes, n_features)


def _contenders(n_rows: int, n_features: int, n_bytes: int, truth: Truth) -> list[Contender]:
    """Return what is tried: every quantizer, H²Q with options, and last what takes long."""
    slow = ("nested", "itq")
    names = [name for name in quantizer_names(rotations_only=False) if name not in slow]
    contenders = [Contender(quantizer_info(name).label, name) for name in names]
    variants: list[tuple[str, Mapping[str, Any]]] = [
        ("not centered", {"center": False}), ("whitening 0.5", {"whitening": 0.5}), ("whitening 1", {"whitening": 1.0}),
    ]  # fmt: skip
    if truth != "neighbors":
        variants.append(("whitening auto", {"whitening": "auto"}))
    contenders += [Contender(f"{quantizer_info('h2q').label} {name}", "h2q", options) for name, options in variants]
    contenders.append(Contender(quantizer_info("nested").label, "nested"))
    itq = Contender(quantizer_info("itq").label, "itq")
    contenders.append(Contender(itq.label, "itq", itq_options(n_rows, _item_bits(itq, n_bytes, n_features))))
    return [each for each in contenders if each.takes(_item_bits(each, n_bytes, n_features))]
