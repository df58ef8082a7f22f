"""``h2q train``: labeled images to a hasher in a folder."""

import dataclasses
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from h2q.cli.common import JsonOption, SeedOption, print_json

__all__ = ["train"]


def train(
    data: Annotated[
        str,
        typer.Argument(help="A data set's name, a folder with one sub-folder per class, or a list file."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the hasher; checkpoints go to OUTPUT.run beside it.")
    ],
    loss: Annotated[str, typer.Option(help="Similarity loss.")] = "CosineEmbedding",
    bits: Annotated[int, typer.Option(min=1, help="Bits of a code.")] = 64,
    backbone: Annotated[str, typer.Option(help="Network from image to features.")] = "efficientnet-lite0",
    image_size: Annotated[int | None, typer.Option(min=1, help="Side in pixels that images are resized to.")] = None,
    fine_tune: Annotated[
        int, typer.Option(min=0, help="How many of the backbone's last blocks are trained, after the head; 0: frozen.")
    ] = 0,
    fine_tune_all: Annotated[bool, typer.Option("--fine-tune-all", help="Train the whole backbone.")] = False,
    preset: Annotated[
        str | None,
        typer.Option(help="Settings: head (frozen), fine-tune, or paper (the whole backbone)."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs, instead of the preset's.")] = None,
    seed: SeedOption = 0,
    devices: Annotated[int, typer.Option(min=1, help="Processes that fine-tune together.")] = 1,
    precision: Annotated[str, typer.Option(help="32-true, 16-mixed or bf16-mixed, when fine-tuning.")] = "32-true",
    log: Annotated[str | None, typer.Option(help="csv or tensorboard: logs in OUTPUT.run.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in OUTPUT.run.")] = False,
    skip_broken: Annotated[bool, typer.Option("--skip-broken", help="Leave out images that do not decode.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a hasher on labeled images, say how good it is on held-out ones, and save it."""
    from h2q.datasets import load_dataset
    from h2q.errors import require

    for module in ("torch", "lightning"):
        require(module, "learn")
    from h2q.hasher import ImageHasher, is_hasher
    from h2q.similarity.presets import PRESETS, settings_for
    from h2q.similarity.training import Hardware

    if not output.parent.is_dir():
        raise typer.BadParameter(f"the folder {output.parent} does not exist; make it first", param_hint="--output")
    if output.exists() and not is_hasher(output):
        raise typer.BadParameter(f"{output} is there already and holds no hasher", param_hint="--output")
    if log not in (None, "csv", "tensorboard"):
        raise typer.BadParameter(f"expected csv or tensorboard; got {log!r}", param_hint="--log")
    if preset not in (None, *PRESETS):
        raise typer.BadParameter(f"expected one of {', '.join(PRESETS)}; got {preset!r}", param_hint="--preset")
    whole = fine_tune_all or preset == "paper"
    tuned = whole or fine_tune > 0
    settings = settings_for(loss, preset or ("fine-tune" if tuned else "head"))  # type: ignore[arg-type]
    if epochs is not None:
        settings = dataclasses.replace(settings, epochs=epochs, min_steps=0)
    began = time.perf_counter()
    dataset = load_dataset(data, random_state=seed, skip_broken=skip_broken)
    hasher = ImageHasher(
        bits,
        loss=loss,
        backbone=backbone,
        image_size=image_size,
        train_blocks=None if whole else fine_tune,
        head_settings=None if tuned else settings,
        network_settings=settings if tuned else None,
        random_state=seed,
    )
    hardware = Hardware(devices=devices, precision=precision)
    run = output.with_name(f"{output.name}.run")
    hasher.fit(dataset, folder=run, resume=resume, log=log, hardware=hardware)  # type: ignore[arg-type]
    hasher.save(output)
    n_held_out = len(dataset.folds["validation"])
    result: dict[str, Any] = {
        "output": str(output),
        "data": dataset.name,
        "images": len(dataset.folds["train"]),
        "skipped": dataset.n_skipped,
        "loss": loss,
        "bits": bits,
        "backbone": backbone,
        "seed": seed,
        "validation_map": hasher.validation_map_,
        "seconds": round(time.perf_counter() - began, 1),
    }
    if as_json:
        print_json(result)
        return
    reached = hasher.validation_map_
    typer.echo(
        f"{result['images']} images of {dataset.name}, {loss}, {bits} bits, {result['seconds']} s"
        + (f" ({dataset.n_skipped} broken images left out)" if dataset.n_skipped else "")
    )
    typer.echo(
        "no validation fold: nothing is known about how good it is"
        if reached is None
        else f"mean average precision of real-valued embeddings: {100 * reached:.1f} % "
        f"({n_held_out} held-out images, each searching the others)"
    )
    typer.echo(f"hasher saved to {output}")
