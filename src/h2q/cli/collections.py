"""What the commands about collections share: the report of an update, groups of duplicates."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from h2q.cli.common import format_seconds, print_json, print_paragraph

if TYPE_CHECKING:
    from h2q.collections import Collection

_NAMES_SHOWN = 20
CollectionOption = Annotated[
    Path, typer.Option("--output", "-o", help="Collection to write or to bring up to date, a folder.")
]
CountOption = Annotated[int, typer.Option("-k", min=1, help="Number of results.")]
RadiusOption = Annotated[
    int | None, typer.Option(min=0, help="Largest distance of a pair, in bits of the code. Default: a bit for 16.")
]
KeepOption = Annotated[
    str | None, typer.Option(help="best: name in each group the one to keep. Nothing is ever deleted.")
]


def update_collection(collection: "Collection[Any]", *, as_json: bool) -> None:
    """Bring a collection up to date, and say what changed."""
    began = time.perf_counter()
    update = collection.update()
    total, seconds = len(collection.opened_index()), time.perf_counter() - began
    if as_json:
        counts = {name: getattr(update, name) for name in ("added", "changed", "removed", "kept")}
        document = {"collection": collection.path, **counts, collection.kind: total}
        print_json({**document, "unreadable": list(update.unreadable), "seconds": seconds})
        return
    print(
        f"{update.added:,} new, {update.changed:,} changed, {update.removed:,} gone, {update.kept:,} as before, in "
        f"{format_seconds(seconds)}"
    )
    print(f"{collection.path} holds {total:,} {collection.kind}")
    if update.unreadable:
        print(f"{len(update.unreadable):,} could not be read:")
        print_names(update.unreadable)


def print_duplicates(
    collection: "Collection[Any]",
    radius: int | None,
    keep: str | None,
    describe: Callable[[Sequence[Any]], Sequence[str]],
    *,
    key: str,
    as_json: bool,
) -> None:
    """Print groups of duplicates; `describe` names items, and `key` their ids in JSON."""
    if keep not in (None, "best"):
        raise typer.BadParameter(f"expected best; got {keep}", param_hint="--keep")
    groups = collection.duplicates(radius)
    radius = collection.radius(radius)
    if as_json:
        documents = [{key: group.ids, "distance": group.distance} for group in groups]
        print_json({"radius": radius, "groups": documents})
        return
    for group in groups:
        for number, name in enumerate(describe(group.ids)):
            mark = "" if keep is None else "keep  " if number == 0 else "      "
            print(f"{mark}{on_one_line(name)}")
        print()
    spare = sum(len(group.ids) - 1 for group in groups)
    noun = "group" if len(groups) == 1 else "groups"
    print_paragraph(
        f"{len(groups):,} {noun} within {radius} of {collection.opened_index().n_bits} bits; {spare:,} "
        f"{collection.kind} more than one of each"
    )


def print_names(names: Sequence[str]) -> None:
    """Print the first of many names, a line each, and the number of the others."""
    for name in names[:_NAMES_SHOWN]:
        print(f"  {on_one_line(name)}")
    if len(names) > _NAMES_SHOWN:
        print(f"  and {len(names) - _NAMES_SHOWN:,} more (--json lists them)")


def on_one_line(text: str) -> str:
    r"""Return a text with its control characters escaped, so that it takes a line and cannot change the terminal.

    >>> print(on_one_line("two\nlines, a\x1b[31mred word, and 'quotes'"))
    two\nlines, a\x1b[31mred word, and 'quotes'
    """
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)
