"""``h2q compare``: what a learned rotation gains on your embeddings."""

from dataclasses import dataclass
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
    from collections.abc import Sequence

    from h2q.comparison import Contender, EmbeddedFolds, Score
    from h2q.report.document import Block

__all__ = ["compare"]

_LENGTHS = (16, 32, 64, 128)


def compare(
    embeddings: EmbeddingsArgument,
    bits: Annotated[
        str | None, typer.Option(metavar="N,N,...", help="Code lengths. Default: those of 16,32,64,128 that fit.")
    ] = None,
    methods: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="Quantizers, such as sign,itq,h2q. Default: all.")
    ] = None,
    queries: Annotated[
        int | None,
        typer.Option(min=1, help="Rows held out as queries, drawn by seed. Default: 1,000, at most a tenth of all."),
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Number of true neighbors for recall.")] = 10,
    metric: Annotated[Metric, typer.Option(help="Distance that defines the true neighbors.")] = Metric.cosine,
    center: CenterOption = True,
    whitening: WhiteningOption = 0.0,
    n_init: Annotated[int, typer.Option(min=1, help="Starts of ITQ; the best is kept.")] = 5,
    max_iter: Annotated[
        int, typer.Option(min=1, help="Most iterations of each start of ITQ; it ends earlier when it converges.")
    ] = 200,
    max_samples: Annotated[int, typer.Option(min=2, help="Rows used, drawn by seed, if the file has more.")] = 100_000,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Compare sign, random rotation, ITQ and H²Q on your embeddings.

    Holds some rows out as queries; fits on the others and searches them. Names the winner, if one leads beyond noise.
    """
    from h2q.comparison import compare_quantizers, default_contenders

    itq_options = {"n_init": n_init, "max_iter": max_iter}
    contenders = default_contenders({"center": center, "whitening": whitening}, {"itq": itq_options})
    if methods is not None:
        contenders = _selected(contenders, methods)
    lengths = None if bits is None else parse_bits(bits)
    folds = _read_folds(embeddings, queries, k, metric.value, max_samples, seed)
    lengths = _check_lengths(lengths, embeddings, folds.train.shape[1])
    scores = compare_quantizers(folds, lengths, contenders, random_state=seed)
    run = _Run(embeddings, folds, contenders, scores, k, metric.value, seed, itq_options)
    if as_json:
        print_json(_as_document(run))
    else:
        print_blocks(*_as_blocks(run))


@dataclass(frozen=True)
class _Run:
    """A comparison with its options."""

    source: str
    folds: "EmbeddedFolds"
    contenders: "Sequence[Contender]"
    scores: "Sequence[Score]"
    k: int
    metric: str
    seed: int
    itq_options: dict[str, int]

    def leaders(self) -> dict[int, tuple[str, ...]]:
        """Return the leaders at each code length, by recall."""
        from h2q.comparison import leaders

        recalls: dict[int, dict[str, Any]] = {}
        for score in self.scores:
            if score.n_bits is not None and score.recall is not None:
                recalls.setdefault(score.n_bits, {})[score.name] = score.recall.per_query
        return {n_bits: leaders(by_name, random_state=self.seed) for n_bits, by_name in recalls.items()}


def _selected(contenders: "Sequence[Contender]", methods: str) -> "tuple[Contender, ...]":
    by_name = {contender.quantizer: contender for contender in contenders}
    names = dict.fromkeys(name.strip() for name in methods.split(","))
    for name in names:
        if name not in by_name:
            raise typer.BadParameter(f"expected names of {', '.join(by_name)}; got {name!r}", param_hint="--methods")
    return tuple(contender for name, contender in by_name.items() if name in names)


def _check_lengths(lengths: list[int] | None, source: str, n_features: int) -> list[int]:
    if lengths is None:
        return [n_bits for n_bits in _LENGTHS if n_bits <= n_features] or [n_features]
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
    names = [contender.quantizer for contender in run.contenders] * (len(run.scores) // len(run.contenders))
    return {
        "embeddings": run.source, "items": len(run.folds.train), "dimensions": run.folds.train.shape[1],
        "queries": len(run.folds.queries), "k": run.k, "metric": run.metric, "seed": run.seed, "itq": run.itq_options,
        "scores": [
            {"method": name, **{key: value for key, value in score.values().items() if value is not None}}
            for name, score in zip(names, run.scores, strict=True)
        ],
        "leaders": {str(n_bits): list(names) for n_bits, names in run.leaders().items()},
    }  # fmt: skip


def _as_blocks(run: _Run) -> "list[Block]":
    from h2q.comparison import describe_leaders
    from h2q.report.document import Paragraph, Table, Value

    leaders = run.leaders()
    rows = []
    for score in run.scores:
        leads = score.n_bits is not None and score.name in leaders[score.n_bits]
        recall = "" if score.recall is None else f"{100 * score.recall.value:.1f} %"
        rows.append(
            (
                Value(score.name), Value(str(score.n_bits)), Value(f"{score.quantization_error_l2:.4f}"),
                Value(recall, "best" if leads else ""), Value(format_seconds(score.fit_seconds or 0.0)),
            )
        )  # fmt: skip
    n_methods = len(run.contenders)
    table = Table(
        columns=("quantizer", "bits", "quantization error", f"recall@{run.k}", "fit"),
        rows=tuple(rows),
        rules=tuple(range(n_methods, len(rows), n_methods)),
    )
    cap = ""
    if any(contender.quantizer == "itq" for contender in run.contenders):
        cap = " ITQ: best of {n_init} starts of at most {max_iter} iterations.".format(**run.itq_options)
    blocks: list[Block] = [table]
    if n_methods > 1:
        blocks.append(
            Paragraph(
                f"By recall@{run.k}, beyond the noise of the choice of queries (95% paired bootstrap): "
                f"{describe_leaders(leaders, n_methods)}. One seed: the spread over seeds is not included."
            )
        )
    n, d = run.folds.train.shape
    blocks.append(
        Paragraph(
            f"{n:,} embeddings of {d} dimensions, {len(run.folds.queries):,} held-out queries (seed {run.seed}). "
            f"recall@{run.k}: share of the {run.k} nearest embeddings by {run.metric} distance among the {run.k} "
            f"nearest codes. Quantization error: L2, of the queries.{cap}"
        )
    )
    return blocks
