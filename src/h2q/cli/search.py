"""``h2q search``: the nearest items of an index."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
    """How queries and codes are compared."""

    auto = "auto"
    hamming = "hamming"
    asymmetric = "asymmetric"


def search(
    folder: Annotated[str, typer.Argument(metavar="INDEX", help="Folder that h2q index made, or another address.")],
    queries: Annotated[
        str, typer.Argument(metavar="QUERIES", help="Embeddings, or codes (uint8); FILE:NAME picks an array.")
    ],
    k: Annotated[int | None, typer.Option("-k", min=1, help=f"Nearest items of each query. Default: {_K}.")] = None,
    radius: Annotated[int | None, typer.Option(min=0, help="Instead: all items within this many bits.")] = None,
    scoring: Annotated[
        Scoring,
        typer.Option(help="asymmetric: estimated distance of embeddings; hamming: differing bits, faster, less exact."),
    ] = Scoring.auto,
    rerank: Annotated[
        int | None, typer.Option(min=1, help="Re-rank this many candidates by the embeddings that the index keeps.")
    ] = None,
    bits: Annotated[
        int | None, typer.Option(min=1, help="Compare only this many first bits, as nested codes allow. Default: all.")
    ] = None,
    prefix: Annotated[
        int | None, typer.Option(min=1, help="Compare this many first bits, then whole codes of the nearest by these.")
    ] = None,
    shortlist: Annotated[
        int | None,
        typer.Option(min=1, help="Items that --prefix lets through. Default: what the exact result needs (hamming)."),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(help="Search only items whose metadata fulfil a condition: \"year >= 2020 and label = 'cat'\"."),
    ] = None,
    columns: Annotated[
        str | None, typer.Option(help="Metadata columns to return with each item, with commas between.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write ids and distances of all queries: .npz or .json.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Find the nearest items of each query.

    The result is exact, unless --shortlist is given; ties go to the lower id.
    """
    from h2q.files import open_array
    from h2q.index import open_index

    if output is not None:
        check_output(output, ".npz", ".json")
    _check_options(k, radius, scoring, rerank, {"--bits": bits, "--prefix": prefix, "--shortlist": shortlist})
    k = k or _K
    index, stored = open_index(folder), open_array(queries)
    if rerank is not None and not getattr(index, "keeps_embeddings", True):
        raise typer.BadParameter(
            f"{folder} keeps no embeddings to re-rank by; build it with --keep-embeddings", param_hint="--rerank"
        )
    if stored.holds_codes and scoring is Scoring.asymmetric:
        raise typer.BadParameter(f"it needs embeddings; {queries} holds codes", param_hint="--scoring")
    _check_prefix(bits, prefix, shortlist, index.n_bits, stored.holds_codes or scoring is Scoring.hamming)
    vectors = stored.read()
    index.warm_up()
    began = time.perf_counter()
    named = None if columns is None else [name.strip() for name in columns.split(",")]
    neighbors: Neighbors | RadiusNeighbors
    with _naming_options():
        if radius is not None:
            neighbors = index.search_radius(vectors, radius, where=where, columns=named)
        else:
            neighbors = index.search(
                vectors, k, scoring=scoring.value, rerank=rerank, n_bits=bits, prefix=prefix, shortlist=shortlist,
                where=where, columns=named,
            )  # fmt: skip
    seconds = time.perf_counter() - began
    if output is not None:
        _write(output, neighbors)
    if as_json:
        summary: dict[str, Any] = {"index": folder, "queries": len(neighbors), "seconds": round(seconds, 4)}
        summary |= {"k": min(k, len(index))} if radius is None else {"radius": radius}
        summary |= {} if where is None else {"where": where}
        print_json(summary | ({"output": output} if output is not None else _as_lists(neighbors)))
        return
    if output is None:
        rows = [[query, _line(neighbors[query])] for query in range(min(len(neighbors), _SHOWN))]
        print_table(["query", "id (distance), nearest first"], rows, text_columns=2)
    what = f"{min(k, len(index))} nearest" if radius is None else f"all within {radius} bits"
    what += "" if where is None else f" where {where},"
    hidden = len(neighbors) - _SHOWN
    rest = f"; {hidden:,} more: -o FILE or --json" if output is None and hidden > 0 else ""
    print(f"{len(neighbors):,} queries, {what} of {len(index):,} items, in {format_seconds(seconds)}{rest}")
    if output is not None:
        print(f"results saved to {output}")


def _check_options(
    k: int | None, radius: int | None, scoring: Scoring, rerank: int | None, prefixes: dict[str, int | None]
) -> None:
    """Refuse options that exclude each other."""
    if radius is not None:
        options = {"-k": k, "--rerank": rerank, "--scoring": scoring is not Scoring.auto or None} | prefixes
        for option, given in options.items():
            if given is not None:
                raise typer.BadParameter(
                    f"it does not go with --radius, which returns all items within {radius} bits; omit one of them",
                    param_hint=option,
                )
    if rerank is not None and rerank < (k or _K):
        raise typer.BadParameter(f"expected at least -k, which is {k or _K}; got {rerank}", param_hint="--rerank")
    bits, prefix, shortlist = (prefixes[option] for option in ("--bits", "--prefix", "--shortlist"))
    if bits is not None and prefix is not None:
        raise typer.BadParameter("it compares whole codes in the end; omit --bits", param_hint="--prefix")
    if shortlist is not None and prefix is None:
        raise typer.BadParameter("it needs --prefix, the bits by which items are let through", param_hint="--shortlist")
    if shortlist is not None and shortlist < (rerank or k or _K):
        raise typer.BadParameter(
            f"expected at least {'--rerank' if rerank else '-k'}, which is {rerank or k or _K}; got {shortlist}",
            param_hint="--shortlist",
        )


def _check_prefix(bits: int | None, prefix: int | None, shortlist: int | None, n_bits: int, hamming: bool) -> None:
    """Refuse prefixes that the codes or the scoring do not have."""
    for option, given in (("--bits", bits), ("--prefix", prefix)):
        if given is not None and given > n_bits:
            raise typer.BadParameter(f"the codes have {n_bits} bits; got {given}", param_hint=option)
    if prefix is not None and shortlist is None and not hamming:
        raise typer.BadParameter(
            "without --shortlist it promises the exact result, which needs --scoring hamming", param_hint="--prefix"
        )


def _line(neighbors: Any) -> str:
    """Return the neighbors of a query in one line."""
    rows = neighbors.metadata.to_pylist() if neighbors.metadata is not None else [{}] * len(neighbors)
    pairs = []
    for item, row in zip(neighbors, rows, strict=True):
        distance = str(item.distance) if isinstance(item.distance, int) else format(item.distance, ".3f")
        pairs.append(f"{item.id}\u00a0({', '.join([distance, *(f'{name}={value}' for name, value in row.items())])})")
    return "  ".join(pairs) or "none"


def _as_lists(neighbors: "Neighbors | RadiusNeighbors") -> dict[str, list[Any]]:
    """Return ids, distances and metadata, a list for each query."""
    lists = {"ids": [n.ids.tolist() for n in neighbors], "distances": [n.distances.tolist() for n in neighbors]}
    if neighbors.metadata is not None:
        rows = [n.metadata.to_pylist() for n in neighbors]
        lists["metadata"] = [[{k: _plain(v) for k, v in row.items()} for row in some] for some in rows]
    return lists


def _plain(value: Any) -> Any:
    """Return a value as JSON has it; what it does not have is text, and not-a-number null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (str, int, list, dict)) else str(value)


@contextmanager
def _naming_options() -> Iterator[None]:
    """Name the option in an error about a filter or the columns."""
    try:
        yield
    except (ValueError, TypeError) as error:
        subject, _, rest = str(error).partition(" ")
        if subject not in ("where", "columns"):
            raise
        raise typer.BadParameter(rest, param_hint=f"--{subject}") from error


def _write(output: Path, neighbors: "Neighbors | RadiusNeighbors") -> None:
    from dataclasses import fields

    import numpy as np

    from h2q.files import write_json, write_npz

    if output.suffix.lower() == ".json":
        write_json(output, _as_lists(neighbors))
    else:
        arrays = {field.name: getattr(neighbors, field.name) for field in fields(neighbors) if field.name != "metadata"}
        if neighbors.metadata is not None:
            columns = neighbors.metadata.to_pydict()
            arrays |= {name: np.array([_plain(value) for value in values]) for name, values in columns.items()}
        texts = {name: array.astype(str) for name, array in arrays.items() if array.dtype == object}
        write_npz(output, **arrays | texts)
