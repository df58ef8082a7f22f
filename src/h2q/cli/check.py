"""``h2q check``: compares an index with its checksums, and repairs it."""

from pathlib import Path
from typing import Annotated

import typer

from h2q.cli.common import JsonOption, format_bytes, print_json

__all__ = ["check"]


def check(
    folder: Annotated[Path, typer.Argument(metavar="INDEX", help="Folder of the index.")],
    repair: Annotated[
        bool, typer.Option("--repair", help="Drop what cannot be saved; damaged files are kept as FILE.damaged.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare every byte of an index with its checksums, and say what is lost.

    Exit code 1 if something is wrong and was not repaired.
    """
    from dataclasses import asdict

    from h2q.index import check_index
    from h2q.progress import progress_bar

    total = sum(file.stat().st_size for file in folder.iterdir()) if folder.is_dir() else 0
    with progress_bar("checking", total) as advance:
        result = check_index(folder, repair=repair, advance=advance)
    sound = result.repaired or not result.damages
    if as_json:
        print_json({"index": folder, **asdict(result), "lost_items": result.lost_items, "sound": sound})
    else:
        for damage in result.damages:
            print(f"{damage.file}: {damage.what}")
        if result.left_overs:
            print(f"{len(result.left_overs)} file(s) of interrupted saves, which the next save deletes")
        for name in result.kept:
            print(f"kept the damaged file as {folder / name}; delete it when you do not need it")
        print(_verdict(folder, result.items, result.n_bytes, len(result.damages), result.lost_items, result.repaired))
    if not sound:
        raise typer.Exit(1)


def _verdict(folder: Path, items: int, n_bytes: int, n_damages: int, lost: int, repaired: bool) -> str:
    if n_damages == 0:
        return f"{folder} is sound: {items:,} items, {format_bytes(n_bytes)} checked"
    if repaired:
        return f"{folder} is repaired: it holds {items:,} items; {lost:,} are lost"
    return (
        f"{folder} is damaged: {items:,} items can be saved, {lost:,} are lost; restore it from a copy, or drop what "
        f"is lost: h2q check {folder} --repair"
    )
