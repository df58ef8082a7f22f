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
    neighbors: Neighbors | RadiusNeighbors
    if radius is not None:
        neighbors = index.search_radius(vectors, radius)
    else:
        neighbors = index.search(
            vectors, k, scoring=scoring.value, rerank=rerank, n_bits=bits, prefix=prefix, shortlist=shortlist
        )
    seconds = time.perf_counter() - began
    if output is not None:
        _write(output, neighbors)
    if as_json:
        summary: dict[str, Any] = {"index": folder, "queries": len(neighbors), "seconds": round(seconds, 4)}
        summary |= {"k": min(k, len(index))} if radius is None else {"radius": radius}
        print_json(summary | ({"output": output} if output is not None else _as_lists(neighbors)))
        return
    if output is None:
        rows = [[query, _line(neighbors[query])] for query in range(min(len(neighbors), _SHOWN))]
        print_table(["query", "id (distance), nearest first"], rows, text_columns=2)
    what = f"{min(k, len(index))} nearest" if radius is None else f"all within {radius} bits"
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
    pairs = [
        f"{item.id}\u00a0({item.distance if isinstance(item.distance, int) else format(item.distance, '.3f')})"
        for item in neighbors
    ]
    return "  ".join(pairs) or "none"


def _as_lists(neighbors: "Neighbors | RadiusNeighbors") -> dict[str, list[Any]]:
    """Return ids and distances, a list for each query."""
    return {"ids": [n.ids.tolist() for n in neighbors], "distances": [n.distances.tolist() for n in neighbors]}


def _write(output: Path, neighbors: "Neighbors | RadiusNeighbors") -> None:
    from dataclasses import fields

    from h2q.files import write_json, write_npz

    if output.suffix.lower() == ".json":
        write_json(output, _as_lists(neighbors))
    else:
        write_npz(output, **{field.name: getattr(neighbors, field.name) for field in fields(neighbors)})
