"""``h2q experiment``: the paper's grid, or your own, from a plan to a report."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from h2q.cli.common import JsonOption, format_seconds, print_blocks, print_json

if TYPE_CHECKING:
    from h2q.experiments import Cell

__all__ = ["compare", "report", "run", "show", "status"]

_Folder = Annotated[Path, typer.Argument(help="Folder of the experiment.")]
_Plan = Annotated[str, typer.Argument(help="Plan: a TOML file, or the name of a plan that comes with h2q.")]


def run(
    plan: _Plan,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the results; a run continues where the last one stopped.")
    ],
    processes: Annotated[int, typer.Option("--processes", "-p", min=1, help="Processes that share the work.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Run the cells of a plan that the folder does not hold yet; may be killed and run again at any time."""
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
            f"{summary.n_done} of {summary.n_cells} cells done, {summary.n_new} of them in this run, in "
            f"{format_seconds(summary.seconds)}"
        )
        for cell, error in summary.failed:
            print(f"failed: {cell}: {error}")
        if not summary.failed:
            print(f"next: h2q experiment report {output}")
    if summary.failed:
        raise typer.Exit(1)


def status(folder: _Folder, as_json: JsonOption = False) -> None:
    """Show the progress of an experiment."""
    from h2q.experiments import status_of
    from h2q.report.document import Bullets, Paragraph, Table, as_rows

    progress = status_of(folder)
    if as_json:
        quantizers = [{"quantizer": name, "done": done, "cells": cells} for name, done, cells in progress.by_quantizer]
        failed = [{"cell": _as_document(cell), "error": error} for cell, error in progress.failed]
        print_json(
            {
                "name": progress.name, "cells": progress.n_cells, "done": progress.n_done, "quantizers": quantizers,
                "failed": failed,
            }
        )  # fmt: skip
        return
    done = f"{progress.n_done} of {progress.n_cells} cells done, {progress.n_failed} failed"
    table = Table(columns=("quantizer", "done", "cells"), rows=as_rows(progress.by_quantizer))
    failures = tuple(f"failed: {cell.describe()}: {error}" for cell, error in progress.failed)
    print_blocks(Paragraph(f"{progress.name}: {done}"), table, *([Bullets(failures)] if failures else []))


def _as_document(cell: "Cell") -> dict[str, Any]:
    return {**asdict(cell.network.setting), "seed": cell.network.seed, "quantizer": cell.quantizer}


def report(
    folder: _Folder,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for the report. Default: the experiment's.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the report of the finished cells: report.html, report.md, report.tex and their figures."""
    from h2q.experiments import write_report

    if output is not None and output.exists() and not output.is_dir():
        raise typer.BadParameter(f"{output} is a file; expected a folder", param_hint="--output")
    written = write_report(folder, output)
    if as_json:
        print_json({path.suffix.removeprefix("."): str(path) for path in written})
    else:
        for path in written:
            print(path)


def show(plan: _Plan = "cifar10", as_json: JsonOption = False) -> None:
    """Check a plan and print it, as a start for your own."""
    from h2q.experiments import cells_of, load_plan, read_plan

    text, checked = read_plan(plan), load_plan(plan)
    if as_json:
        document: dict[str, Any] = {"plan": plan, "name": checked.name, "cells": len(list(cells_of(checked)))}
        print_json({**document, "text": text})
    else:
        print(text, end="")


def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="Folder of an experiment.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Folder of the experiment that A is compared with.")],
    as_json: JsonOption = False,
) -> None:
    """Compare two experiments, cell by cell: the difference A - B of each quantizer's mAP."""
    from h2q.experiments import compare_results, difference_table, load_results
    from h2q.report.document import Paragraph

    comparisons = compare_results(load_results(first), load_results(second))
    if as_json:
        document = [{"quantizer": each.quantizer, "ties": each.ties, **asdict(each.comparison)} for each in comparisons]
        print_json({"first": str(first), "second": str(second), "differences": document})
        return
    print_blocks(
        difference_table(comparisons),
        Paragraph(
            f"{first} minus {second}, in points of mAP, over the cells that both have: same data set, backbone, loss, "
            "bits, seed and quantizer. improved: share of cells; p: two-sided sign test over cells."
        ),
    )
