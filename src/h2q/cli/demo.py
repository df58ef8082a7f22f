"""``h2q demo``: the main job on real images."""

import importlib.util
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from h2q.cli.common import JsonOption, SeedOption, format_seconds, print_blocks, print_json, print_paragraph

if TYPE_CHECKING:
    from h2q.demo.data import DemoData
    from h2q.demo.run import DemoResult
    from h2q.demo.stages import Stage

__all__ = ["demo"]

_LEFT_OUT = 'Stage one, learning embeddings, is left out: pip install "h2q[learn]"'


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the tables and the picture.")] = Path(
        "demo-results"
    ),
    full: Annotated[bool, typer.Option("--full", help="All 60,000 images of CIFAR-10, instead of 6,000.")] = False,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of each quantizer, for the spread.")] = 3,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Run the main job on real images.

    Images to embeddings to codes to neighbors, scored by class and by float neighbors beside the baselines. Writes
    tables and a picture to the folder --output.
    """
    from h2q.demo.data import load_demo_data
    from h2q.demo.output import as_json as to_document
    from h2q.demo.output import explain, result_table, say_results, write_results
    from h2q.demo.run import run_stage

    if output.exists() and not output.is_dir():
        raise typer.BadParameter(f"{output} is a file; expected a folder", param_hint="--output")
    began = time.perf_counter()
    data = load_demo_data(full=full, random_state=seed)
    if not as_json:
        for line in data.notes:
            print_paragraph(line)
        sys.stdout.flush()
    loaded = time.perf_counter()
    results: list[DemoResult] = []
    for stage in _stages(data, full, seed):
        result = run_stage(stage, random_state=seed, n_seeds=seeds)
        results.append(result)
        if not as_json:
            print_paragraph(f"\n{stage.title}\n")
            print_blocks(result_table(result), *say_results(result))
            sys.stdout.flush()
    written = write_results(output, data, results, random_state=seed, n_seeds=seeds)
    if as_json:
        document = to_document(data, results, seed, seeds)
        print_json(document | {"files": written, "seconds": round(time.perf_counter() - began, 1)})
        return
    print()
    print_blocks(*explain(data, seeds))
    ended = time.perf_counter()
    print(f"\nimages and features {format_seconds(loaded - began)}, the rest {format_seconds(ended - loaded)}")
    print("saved: " + ", ".join(str(path) for path in written.values()))
    if data.learnable and len(results) == 1:
        print(_LEFT_OUT)
    if "picture" not in written:
        print('no picture: Pillow is missing, pip install "h2q[images]"')


def _stages(data: "DemoData", full: bool, seed: int) -> "list[Stage]":
    from h2q.demo.stages import FULL_LEARNED_LENGTHS, LEARNED_LENGTHS, LEARNING_MODULES, frozen_stage, learned_stage

    stages = [frozen_stage(data)]
    can_learn = all(importlib.util.find_spec(module) is not None for module in LEARNING_MODULES)
    if data.learnable and can_learn:
        lengths = FULL_LEARNED_LENGTHS if full else LEARNED_LENGTHS
        stages.append(learned_stage(data, lengths, random_state=seed))
    return stages
