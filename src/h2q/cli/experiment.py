"""``h2q experiment``: the paper's grid, or one of your own, from a plan to a report."""

from pathlib import Path
from typing import Annotated, Any

import typer

from h2q.cli.common import JsonOption, format_seconds, print_json, print_table

__all__ = ["report", "run", "show", "status"]

_Folder = Annotated[Path, typer.Argument(help="Folder of the experiment.")]


def run(
    plan: Annotated[str, typer.Argument(help="Plan: a TOML file, or the name of one that h2q carries.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the results; a run goes on where it stopped.")
    ],
    processes: Annotated[int, typer.Option("--processes", "-p", min=1, help="Processes that share the work.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Run what a plan asks for and the folder does not hold yet; kill it whenever you like, and run it again."""
    from h2q.experiments import load_plan, run_plan

    summary = run_plan(load_plan(plan), output, processes=processes)
    if as_json:
        print_json(
            {
                "folder": str(output), "cells": summary.n_cells, "done": summary.n_done, "new": summary.n_new,
                "failed": [{"cell": cell, "error": error} for cell, error in summary.failed],
                "seconds": summary.seconds,
            }
        )  # fmt: skip
    else:
        print(
            f"{summary.n_done} of {summary.n_cells} cells done, {summary.n_new} of them now, in "
            f"{format_seconds(summary.seconds)}"
        )
        for cell, error in summary.failed:
            print(f"failed: {cell}: {error}")
        if not summary.failed:
            print(f"next: h2q experiment report {output}")
    if summary.failed:
        raise typer.Exit(1)


def status(folder: _Folder, as_json: JsonOption = False) -> None:
    """Say how far an experiment is."""
    from h2q.experiments import status_of

    found = status_of(folder)
    if as_json:
        quantizers = [{"quantizer": name, "done": done, "cells": cells} for name, done, cells in found.by_quantizer]
        failed = [{"cell": dict(cell), "error": error} for cell, error in found.failed]
        print_json(
            {
                "name": found.name, "cells": found.n_cells, "done": found.n_done, "quantizers": quantizers,
                "failed": failed,
            }
        )  # fmt: skip
        return
    print(f"{found.name}: {found.n_done} of {found.n_cells} cells done, {found.n_failed} failed")
    print_table(["quantizer", "done", "cells"], found.by_quantizer)
    for cell, error in found.failed:
        print(f"failed: {' / '.join(str(part) for part in cell.values())}: {error}")


def report(
    folder: _Folder,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the report instead of the experiment's.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the report of what is done so far: report.html, report.md, report.tex and their figures."""
    from h2q.experiments import write_report

    if output is not None and output.exists() and not output.is_dir():
        raise typer.BadParameter(f"{output} is a file; expected a folder", param_hint="--output")
    written = write_report(folder, output)
    if as_json:
        print_json({path.suffix.removeprefix("."): str(path) for path in written})
    else:
        for path in written:
            print(path)


def show(
    plan: Annotated[str, typer.Argument(help="Plan: a TOML file, or the name of one that h2q carries.")] = "cifar10",
    as_json: JsonOption = False,
) -> None:
    """Print a plan, to start one of your own from, once it is found to be right."""
    from h2q.experiments import cells_of, load_plan, read_plan

    text, checked = read_plan(plan), load_plan(plan)
    if as_json:
        document: dict[str, Any] = {"plan": plan, "name": checked.name, "cells": len(list(cells_of(checked)))}
        print_json({**document, "text": text})
    else:
        print(text, end="")
