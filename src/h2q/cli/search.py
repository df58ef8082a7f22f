"""``h2q search``: the nearest items of an index."""

import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from h2q.cli.common import JsonOption, check_output, format_seconds, print_json, print_table

if TYPE_CHECKING:
    from h2q.index import Neighbors, RadiusNeighbors

__all__ = ["search"]

_SHOWN = 10
_K = 10


class Scoring(StrEnum):
    """What a distance is."""

    hamming = "hamming"
    asymmetric = "asymmetric"


def search(
    folder: Annotated[Path, typer.Argument(metavar="INDEX", help="The folder that h2q index made.")],
    queries: Annotated[
        str, typer.Argument(metavar="QUERIES", help="Embeddings, or codes (uint8); FILE:NAME picks an array.")
    ],
    k: Annotated[int | None, typer.Option("-k", min=1, help=f"Nearest items of each query. Default: {_K}.")] = None,
    radius: Annotated[int | None, typer.Option(min=0, help="Instead: all items within so many bits.")] = None,
    scoring: Annotated[
        Scoring, typer.Option(help="asymmetric: the query stays an embedding; finer, slower.")
    ] = Scoring.hamming,
    rerank: Annotated[
        int | None, typer.Option(min=1, help="Order so many candidates by the embeddings that the index kept.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write ids and distances of all queries: .npz or .json.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Find the nearest items of each query.

    Exactly; ties go to the lower id.
    """
    from h2q.files import open_array
    from h2q.index import BinaryIndex

    if output is not None:
        check_output(output, ".npz", ".json")
    if radius is not None:
        for option, given in (("-k", k), ("--rerank", rerank), ("--scoring", scoring is Scoring.asymmetric or None)):
            if given is not None:
                raise typer.BadParameter(
                    f"it does not go with --radius, which gives all items within {radius} bits; leave one of them out",
                    param_hint=option,
                )
    if rerank is not None and rerank < (k or _K):
        raise typer.BadParameter(f"expected at least -k, which is {k or _K}; got {rerank}", param_hint="--rerank")
    index, stored = BinaryIndex.open(folder), open_array(queries)
    asked = stored.read()
    if k is None:
        k = max(1, min(_K, len(index)))
    elif k > len(index) > 0:
        raise ValueError(f"-k must be at most the number of items in {folder}, {len(index)}; got {k}")
    began = time.perf_counter()
    found: Neighbors | RadiusNeighbors
    if radius is not None:
        found = index.search_radius(asked, radius)
    else:
        found = index.search(asked, k, scoring=scoring.value, rerank=rerank)
    seconds = time.perf_counter() - began
    if output is not None:
        _write(output, found)
    n_queries = len(asked)
    if as_json:
        summary: dict[str, Any] = {"index": folder, "queries": n_queries, "seconds": round(seconds, 4)}
        summary |= {"k": k} if radius is None else {"radius": radius}
        print_json(summary | ({"output": output} if output is not None else _as_lists(found)))
        return
    if output is None:
        shown = range(min(n_queries, _SHOWN))
        print_table(
            ["query", "id (distance), nearest first"], [[query, _line(found, query)] for query in shown], text_columns=2
        )
    what = f"{k} nearest" if radius is None else f"all within {radius} bits"
    rest = f"; {n_queries - _SHOWN:,} more: -o FILE or --json" if output is None and n_queries > _SHOWN else ""
    print(f"{n_queries:,} queries, {what} of {len(index):,} items, in {format_seconds(seconds)}{rest}")
    if output is not None:
        print(f"results saved to {output}")


def _rows(found: "Neighbors | RadiusNeighbors", query: int) -> tuple[Any, Any]:
    """Return ids and distances of one query."""
    from h2q.index import RadiusNeighbors

    if isinstance(found, RadiusNeighbors):
        one = found[query]
        return one.ids, one.distances
    return found.ids[query], found.distances[query]


def _line(found: "Neighbors | RadiusNeighbors", query: int) -> str:
    ids, distances = _rows(found, query)
    pairs = [
        f"{item}\u00a0({distance if isinstance(distance, int) else format(distance, '.3f')})"
        for item, distance in zip(ids.tolist(), distances.tolist(), strict=True)
    ]
    return "  ".join(pairs) or "none"


def _as_lists(found: "Neighbors | RadiusNeighbors") -> dict[str, list[Any]]:
    """Return ids and distances, a list for each query."""
    from h2q.index import RadiusNeighbors

    n = len(found) if isinstance(found, RadiusNeighbors) else len(found.ids)
    rows = [_rows(found, query) for query in range(n)]
    return {"ids": [ids.tolist() for ids, _ in rows], "distances": [distances.tolist() for _, distances in rows]}


def _write(output: Path, found: "Neighbors | RadiusNeighbors") -> None:
    from h2q.files import write_npz
    from h2q.files.storage import write_json
    from h2q.index import RadiusNeighbors

    if output.suffix.lower() == ".json":
        write_json(output, _as_lists(found))
    elif isinstance(found, RadiusNeighbors):
        write_npz(output, offsets=found.offsets, ids=found.ids, distances=found.distances)
    else:
        write_npz(output, ids=found.ids, distances=found.distances)
