"""``h2q compare``: what a learned rotation gains on these embeddings."""

from dataclasses import asdict
from typing import Annotated

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
    print_json,
    print_paragraph,
    print_table,
)

__all__ = ["compare"]

_LENGTHS = (16, 32, 64, 128)


def compare(
    embeddings: EmbeddingsArgument,
    bits: Annotated[
        str | None, typer.Option(metavar="N,N,...", help="Code lengths. Default: those of 16,32,64,128 that fit.")
    ] = None,
    queries: Annotated[
        int | None, typer.Option(min=1, help="Rows held out, drawn by seed. Default: 1,000, at most a tenth of all.")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Neighbors that count.")] = 10,
    metric: Annotated[Metric, typer.Option(help="What makes embeddings neighbors.")] = Metric.cosine,
    center: CenterOption = True,
    whitening: WhiteningOption = 0.0,
    n_init: Annotated[int, typer.Option(min=1, help="Starts of ITQ, each run to convergence.")] = 5,
    max_samples: Annotated[
        int, typer.Option(min=2, help="Rows used where the file has more, drawn by seed.")
    ] = 100_000,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Compare sign, random rotation, ITQ and H²Q.

    On embeddings of yours: some rows are held out as queries, the rest is fitted on and searched.
    """
    import numpy as np

    from h2q.checks import as_embeddings
    from h2q.comparison.quantizers import METHODS, compare_quantizers
    from h2q.files import open_array

    wanted = None if bits is None else parse_bits(bits)
    stored = open_array(embeddings)
    n, d = stored.shape
    n_used = min(n, max_samples)
    if queries is None:
        queries = max(1, min(1_000, n_used // 10))
    if n_used - queries < k:
        raise ValueError(
            f"{queries} queries leave {max(n_used - queries, 0)} of {n_used} rows of {embeddings} to search, and "
            f"-k is {k}; lower --queries or -k, or give more rows"
        )
    if wanted and wanted[-1] > d:
        raise ValueError(f"--bits must be at most the dimensions of {embeddings}, {d}; got {wanted[-1]}")
    lengths = wanted or [length for length in _LENGTHS if length <= d] or [d]
    drawn = np.random.default_rng(seed).choice(n, n_used, replace=False)
    rows = as_embeddings(stored.take(np.sort(drawn)), embeddings)
    held_out = np.isin(np.sort(drawn), drawn[:queries])
    scores = compare_quantizers(
        rows[~held_out],
        rows[held_out],
        lengths,
        k=k,
        metric=metric.value,
        n_init=n_init,
        random_state=seed,
        center=center,
        whitening=whitening,
    )
    if as_json:
        print_json(
            {
                "embeddings": embeddings,
                "items": n_used - queries,
                "dimensions": d,
                "queries": queries,
                "k": k,
                "metric": metric.value,
                "seed": seed,
                "scores": [asdict(score) for score in scores],
            }
        )
        return
    print_table(
        ["quantizer", "bits", "quantization error", f"recall@{k}", "fit"],
        [
            [
                METHODS[score.method].label,
                score.n_bits,
                f"{score.quantization_error:.4f}",
                f"{100 * score.recall:.1f} %",
                format_seconds(score.fit_seconds),
            ]
            for score in scores
        ],
        sections=range(len(METHODS), len(scores), len(METHODS)),
    )
    print_paragraph(
        f"{n_used - queries:,} embeddings of {d} dimensions, {queries:,} held-out queries (seed {seed}). "
        f"recall@{k}: the share of the {k} nearest embeddings by {metric} that the codes find"
    )
