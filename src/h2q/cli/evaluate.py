"""``h2q evaluate``: metrics of codes or embeddings, by labels."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from h2q.cli.common import JsonOption, format_seconds, naming, print_blocks, print_json

if TYPE_CHECKING:
    from h2q.evaluation.results import MeanOverQueries
    from h2q.files import StoredArray
    from h2q.report.document import Block

__all__ = ["evaluate"]

_DEFAULT_K = 5_000
_FILE = "FILE:NAME picks an array."


class Ties(StrEnum):
    """Order of items at one Hamming distance."""

    EXPECTED = "expected"
    EMBEDDINGS = "embeddings"
    ROW = "row"
    OPTIMISTIC = "optimistic"
    PESSIMISTIC = "pessimistic"


class Divisor(StrEnum):
    """Divisor of the sum of precisions."""

    RETRIEVED = "retrieved"
    RELEVANT = "relevant"


class Empty(StrEnum):
    """Treatment of queries that have no value."""

    ZERO = "zero"
    SKIP = "skip"


def evaluate(
    queries: Annotated[
        str, typer.Argument(metavar="QUERIES", help=f"Codes (uint8), or embeddings (ranked by cosine). {_FILE}")
    ],
    database: Annotated[str, typer.Argument(metavar="DATABASE", help="The items to rank, of the same kind.")],
    query_labels: Annotated[str, typer.Option(metavar="FILE", help="Class ids, or multi-hot rows, one a query.")],
    database_labels: Annotated[str, typer.Option(metavar="FILE", help="The same, one an item.")],
    bits: Annotated[int | None, typer.Option(min=1, help="Bits of a code. Default: all of its bytes.")] = None,
    k: Annotated[
        str | None, typer.Option("-k", metavar="K,K,...", help="Cuts of the ranking, or all. Default: 5000,all.")
    ] = None,
    radius: Annotated[
        str, typer.Option(metavar="R,R,...", help="Hamming radii in bits; none for no such rows.")
    ] = "0,1,2",
    ties: Annotated[
        Ties, typer.Option(help="Order of items at one distance: averaged over, by embeddings, by row, best, worst.")
    ] = Ties.EXPECTED,
    divisor: Annotated[
        Divisor, typer.Option(help="Divide average precision by the relevant items retrieved, or min(k, all relevant).")
    ] = Divisor.RETRIEVED,
    empty: Annotated[
        Empty, typer.Option(help="Count queries without relevant items as 0, or leave them out.")
    ] = Empty.ZERO,
    query_embeddings: Annotated[
        str | None, typer.Option(metavar="FILE", help="The embeddings of the queries; for --ties embeddings.")
    ] = None,
    database_embeddings: Annotated[
        str | None, typer.Option(metavar="FILE", help="The embeddings of the items; for --ties embeddings.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the bootstrap.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Score codes or embeddings by labels.

    Mean average precision, precision, recall and nDCG, each with its 95% bootstrap interval over queries. Given the
    embeddings behind the codes, their mAP as well.
    """
    embeddings = _pair(query_embeddings, database_embeddings)
    options = _Options(
        None if k is None else _parse_cuts(k, "-k", 1, "all"),
        [] if radius == "none" else _parse_cuts(radius, "--radius", 0, None),
        bits, ties, divisor, empty,
    )  # fmt: skip
    inputs = _read(queries, database, query_labels, database_labels, embeddings, options)
    began = time.perf_counter()
    rows = _score(inputs, options)
    seconds = time.perf_counter() - began
    if as_json:
        print_json(_as_document(inputs, options, rows, seed, seconds))
    else:
        print_blocks(*_as_blocks(inputs, options, rows, seed, seconds))


@dataclass(frozen=True)
class _Options:
    """What to compute: cuts (None: the defaults), radii, and the protocol."""

    ks: list[int | None] | None
    radii: list[int]
    bits: int | None
    ties: Ties
    divisor: Divisor
    empty: Empty


@dataclass(frozen=True)
class _Inputs:
    """The arrays of a run: queries, then database."""

    arrays: "tuple[StoredArray, StoredArray]"
    labels: tuple[Any, Any]
    embeddings: tuple[Any, Any] | None

    @property
    def has_codes(self) -> bool:
        return bool(self.arrays[0].holds_codes)


@dataclass(frozen=True)
class _Row:
    """A row of the table: metrics of the items within a cut of the ranking, or within a radius."""

    of: str
    k: int | None
    radius: int | None
    mean_average_precision: "MeanOverQueries"
    precision: "MeanOverQueries | None" = None
    recall: "MeanOverQueries | None" = None
    ndcg: "MeanOverQueries | None" = None

    def describe(self) -> str:
        """Name the items that count."""
        if self.radius is not None:
            return f"within {self.radius} {'bit' if self.radius == 1 else 'bits'}"
        counted = "all items" if self.k is None else f"first {self.k:,}"
        return counted if self.of == "codes" else f"{counted}, embeddings"

    def metrics(self) -> "dict[str, MeanOverQueries | None]":
        """Return the metrics by the name that JSON has them under."""
        names = ("mean_average_precision", "precision", "recall", "ndcg")
        return {name: getattr(self, name) for name in names}


def _parse_cuts(text: str, option: str, low: int, all_word: str | None) -> list[Any]:
    """Return the whole numbers of a list with commas; None for the word that means all."""
    cuts: list[Any] = []
    for part in (part.strip() for part in text.split(",")):
        if part == all_word:
            cuts.append(None)
        elif part.isdecimal() and int(part) >= low:
            cuts.append(int(part))
        else:
            words = "" if all_word is None else f" or {all_word}"
            raise typer.BadParameter(
                f"expected whole numbers from {low}{words}, with commas between; got {text!r}", param_hint=option
            )
    return list(dict.fromkeys(cuts))


def _pair(query_embeddings: str | None, database_embeddings: str | None) -> tuple[str, str] | None:
    if query_embeddings is not None and database_embeddings is not None:
        return query_embeddings, database_embeddings
    if query_embeddings is None and database_embeddings is None:
        return None
    missing = "--query-embeddings" if query_embeddings is None else "--database-embeddings"
    raise typer.BadParameter("give the embeddings of both, queries and items", param_hint=missing)


def _read(
    queries: str, database: str, query_labels: str, database_labels: str, embeddings: tuple[str, str] | None,
    options: _Options,
) -> _Inputs:  # fmt: skip
    """Open and check the files."""
    from h2q.files import open_array

    arrays = open_array(queries), open_array(database)
    if arrays[0].holds_codes != arrays[1].holds_codes:
        raise ValueError(f"{queries} and {database} must both be codes (uint8) or both embeddings (floats)")
    if arrays[0].holds_codes:
        if options.ties is Ties.EMBEDDINGS and embeddings is None:
            raise typer.BadParameter(
                "embeddings needs --query-embeddings and --database-embeddings, whose distances break the ties",
                param_hint="--ties",
            )
    else:
        is_given = {
            "--bits": options.bits is not None,
            "--ties": options.ties is not Ties.EXPECTED,
            "--query-embeddings": embeddings is not None,
        }
        for option, given in is_given.items():
            if given:
                raise typer.BadParameter(f"it is for codes, and {queries} holds embeddings", param_hint=option)
    read = None if embeddings is None else (open_array(embeddings[0]).read(), open_array(embeddings[1]).read())
    return _Inputs(arrays, (read_labels(query_labels), read_labels(database_labels)), read)


def read_labels(source: str) -> Any:
    """Return class ids or multi-hot rows, whichever the file holds."""
    from h2q.checks import as_labels
    from h2q.files import open_array

    try:
        stored = open_array(source, ndim=1)
    except ValueError as error:
        try:
            stored = open_array(source, ndim=2)
        except ValueError:
            raise error from None
    with naming(source):
        return as_labels(stored.read())


def _score(inputs: _Inputs, options: _Options) -> list[_Row]:
    ks = options.ks
    if ks is None:
        ks = [_DEFAULT_K, None] if len(inputs.arrays[1]) > _DEFAULT_K else [None]
    if not inputs.has_codes:
        return _score_embeddings((inputs.arrays[0].read(), inputs.arrays[1].read()), inputs.labels, ks, options)
    rows = _score_codes(inputs, ks, options)
    if inputs.embeddings is not None:
        rows += _score_embeddings(inputs.embeddings, inputs.labels, ks, options)
    return rows


def _score_codes(inputs: _Inputs, ks: list[int | None], options: _Options) -> list[_Row]:
    from h2q.evaluation import evaluate_codes

    embeddings = inputs.embeddings if options.ties is Ties.EMBEDDINGS else None
    query_embeddings, database_embeddings = embeddings or (None, None)
    result = evaluate_codes(
        inputs.arrays[0].read(), inputs.arrays[1].read(), *inputs.labels, n_bits=_n_bits(inputs, options), ks=ks,
        radii=options.radii, ties=options.ties.value, divisor=options.divisor.value, empty=options.empty.value,
        query_embeddings=query_embeddings, database_embeddings=database_embeddings, progress=True,
    )  # fmt: skip
    return [
        _Row(
            "codes", cut.mean_average_precision.k, cut.mean_average_precision.radius, cut.mean_average_precision,
            cut.precision, cut.recall, cut.ndcg,
        )
        for cut in (*result.at_k.values(), *result.within_radius.values())
    ]  # fmt: skip


def _score_embeddings(
    embeddings: tuple[Any, Any], labels: tuple[Any, Any], ks: list[int | None], options: _Options
) -> list[_Row]:
    from h2q.evaluation import embeddings_mean_average_precision

    protocol = {"divisor": options.divisor.value, "empty": options.empty.value}
    return [
        _Row("embeddings", k, None, embeddings_mean_average_precision(*embeddings, *labels, k=k, **protocol))
        for k in ks
    ]


def _n_bits(inputs: _Inputs, options: _Options) -> int:
    return 8 * inputs.arrays[0].shape[1] if options.bits is None else options.bits


def _as_document(inputs: _Inputs, options: _Options, rows: Sequence[_Row], seed: int, seconds: float) -> dict[str, Any]:
    def values(result: "MeanOverQueries | None") -> dict[str, Any] | None:
        if result is None:
            return None
        interval = result.confidence_interval(random_state=seed)
        return {"value": _finite(result.value), "interval": [_finite(bound) for bound in interval]}

    return {
        "queries": len(inputs.arrays[0]), "items": len(inputs.arrays[1]),
        "bits": _n_bits(inputs, options) if inputs.has_codes else None, "ties": options.ties.value,
        "divisor": options.divisor.value, "empty": options.empty.value, "seconds": round(seconds, 3),
        "scores": [
            {
                "what": row.of, "k": row.k, "radius": row.radius,
                **{name: values(result) for name, result in row.metrics().items()},
            }
            for row in rows
        ],
    }  # fmt: skip


def _finite(value: float) -> float | None:
    """Return a number, or None if all queries are skipped."""
    return None if value != value else value


def _as_blocks(inputs: _Inputs, options: _Options, rows: Sequence[_Row], seed: int, seconds: float) -> "list[Block]":
    from h2q.report.document import Paragraph, Table, as_rows

    columns: tuple[str, ...] = ("counted", "mAP")
    of_bits, of_ties = "", ""
    if inputs.has_codes:
        columns = ("counted", "mAP", "precision", "recall", "nDCG")
        of_bits, of_ties = f" of {_n_bits(inputs, options)} bits", f"Ties: {options.ties.value}; "
    cells = [
        [row.describe(), *(_as_text(result, seed) for result in list(row.metrics().values())[: len(columns) - 1])]
        for row in rows
    ]
    return [
        Table(columns=columns, rows=as_rows(cells)),
        Paragraph(
            f"{len(inputs.arrays[0]):,} queries, {len(inputs.arrays[1]):,} items{of_bits}, {format_seconds(seconds)}. "
            f"In percent, with the 95% bootstrap interval over queries (seed {seed}) in brackets. {of_ties}Divisor: "
            f"{options.divisor.value}; queries without relevant items: {options.empty.value}"
        ),
    ]


def _as_text(result: "MeanOverQueries | None", seed: int) -> str:
    if result is None:
        return ""
    if _finite(result.value) is None:
        return "none"
    low, high = result.confidence_interval(random_state=seed)
    return f"{100 * result.value:.2f} [{100 * low:.2f}, {100 * high:.2f}]"
