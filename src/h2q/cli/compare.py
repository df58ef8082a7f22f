"""``h2q compare``: what a learned rotation gains on your embeddings."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

import typer

from h2q.cli.common import (
    CenterOption,
    EmbeddingsArgument,
    JsonOption,
    Metric,
    SeedOption,
    WhiteningOption,
    format_seconds,
    parse_bits,
    print_blocks,
    print_json,
)

if TYPE_CHECKING:
    from h2q.comparison import EmbeddedFolds, Score
    from h2q.report.document import Block

__all__ = ["compare"]

_LENGTHS = tuple(2**power for power in range(4, 17))
_SHOWN_LENGTHS, _LONGEST = 4, 512  # by default: longer codes take minutes to fit
_NAMED_ONLY = "nested"  # it fits for minutes, once for all lengths: here it would do so for each


def compare(
    embeddings: EmbeddingsArgument,
    bits: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...",
            help="Bits of an item. Default: the dimensions, if 512 or fewer, and the powers of 2 below; four at most.",
        ),
    ] = None,
    methods: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="Quantizers, such as sign,itq,h2q. Default: all but nested.")
    ] = None,
    queries: Annotated[
        int | None,
        typer.Option(min=1, help="Rows held out as queries, drawn by seed. Default: 1,000, at most a tenth of all."),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Number of true neighbors for recall.")] = 10,
    metric: Annotated[Metric, typer.Option(help="Distance that defines the true neighbors.")] = Metric.cosine,
    center: CenterOption = True,
    whitening: WhiteningOption = 0.0,
    n_init: Annotated[
        int | None,
        typer.Option(min=1, help="Starts of ITQ; the best is kept. Default: 5, fewer if they take long."),
    ] = None,
    max_iter: Annotated[
        int | None,
        typer.Option(min=1, help="Most iterations of each start of ITQ. Default: 200, fewer if they take long."),
    ] = None,
    max_samples: Annotated[int, typer.Option(min=2, help="Rows used, drawn by seed, if the file has more.")] = 100_000,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Compare sign, random rotation, ITQ, H²Q and refined codes on your embeddings.

    Holds some rows out as queries; fits on the others and searches them by Hamming distance, by estimated distances
    and with re-ranking. Names those that lead beyond noise.
    """
    from h2q.comparison import compare_quantizers, default_contenders, itq_options

    given = {name: value for name, value in (("n_init", n_init), ("max_iter", max_iter)) if value is not None}
    names = _default_methods() if methods is None else parse_methods(methods)
    lengths = None if bits is None else parse_bits(bits)
    folds = _read_folds(embeddings, queries, k, metric.value, max_samples, seed)
    lengths = _check_lengths(lengths, embeddings, folds.train.shape[1])
    run = _Run(embeddings, folds, k, metric.value, seed)
    for n_bits in lengths:
        run.itq_options[n_bits] = itq_options(len(folds.train), n_bits) | given
        contenders = default_contenders(
            {"center": center, "whitening": whitening}, {"itq": run.itq_options[n_bits]}, rotations_only=False
        )
        contenders = tuple(each for each in contenders if each.quantizer in names)
        run.methods.update({each.label: each.quantizer for each in contenders})
        run.scores[n_bits] = compare_quantizers(
            folds, [n_bits], contenders, random_state=seed, asymmetric=True, metric=metric.value
        )
    if as_json:
        print_json(_as_document(run))
    else:
        print_blocks(*_as_blocks(run))


@dataclass(frozen=True)
class _Run:
    """A comparison with its options.

    Attributes
    ----------
    scores : dict of int to list of Score
        By bits of an item.
    methods : dict of str to str
        Name of each quantizer by its label.
    itq_options : dict of int to dict
        By bits of an item.
    """

    source: str
    folds: "EmbeddedFolds"
    k: int
    metric: str
    seed: int
    scores: "dict[int, list[Score]]" = field(default_factory=dict)
    methods: dict[str, str] = field(default_factory=dict)
    itq_options: dict[int, dict[str, int]] = field(default_factory=dict)

    def leaders(self, part: str) -> dict[int, tuple[str, ...]]:
        """Return the leaders at each length by ``recall`` or ``recall_asymmetric``."""
        from h2q.comparison import leaders

        return {
            n_bits: leaders({score.name: getattr(score, part).per_query for score in scores}, random_state=self.seed)
            for n_bits, scores in self.scores.items()
            if scores
        }


def _default_methods() -> list[str]:
    """Return the names of all quantizers but nested."""
    from h2q.quantization import quantizer_names

    return [name for name in quantizer_names(rotations_only=False) if name != _NAMED_ONLY]


def parse_methods(methods: str) -> list[str]:
    """Return names of quantizers given as ``sign,h2q``."""
    from h2q.quantization import quantizer_names

    known = quantizer_names(rotations_only=False)
    names = [name.strip() for name in methods.split(",")]
    for name in names:
        if name not in known:
            raise typer.BadParameter(f"expected names of {', '.join(known)}; got {name!r}", param_hint="--methods")
    return names


def _check_lengths(lengths: list[int] | None, source: str, n_features: int) -> list[int]:
    if lengths is None:
        whole = [n_features] if n_features <= _LONGEST else []
        powers = [n_bits for n_bits in _LENGTHS if n_bits <= min(n_features, _LONGEST)]
        return sorted({*powers, *whole})[-_SHOWN_LENGTHS:]
    if lengths[-1] > n_features:
        raise ValueError(f"--bits must be at most the dimensions of {source}, {n_features}; got {lengths[-1]}")
    return lengths


def _read_folds(
    source: str, n_queries: int | None, k: int, metric: str, max_samples: int, seed: int
) -> "EmbeddedFolds":
    """Read a sample of the rows; hold some out as queries and search the others."""
    import numpy as np

    from h2q.checks import as_embeddings
    from h2q.comparison import EmbeddedFolds
    from h2q.evaluation import float_neighbors
    from h2q.files import open_array

    stored = open_array(source)
    n = stored.shape[0]
    n_used = min(n, max_samples)
    if n_queries is None:
        n_queries = max(1, min(1_000, n_used // 10))
    if n_used - n_queries < k:
        raise ValueError(
            f"{n_queries} queries leave {max(n_used - n_queries, 0)} of {n_used} rows of {source} to search, and -k is "
            f"{k}; lower --queries or -k, or give more rows"
        )
    drawn = np.random.default_rng(seed).choice(n, n_used, replace=False)
    rows = as_embeddings(stored.take(np.sort(drawn)), source)
    held_out = np.isin(np.sort(drawn), drawn[:n_queries])
    queries, database = rows[held_out], rows[~held_out]
    return EmbeddedFolds(database, queries, database, true_neighbors=float_neighbors(queries, database, k, metric))


def _as_document(run: _Run) -> dict[str, Any]:
    leaders = {part: run.leaders(part) for part in ("recall", "recall_asymmetric")}
    return {
        "embeddings": run.source, "items": len(run.folds.train), "dimensions": run.folds.train.shape[1],
        "queries": len(run.folds.queries), "k": run.k, "metric": run.metric, "seed": run.seed,
        "itq": {str(n_bits): options for n_bits, options in run.itq_options.items()},
        "scores": [
            {"method": run.methods[score.name], "item_bits": n_bits}
            | {key: value for key, value in score.values().items() if value is not None}
            for n_bits, scores in run.scores.items()
            for score in scores
        ],
        "leaders": {str(n_bits): list(names) for n_bits, names in leaders["recall"].items()},
        "leaders_asymmetric": {str(n_bits): list(names) for n_bits, names in leaders["recall_asymmetric"].items()},
    }  # fmt: skip


def _as_blocks(run: _Run) -> "list[Block]":
    from h2q.comparison import RERANKED, describe_leaders
    from h2q.report.document import Paragraph, Table, Value

    parts = ("recall", "recall_asymmetric", "recall_reranked")
    leaders = {part: run.leaders(part) for part in parts}
    rows: list[tuple[Value, ...]] = []
    rules = []
    for n_bits, scores in run.scores.items():
        for score in scores:
            recalls = [
                Value(f"{100 * getattr(score, part).value:.1f}", "best" if score.name in leaders[part][n_bits] else "")
                for part in parts
            ]
            rows.append(
                (
                    Value(score.name), Value(str(score.n_bits)), Value(str(score.n_bytes)), *recalls,
                    Value(format_seconds(score.fit_seconds or 0.0)),
                )
            )  # fmt: skip
        rules.append(len(rows))
    columns = ("quantizer", "bits", "bytes\nan item", "Hamming", "asymmetric", "re-ranked", "fit")
    blocks: list[Block] = [Table(columns=columns, rows=tuple(rows), rules=tuple(rules[:-1]))]
    if len(run.methods) > 1:
        said = [
            f"By {word}: {describe_leaders(leaders[part], len(run.methods))}."
            for word, part in (
                ("estimated distances (asymmetric)", "recall_asymmetric"),
                ("Hamming distance", "recall"),
            )
        ]
        blocks.append(
            Paragraph(
                f"Beyond the noise of the choice of queries (95% paired bootstrap). {' '.join(said)} One seed: the "
                "spread over seeds is not included."
            )
        )
    n, d = run.folds.train.shape
    blocks.append(
        Paragraph(
            f"recall@{run.k} in percent: the {run.k} nearest embeddings by {run.metric} distance among the {run.k} "
            "nearest codes; asymmetric: by the distance estimated from the float query, at the same bytes; re-ranked: "
            f"with the embeddings kept, {4 * d:,} bytes an item more, the first {RERANKED * run.k} ordered by them. "
            f"{n:,} embeddings of {d} dimensions, {len(run.folds.queries):,} held-out queries (seed {run.seed})."
            f"{_describe_itq(run)}"
        )
    )
    blocks.append(
        Paragraph(
            "Embeddings that were learned from labels are better judged by labels: h2q tune --labels, or h2q evaluate."
        )
    )
    return blocks


def _describe_itq(run: _Run) -> str:
    """Say how ITQ was capped."""
    if "itq" not in run.methods.values():
        return ""
    from itertools import groupby

    caps = [
        f"{options[0]} starts of {options[1]} iterations at {', '.join(str(n_bits) for n_bits, _ in group)} bits"
        for options, group in groupby(
            run.itq_options.items(), key=lambda item: (item[1]["n_init"], item[1]["max_iter"])
        )
    ]
    return f" ITQ is capped: {'; '.join(caps)}."
