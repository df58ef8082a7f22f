"""``h2q tune``: which quantizer for the bytes an item may take."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from h2q.cli.common import (
    EmbeddingsArgument,
    JsonOption,
    Metric,
    SeedOption,
    format_seconds,
    naming,
    print_blocks,
    print_json,
)

if TYPE_CHECKING:
    from h2q.comparison import Trial, TuningResult

__all__ = ["tune"]

_WIDTHS = (24, 7, 12, 14, 11, 9)


def tune(
    embeddings: EmbeddingsArgument,
    n_bytes: Annotated[int, typer.Option("--bytes", min=1, max=8_192, help="Bytes an item may take in all.")] = 48,
    labels: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Choose by class: class ids, -1 for none, or multi-hot rows, one an item."),
    ] = None,
    pairs: Annotated[
        str | None, typer.Option(metavar="FILE", help="Choose by pairs of similar rows: whole numbers, (pairs, 2).")
    ] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="Neighbors of a query.")] = 10,
    metric: Annotated[Metric, typer.Option(help="Distance of the embeddings.")] = Metric.cosine,
    scoring: Annotated[
        str, typer.Option(metavar="NAME", help="auto, asymmetric or hamming: how the codes will be searched.")
    ] = "auto",
    methods: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="Quantizers to try, such as sign,h2q,refined. Default: all.")
    ] = None,
    queries: Annotated[int, typer.Option(min=1, help="Rows held out as queries, at most a fifth.")] = 500,
    time_limit: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="Try no further quantizer after this time.")
    ] = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Choose a quantizer for your embeddings and the bytes an item may take.

    Tries all quantizers, centering and whitening on queries held out, a row as each is done. Ends with the choice in
    words, and the commands and the code that use it.
    """
    import h2q
    from h2q.cli.compare import parse_methods
    from h2q.cli.evaluate import read_labels
    from h2q.comparison.tuning import SCORINGS
    from h2q.files import open_array

    if labels is not None and pairs is not None:
        raise typer.BadParameter("--labels and --pairs are two ways to say one thing: give one", param_hint="--pairs")
    if scoring not in ("auto", *SCORINGS):
        raise typer.BadParameter(f"expected auto, asymmetric or hamming; got {scoring!r}", param_hint="--scoring")
    names = None if methods is None else parse_methods(methods)
    stored = open_array(embeddings)
    classes = None if labels is None else _read_classes(labels, read_labels)
    known = None if pairs is None else open_array(pairs).read()
    if not as_json:
        _print_row("quantizer", "bytes", "Hamming", "asymmetric", "re-ranked", "fit")
    with naming(embeddings):
        result = h2q.tune(
            stored.read(), n_bytes, labels=classes, pairs=known, k=k, metric=metric.value, scoring=scoring,
            quantizers=names, n_queries=queries, time_limit=time_limit, random_state=seed,
            on_trial=None if as_json else _print_trial,
        )  # fmt: skip
    commands = _commands(result, embeddings, labels, seed)
    if as_json:
        print_json(result.values() | {"embeddings": embeddings, "commands": commands})
        return
    print()
    _print_verdict(result, commands)


def _read_classes(source: str, read: Any) -> Any:
    """Return labels; those below 0 mean that there is none."""
    from h2q.files import open_array

    try:
        return open_array(source, ndim=1).read()
    except ValueError:
        return read(source)


def _print_row(name: str, *cells: str) -> None:
    text = "".join(f"{cell:>{width}}" for cell, width in zip(cells, _WIDTHS[1:], strict=True))
    print(f"{name:<{_WIDTHS[0]}}{text}", flush=True)


def _print_trial(trial: "Trial") -> None:
    reranked = "" if trial.score.recall_reranked is None else f"{100 * trial.score.recall_reranked.value:.1f}"
    _print_row(
        trial.name, str(trial.score.n_bytes), _percent(trial, "hamming"), _percent(trial, "asymmetric"), reranked,
        format_seconds(trial.score.fit_seconds or 0.0),
    )  # fmt: skip


def _percent(trial: "Trial", scoring: str) -> str:
    """Return a score in percent, and half the width of its interval."""
    value = trial.value(scoring)
    low, high = value.confidence_interval()
    return f"{100 * value.value:.1f} ± {50 * (high - low):.1f}"


def _print_verdict(result: "TuningResult", commands: list[str]) -> None:
    from h2q.comparison import RERANKED
    from h2q.report.document import Paragraph

    answers = {
        "neighbors": f"share of the {result.k} nearest embeddings by {result.metric} distance among the {result.k} "
        "nearest codes",
        "labels": "mean average precision by label, ties in expectation",
        "pairs": f"share of the pairs whose second item is among the {result.k} nearest codes of the first",
    }
    reranked = (
        f" Re-ranked: the first {RERANKED * result.k} by the float embeddings." if result.truth != "labels" else ""
    )
    blocks = [
        Paragraph(" ".join(result.verdict())),
        Paragraph(
            f"In percent: {answers[result.truth]}; ± half the 95% bootstrap interval over {result.n_queries:,} queries "
            f"held out, {result.n_items:,} items. Bytes an item, scalars included.{reranked}"
        ),
    ]
    print_blocks(*blocks)
    for line in commands:
        print(f"\n  {line}" if line == commands[0] else f"  {line}")
    print("\nIn Python:\n")
    print("\n".join(f"  {line}" for line in result.code().splitlines()))


def _commands(result: "TuningResult", embeddings: str, labels: str | None, seed: int) -> list[str]:
    """Return the commands that use the choice; none where it learns from pairs."""
    contender = result.best.contender
    options = dict(contender.options)
    whitening = options.pop("whitening", None)
    if whitening == "auto" and labels is None:
        return []
    size = f"--bytes {result.best.score.n_bytes}" if contender.in_bytes else f"--bits {result.best.score.n_bits}"
    words = [f"h2q fit {embeddings} -o quantizer.safetensors --method {contender.quantizer} {size}"]
    if whitening is not None:
        words.append(f"--whitening {whitening}" + (f" --labels {labels}" if whitening == "auto" else ""))
    if options.get("center") is False:
        words.append("--no-center")
    if seed:
        words.append(f"--seed {seed}")
    by = "" if result.metric == "cosine" else f" --metric {result.metric}"
    scoring = " --scoring hamming" if result.scoring == "hamming" else ""
    return [
        " ".join(words),
        f"h2q index build {embeddings} -q quantizer.safetensors -o index{by}",
        f"h2q search index queries.npy -k {result.k}{scoring}",
    ]
