"""``h2q evaluate``: what codes or embeddings are worth, by labels."""

import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from h2q.cli.common import JsonOption, format_seconds, naming, print_json, print_paragraph, print_table

if TYPE_CHECKING:
    from h2q.evaluation import CutEvaluation
    from h2q.evaluation.results import MeanOverQueries

__all__ = ["evaluate", "read_labels"]

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
    """What the sum of precisions is divided by."""

    RETRIEVED = "retrieved"
    RELEVANT = "relevant"


class Empty(StrEnum):
    """What becomes of queries that have no value."""

    ZERO = "zero"
    SKIP = "skip"


def evaluate(
    queries: Annotated[
        str, typer.Argument(metavar="QUERIES", help=f"Codes (uint8), or embeddings (ranked by cosine). {_FILE}")
    ],
    database: Annotated[str, typer.Argument(metavar="DATABASE", help="What is ranked, of the same kind.")],
    query_labels: Annotated[str, typer.Option(metavar="FILE", help="Class ids, or multi-hot rows, one a query.")],
    database_labels: Annotated[str, typer.Option(metavar="FILE", help="The same, one an item.")],
    bits: Annotated[int | None, typer.Option(min=1, help="Bits of a code. Default: all of its bytes.")] = None,
    k: Annotated[
        str | None,
        typer.Option("-k", metavar="K,K,...", help="Items that count from the top, or all. Default: 5000,all."),
    ] = None,
    radius: Annotated[
        str, typer.Option(metavar="R,R,...", help="Only items within so many bits count; none means no such rows.")
    ] = "0,1,2",
    ties: Annotated[
        Ties, typer.Option(help="Order of items at one distance: averaged over, by embeddings, by row, best, worst.")
    ] = Ties.EXPECTED,
    divisor: Annotated[
        Divisor, typer.Option(help="Divide average precision by the relevant items retrieved, or min(k, all relevant).")
    ] = Divisor.RETRIEVED,
    empty: Annotated[
        Empty, typer.Option(help="Queries without relevant items count as 0, or not at all.")
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

    Mean average precision, precision, recall and nDCG, each with its 95% bootstrap interval over queries. With the
    embeddings that codes were made from, the mAP of these, too.
    """
    from h2q.files import open_array

    cuts = None if k is None else _parse_cuts(k, "-k", 1, "all")
    radii = [] if radius == "none" else _parse_cuts(radius, "--radius", 0, None)
    asked, ranked = open_array(queries), open_array(database)
    if cuts is None:
        cuts = [_DEFAULT_K, None] if len(ranked) > _DEFAULT_K else [None]
    if asked.holds_codes != ranked.holds_codes:
        raise ValueError(f"{queries} and {database} must both be codes (uint8) or both embeddings (floats)")
    if (query_embeddings is None) != (database_embeddings is None):
        missing = "--query-embeddings" if query_embeddings is None else "--database-embeddings"
        raise typer.BadParameter("give the embeddings of both, queries and items", param_hint=missing)
    embeddings = None
    if query_embeddings is not None and database_embeddings is not None:
        embeddings = (open_array(query_embeddings).read(), open_array(database_embeddings).read())
    labels = read_labels(query_labels), read_labels(database_labels)
    options = {"divisor": divisor.value, "empty": empty.value}
    began = time.perf_counter()
    if not asked.holds_codes:
        for option, given in (
            ("--bits", bits),
            ("--ties", ties is not Ties.EXPECTED or None),
            ("--query-embeddings", query_embeddings),
        ):
            if given is not None:
                raise typer.BadParameter(f"it goes with codes, and {queries} holds embeddings", param_hint=option)
        rows = _score_embeddings((asked.read(), ranked.read()), labels, cuts, options)
        n_bits = None
    else:
        n_bits = 8 * asked.shape[1] if bits is None else bits
        if ties is Ties.EMBEDDINGS and embeddings is None:
            raise typer.BadParameter(
                "embeddings needs --query-embeddings and --database-embeddings, whose distances break the ties",
                param_hint="--ties",
            )
        rows = _score_codes((asked.read(), ranked.read()), labels, n_bits, cuts, radii, ties.value, options, embeddings)
        if embeddings is not None:
            rows += _score_embeddings(embeddings, labels, cuts, options)
    seconds = time.perf_counter() - began
    document = {
        "queries": len(asked), "items": len(ranked), "bits": n_bits, "ties": ties.value, **options,
        "seconds": round(seconds, 3), "scores": [_as_document(row, seed) for row in rows],
    }  # fmt: skip
    if as_json:
        print_json(document)
        return
    names = ("mAP",) if n_bits is None else ("mAP", "precision", "recall", "nDCG")
    print_table(
        ["counted", *names],
        [[_describe(row), *(_as_text(row.get(_KEYS[name]), seed) for name in names)] for row in rows],
    )
    of_bits, of_ties = ("", "") if n_bits is None else (f" of {n_bits} bits", f"Ties: {ties.value}; ")
    print_paragraph(
        f"{len(asked):,} queries, {len(ranked):,} items{of_bits}, {format_seconds(seconds)}. In percent; in brackets "
        f"the 95% bootstrap interval over queries (seed {seed}). {of_ties}Divisor: {divisor.value}; queries without "
        f"relevant items: {empty.value}"
    )


_KEYS = {"mAP": "mean_average_precision", "precision": "precision", "recall": "recall", "nDCG": "ndcg"}
Row = dict[str, Any]


def _parse_cuts(text: str, option: str, low: int, all_word: str | None) -> list[Any]:
    """Return whole numbers given with commas between; None for the word that means all."""
    found: list[Any] = []
    for part in (one.strip() for one in text.split(",")):
        if part == all_word:
            found.append(None)
        elif part.isdecimal() and int(part) >= low:
            found.append(int(part))
        else:
            words = "" if all_word is None else f" or {all_word}"
            raise typer.BadParameter(
                f"expected whole numbers from {low}{words}, with commas between; got {text!r}", param_hint=option
            )
    return list(dict.fromkeys(found))


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


def _score_codes(
    codes: tuple[Any, Any], labels: tuple[Any, Any], n_bits: int, k: list[Any], radius: list[Any], ties: str,
    options: dict[str, str], embeddings: tuple[Any, Any] | None,
) -> list[Row]:  # fmt: skip
    from h2q.evaluation import evaluate_codes

    query_embeddings, database_embeddings = (None, None) if ties != "embeddings" or embeddings is None else embeddings
    found = evaluate_codes(
        *codes, *labels, n_bits=n_bits, ks=k, radii=radius, ties=ties, progress=True,
        query_embeddings=query_embeddings, database_embeddings=database_embeddings, **options,
    )  # fmt: skip
    cuts: list[CutEvaluation] = [*found.at_k.values(), *found.within_radius.values()]
    return [
        {
            "what": "codes",
            "k": cut.mean_average_precision.k,
            "radius": cut.mean_average_precision.radius,
            "mean_average_precision": cut.mean_average_precision,
            "precision": cut.precision,
            "recall": cut.recall,
            "ndcg": cut.ndcg,
        }
        for cut in cuts
    ]


def _score_embeddings(
    embeddings: tuple[Any, Any], labels: tuple[Any, Any], k: list[Any], options: dict[str, str]
) -> list[Row]:
    from h2q.evaluation import embeddings_mean_average_precision

    rows: list[Row] = []
    for cut in k:
        found = embeddings_mean_average_precision(*embeddings, *labels, k=cut, **options)
        rows.append({"what": "embeddings", "k": cut, "radius": None, "mean_average_precision": found})
    return rows


def _as_document(row: Row, seed: int) -> Row:
    def of(result: "MeanOverQueries | None") -> Any:
        if result is None:
            return None
        interval = result.confidence_interval(random_state=seed)
        return {"value": _finite(result.value), "interval": [_finite(bound) for bound in interval]}

    return {key: of(value) if key in _KEYS.values() else value for key, value in row.items()}


def _finite(value: float) -> float | None:
    """Return a number, or None where all queries are skipped."""
    return None if value != value else value


def _as_text(result: "MeanOverQueries | None", seed: int) -> str:
    if result is None:
        return ""
    if _finite(result.value) is None:
        return "none"
    low, high = result.confidence_interval(random_state=seed)
    return f"{100 * result.value:.2f} [{100 * low:.2f}, {100 * high:.2f}]"


def _describe(row: Row) -> str:
    if row["radius"] is not None:
        counted = f"within {row['radius']} {'bit' if row['radius'] == 1 else 'bits'}"
    else:
        counted = "all items" if row["k"] is None else f"first {row['k']:,}"
    return counted if row["what"] == "codes" else f"{counted}, embeddings"
