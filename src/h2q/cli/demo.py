"""``h2q demo``: the main job on real images."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from h2q.cli.common import JsonOption, SeedOption, format_seconds, print_json, print_paragraph, print_table

if TYPE_CHECKING:
    from h2q.demo.run import DemoResult

__all__ = ["demo"]


def demo(
    out: Annotated[Path, typer.Option("--output", "-o", help="Folder for the table and the picture.")] = Path(
        "demo-results"
    ),
    full: Annotated[bool, typer.Option("--full", help="All 60,000 images of CIFAR-10, instead of 6,000.")] = False,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Run the main job on real images.

    Images to embeddings to codes to neighbors, scored by class and by float neighbors beside the baselines: a table
    and a picture, which end in the folder --output.
    """
    from h2q.demo import learned, run
    from h2q.demo.data import load_demo_data

    if out.exists() and not out.is_dir():
        raise typer.BadParameter(f"{out} is a file; expected a folder", param_hint="--output")
    began = time.perf_counter()
    data = load_demo_data(full=full, random_state=seed)
    if not as_json:
        for line in data.notes:
            print_paragraph(line)
        sys.stdout.flush()
    loaded = time.perf_counter()
    stages, note = [run.frozen_stage(data)], None
    if data.learnable:
        note = learned.missing_for_learning()
        if note is None:
            stages.append(learned.learned_stage(data, full=full, random_state=seed))
    results = []
    for stage in stages:
        results.append(run.run_stage(stage, random_state=seed))
        if not as_json:
            _print_result(results[-1])
    written = run.write_results(out, data, results, random_state=seed)
    if as_json:
        document = run.to_document(data, results, seed)
        print_json(document | {"files": written, "seconds": round(time.perf_counter() - began, 1)})
        return
    for paragraph in (*run.explain(data), *([note] if note else [])):
        print_paragraph(paragraph)
    ended = time.perf_counter()
    print(f"images and features {format_seconds(loaded - began)}, the rest {format_seconds(ended - loaded)}")
    print("saved: " + ", ".join(str(path) for path in written.values()))
    if "picture" not in written:
        print('no picture: Pillow is missing, pip install "h2q[images]"')


def _print_result(result: "DemoResult") -> None:
    from h2q.demo import run

    print_paragraph(result.stage.title)
    columns = [column.replace(" ", "\n") for column in run.COLUMNS]
    print_table(columns, [run.table_row(score) for score in result.scores], sections=run.section_ends(result))
    sys.stdout.flush()
