"""``h2q train``: labeled images to a hasher in a folder."""

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from h2q.cli.common import DataOption, JsonOption, SeedOption, parse_options, print_json

if TYPE_CHECKING:
    from h2q.similarity.penalties import WeightedPenalty
    from h2q.similarity.presets import Preset, TrainingSettings

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
    loss_option: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Option of the loss, such as gamma=10; repeatable.")
    ] = None,
    bits: Annotated[int, typer.Option(min=1, help="Bits of a code.")] = 64,
    backbone: Annotated[str, typer.Option(help="Network from image to features.")] = "efficientnet-lite0",
    image_size: Annotated[int | None, typer.Option(min=1, help="Side in pixels that images are resized to.")] = None,
    resize_mode: Annotated[
        str | None,
        typer.Option(help="stretch, or crop: shorter side to 8/7 of the size, then its center; default: the preset's."),
    ] = None,
    fine_tune: Annotated[
        int, typer.Option(min=0, help="Number of the backbone's last blocks to train, after the head; 0: frozen.")
    ] = 0,
    fine_tune_all: Annotated[bool, typer.Option("--fine-tune-all", help="Train the whole backbone.")] = False,
    preset: Annotated[
        str | None,
        typer.Option(
            help="Configuration: head (frozen backbone), fine-tune, or paper (the authors' loss options and settings, "
            "whole backbone)."
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs, instead of the preset's.")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="Training setting instead of the preset's, such as optimizer=rmsprop or schedule=step; repeatable.",
        ),
    ] = None,
    penalty: Annotated[
        str | None, typer.Option(help="Quantization penalty, for baselines; own: the one of the loss.")
    ] = None,
    penalty_weight: Annotated[float | None, typer.Option(min=0, help="Weight of the penalty.")] = None,
    penalty_option: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Option of the penalty; repeatable.")
    ] = None,
    penalty_tanh: Annotated[
        bool | None, typer.Option(help="Whether a network with a penalty ends in a tanh; default: as in the preset.")
    ] = None,
    data_option: DataOption = None,
    seed: SeedOption = 0,
    devices: Annotated[int, typer.Option(min=1, help="Processes that fine-tune together.")] = 1,
    precision: Annotated[str, typer.Option(help="32-true, 16-mixed or bf16-mixed, when fine-tuning.")] = "32-true",
    workers: Annotated[int, typer.Option(min=0, help="Processes that read images ahead, when fine-tuning.")] = 0,
    log: Annotated[str | None, typer.Option(help="csv or tensorboard: logs in OUTPUT.run.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in OUTPUT.run.")] = False,
    skip_broken: Annotated[bool, typer.Option("--skip-broken", help="Leave out images that do not decode.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a hasher on labeled images, measure it on held-out ones, and save it."""
    from h2q.datasets import load_dataset
    from h2q.errors import require

    for module in ("torch", "lightning"):
        require(module, "learn")
    from h2q.hasher import ImageHasher, is_vacant
    from h2q.similarity.presets import PRESETS, preset_for
    from h2q.similarity.runs import Hardware, RunOptions

    if not output.parent.is_dir():
        raise typer.BadParameter(f"the folder {output.parent} does not exist; make it first", param_hint="--output")
    if not is_vacant(output):
        raise typer.BadParameter(f"{output} exists and holds no hasher", param_hint="--output")
    if log not in (None, "csv", "tensorboard"):
        raise typer.BadParameter(f"expected csv or tensorboard; got {log!r}", param_hint="--log")
    if preset not in (None, *PRESETS):
        raise typer.BadParameter(f"expected one of {', '.join(PRESETS)}; got {preset!r}", param_hint="--preset")
    if resize_mode not in (None, "stretch", "crop"):
        raise typer.BadParameter(f"expected stretch or crop; got {resize_mode!r}", param_hint="--resize-mode")
    whole = fine_tune_all or preset == "paper"
    tuned = whole or fine_tune > 0
    chosen = preset_for(loss, preset or ("fine-tune" if tuned else "head"))  # type: ignore[arg-type]
    loss_options = {**chosen.loss_options, **parse_options(loss_option, "--loss-option")}
    _check_loss(loss, loss_options, bits)
    settings = _settings(chosen.settings, epochs, setting)
    weighted = _penalty(chosen, penalty, penalty_weight, penalty_option, penalty_tanh)
    began = time.perf_counter()
    data_options = parse_options(data_option, "--data-option")
    dataset = load_dataset(data, random_state=seed, skip_broken=skip_broken, **data_options)
    hasher = ImageHasher(
        bits,
        loss=loss,
        loss_options=loss_options,
        backbone=backbone,
        image_size=image_size,
        resize_mode=resize_mode or chosen.resize_mode,  # type: ignore[arg-type]
        train_blocks=None if whole else fine_tune,
        head_first=preset != "paper",
        head_settings=None if tuned else settings,
        network_settings=settings if tuned else None,
        penalty=weighted,
        random_state=seed,
    )
    run = RunOptions(
        folder=output.with_name(f"{output.name}.run"), resume=resume, log=log,  # type: ignore[arg-type]
        hardware=Hardware(devices=devices, precision=precision), n_workers=workers,
    )  # fmt: skip
    hasher.fit(dataset, run=run)
    hasher.save(output)
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
    else:
        _print_result(result, len(dataset.folds["validation"]))


def _check_loss(loss: str, options: dict[str, Any], n_bits: int) -> None:
    """Build the loss once, for two classes, so that a wrong name or option is named before data are read."""
    from h2q.similarity.frozen import build_loss
    from h2q.similarity.labels import as_class_labels

    try:
        build_loss(loss, n_bits, as_class_labels([0, 0, 1, 1]), options)
    except (ValueError, TypeError) as error:
        raise typer.BadParameter(str(error), param_hint="--loss, --loss-option") from error


def _settings(settings: "TrainingSettings", epochs: int | None, changes: list[str] | None) -> "TrainingSettings":
    """Return the preset's settings with the changes of the command line."""
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in
              parse_options(changes, "--setting").items()}  # fmt: skip
    known = [field.name for field in dataclasses.fields(settings)]
    for name in values:
        if name not in known:
            raise typer.BadParameter(f"there is no {name}; expected one of {', '.join(known)}", param_hint="--setting")
    if epochs is not None:
        values["epochs"] = epochs
    try:
        return dataclasses.replace(settings, **values)
    except (ValueError, TypeError) as error:
        raise typer.BadParameter(str(error), param_hint="--setting") from error


def _penalty(
    preset: "Preset", name: str | None, weight: float | None, options: list[str] | None, tanh: bool | None
) -> "WeightedPenalty | None":
    """Return the penalty that the command line asks for, with the preset's options where it is the loss's own."""
    from h2q.similarity.penalties import WeightedPenalty

    if name is None:
        if weight is not None or options or tanh is not None:
            raise typer.BadParameter("needs --penalty, for instance --penalty own", param_hint="--penalty-...")
        return None
    if weight is None:
        raise typer.BadParameter("give the weight of the penalty", param_hint="--penalty-weight")
    own = preset.penalty if name == "own" else name
    if own is None:
        raise typer.BadParameter("this loss has no penalty of its own; name one", param_hint="--penalty")
    given = {**(preset.penalty_options if own == preset.penalty else {}), **parse_options(options, "--penalty-option")}
    try:
        return WeightedPenalty(own, weight, given, preset.penalty_tanh if tanh is None else tanh)
    except (ValueError, TypeError) as error:
        raise typer.BadParameter(str(error), param_hint="--penalty") from error


def _print_result(result: dict[str, Any], n_held_out: int) -> None:
    skipped = f" ({result['skipped']} broken images left out)" if result["skipped"] else ""
    typer.echo(
        f"{result['images']} images of {result['data']}, {result['loss']}, {result['bits']} bits, "
        f"{result['seconds']} s{skipped}"
    )
    score = result["validation_map"]
    typer.echo(
        "no validation fold: the hasher was not measured"
        if score is None
        else f"mean average precision of real-valued embeddings: {100 * score:.1f} % "
        f"({n_held_out} held-out images, each searching the others)"
    )
    typer.echo(f"hasher saved to {result['output']}")
