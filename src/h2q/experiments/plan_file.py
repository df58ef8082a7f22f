"""Plan files: TOML, checked whole before anything is run."""

import fnmatch
import os
import tomllib
import warnings
from collections.abc import Callable
from dataclasses import fields, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from h2q.checks import check_integer, check_n_bits
from h2q.experiments.plan import DEFAULT_OPTIONS, Plan, plan_quantizers, resolve_quantizer
from h2q.experiments.toml_table import PlanError, Table, unknown

__all__ = ["PLANS", "load_plan", "parse_plan", "read_plan"]

_SET_BY_THE_GRID = ("center", "objective", "random_state")  # not options of a single quantizer


def _bundled() -> tuple[str, ...]:
    folder = resources.files("h2q.experiments") / "plans"
    return tuple(sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml")))


PLANS = _bundled()
"""The plans that come with h2q; `load_plan` takes their names."""


def load_plan(source: str | os.PathLike[str]) -> Plan:
    """Read and check a plan: a TOML file, or the name of a plan that comes with h2q (`PLANS`).

    Raises
    ------
    FileNotFoundError
        If there is no such file or plan.
    PlanError
        If the plan is wrong; names the file and the key.

    Examples
    --------
    >>> load_plan("cifar10").bits
    (16, 32, 48, 64)
    """
    text = read_plan(source)
    try:
        return parse_plan(text)
    except (ValueError, TypeError) as error:
        raise PlanError(f"{os.fspath(source)}: {error}") from error


def read_plan(source: str | os.PathLike[str]) -> str:
    """Return the text of a plan: of a TOML file, or of a plan that comes with h2q.

    Raises
    ------
    FileNotFoundError
        If there is no such file or plan.
    PlanError
        If the file is not text.

    Examples
    --------
    >>> read_plan("cifar10").splitlines()[0].startswith("#")
    True
    """
    name = os.fspath(source)
    path: Any = resources.files("h2q.experiments") / "plans" / f"{name}.toml" if name in PLANS else Path(name)
    if not path.is_file():
        raise FileNotFoundError(
            f"{name} is neither a plan file nor a plan that comes with h2q ({', '.join(PLANS)}); "
            "h2q experiment show prints one to start from"
        )
    try:
        return str(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise PlanError(f"{name} is not a text file: {error}") from error


def parse_plan(text: str) -> Plan:
    """Check the text of a plan and return it.

    Raises
    ------
    PlanError
        If it is not TOML, a key is missing, unknown or has a value of another type, or a name is not known.

    Examples
    --------
    >>> plan = '''
    ... name = "small"
    ... [grid]
    ... datasets = ["digits"]
    ... losses = ["DPSH"]
    ... bits = [16]
    ... quantizers = ["sign", "h2q-*"]
    ... '''
    >>> parse_plan(plan).quantizers[:2]
    ('sign', 'h2q-l2')
    >>> parse_plan(plan.replace("losses", "loses"))
    Traceback (most recent call last):
    ...
    h2q.experiments.toml_table.PlanError: [grid] has an unknown key: 'loses' is not known; did you mean 'losses'?
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PlanError(f"this is not TOML: {error}") from error
    return _read_document(document)


def _read_document(document: dict[str, Any]) -> Plan:
    from h2q.quantization import quantizer_names

    root = Table(
        "", document, ("name", "grid", "training", "loss_options", "penalty", "hswd", "quantization", "scoring")
    )
    grid = root.table("grid", ("datasets", "backbones", "losses", "bits", "seeds", "seeds_by_loss", "quantizers"))
    training = root.table("training", ("preset", "image_size", "resize_mode", "train_blocks", *_setting_names()))
    penalty = root.table(
        "penalty", ("weights", "weights_by_loss", "tanh_weights_by_loss", "by_loss", "options", "tanh")
    )
    hswd = root.table("hswd", ("weights",))
    quantization = root.table("quantization", ("center", *quantizer_names(rotations_only=False)))
    scoring = root.table("scoring", ("k", "divisor", "empty"))

    by_loss = {_loss(name, "[penalty] by_loss"): value for name, value in penalty.text_by_text("by_loss").items()}
    quantizers = _expand(grid.texts("quantizers", ("real", "sign", "random", "itq", "h2q-*")))
    losses = tuple(dict.fromkeys(_loss(name, "[grid] losses") for name in grid.texts("losses")))
    plan = Plan(
        name=root.text("name"),
        datasets=grid.texts("datasets"),
        backbones=grid.texts("backbones", ("efficientnet-lite0",)),
        losses=losses,
        bits=grid.integers("bits"),
        seeds=grid.integers("seeds", (0,)),
        seeds_by_loss=_by_loss(grid, "seeds_by_loss", losses, Table.integers),
        quantizers=quantizers,
        preset=training.choice("preset", ("head", "fine-tune", "paper"), "head"),
        image_size=training.integer("image_size", None),
        train_blocks=training.integer("train_blocks", None),
        training={key: value for key, value in training.values.items() if key in _setting_names()},
        penalty_by_loss=by_loss,
        weights_by_loss=_by_loss(penalty, "weights_by_loss", losses, Table.numbers),
        tanh_weights_by_loss=_by_loss(penalty, "tanh_weights_by_loss", losses, Table.numbers),
        penalty_options=_read_options(penalty.values.get("options", {}), "penalty.options"),
        penalty_tanh=_read_tanh(penalty),
        loss_options={
            _loss(name, "[loss_options]"): options
            for name, options in _read_options(root.values.get("loss_options", {}), "loss_options").items()
        },
        resize_mode=_read_resize_mode(training),
        center=quantization.boolean("center", False),
        quantizer_options=_read_quantizer_options(quantization),
        k=scoring.integer("k", None),
        divisor=scoring.choice("divisor", ("retrieved", "relevant"), "retrieved"),
        empty=scoring.choice("empty", ("zero", "skip"), "zero"),
    )
    _check_settings(plan)
    plan = replace(plan, weights=_read_weights(plan, penalty, hswd))
    _check_values(plan)
    return plan


def _loss(name: str, where: str) -> str:
    """Return the name of a loss, with labels or without, as the registry has it."""
    from h2q.similarity.losses import LOSSES, UNSUPERVISED_LOSSES, loss_name

    without_labels = {key.lower(): key for key in UNSUPERVISED_LOSSES}
    if name.lower() in without_labels:
        return without_labels[name.lower()]
    try:
        return loss_name(name)
    except ValueError:
        raise PlanError(f"{where}: {unknown(name, (*LOSSES, *UNSUPERVISED_LOSSES))}") from None


def _by_loss(
    table: Table, key: str, losses: tuple[str, ...], read: Callable[[Table, str], tuple[Any, ...]]
) -> dict[str, tuple[Any, ...]]:
    """Return a table of lists by loss, whose losses are in the grid."""
    values = table.values.get(key, {})
    lists = Table(f"{table.where.strip(' []')}.{key}", values, values if isinstance(values, dict) else ())
    by_loss = {_loss(name, lists.where.strip()): read(lists, name) for name in lists.values}
    for name in by_loss:
        if name not in losses:
            raise PlanError(f"{lists.where.strip()}: {unknown(name, losses)}")
    return by_loss


def _read_tanh(penalty: Table) -> bool | Literal["both"] | None:
    value = penalty.values.get("tanh")
    if value is None or isinstance(value, bool) or value == "both":
        return value
    raise PlanError(f'[penalty] tanh must be true, false or "both"; got {value!r}')


def _read_options(table: Any, name: str) -> dict[str, dict[str, Any]]:
    """Return the options in a table of tables; whether they exist is checked with what they are for."""
    keys = table if isinstance(table, dict) else ()
    return {key: dict(Table(f"{name}.{key}", values, values).values) for key, values in
            Table(name, table, keys).values.items()}  # fmt: skip


def _read_resize_mode(training: Table) -> Literal["stretch", "crop"] | None:
    if "resize_mode" not in training.values:
        return None
    return "crop" if training.choice("resize_mode", ("stretch", "crop"), "stretch") == "crop" else "stretch"


def _read_quantizer_options(quantization: Table) -> dict[str, dict[str, Any]]:
    """Return the options of each quantizer that has a table of its own, over the defaults."""
    from h2q.quantization import quantizer_info, quantizer_names

    options = {name: dict(values) for name, values in DEFAULT_OPTIONS.items()}
    for name in quantizer_names(rotations_only=False):
        if name in quantization.values:
            known = [option for option in quantizer_info(name).options if option not in _SET_BY_THE_GRID]
            options[name] = {
                **options.get(name, {}),
                **Table(f"quantization.{name}", quantization.values[name], known).values,
            }
    return options


def _read_weights(plan: Plan, penalty: Table, hswd: Table) -> dict[str, tuple[float, ...]]:
    """Return the weights of each penalty that the plan uses: one list for all of them, or a table by penalty.

    They may be missing where the preset, or a list by loss, has weights for every loss.
    """
    weights = {}
    losses = [loss for loss in plan.losses if plan.has_penalty(loss)]
    complete = all(plan.weights_for(loss, plan.penalty_for(loss)) for loss in losses)
    if "penalty" in plan.quantizers and not (complete and "weights" not in penalty.values):
        used = tuple(dict.fromkeys(map(plan.penalty_for, losses)))
        if isinstance(penalty.values.get("weights"), dict):
            table = penalty.table("weights", used)
            weights = {name: table.numbers(name) for name in used}
        else:
            weights = dict.fromkeys(used, penalty.numbers("weights"))
    if "hswd" in plan.quantizers and not (plan.preset == "paper" and "weights" not in hswd.values):
        weights["hswd"] = hswd.numbers("weights")
    return weights


def _setting_names() -> tuple[str, ...]:
    from h2q.similarity.presets import TrainingSettings

    return tuple(each.name for each in fields(TrainingSettings))


def _expand(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """Replace patterns such as ``h2q-*`` by the quantizers that they match, each once."""
    known, names = plan_quantizers(), dict[str, None]()
    for pattern in patterns:
        matches = fnmatch.filter(known, pattern)
        if not matches:
            raise PlanError(f"[grid] quantizers: {unknown(pattern, known)}")
        names.update(dict.fromkeys(matches))
    return tuple(names)


def _check_values(plan: Plan) -> None:
    """Check what the types do not show: names, ranges, and settings that belong together."""
    from h2q.similarity.backbones import BACKBONES
    from h2q.similarity.penalties import PENALTIES

    _check_numbers(plan)
    _check_quantizers(plan)
    for where, names, known in (
        ("[grid] backbones", plan.backbones, BACKBONES),
        ("[penalty] by_loss", plan.penalty_by_loss.values(), (*PENALTIES, "none")),
        ("[penalty] by_loss", plan.penalty_by_loss, plan.losses),
    ):
        for name in names:
            if name not in known:
                raise PlanError(f"{where}: {unknown(name, known)}")
    for name in plan.datasets:
        _check_dataset(name)
    _check_losses(plan)
    for lists in (plan.weights, plan.weights_by_loss, plan.tanh_weights_by_loss):
        for name, weights in lists.items():
            if any(not 0 < weight < float("inf") for weight in weights):
                table = "hswd" if name == "hswd" else "penalty"
                raise PlanError(
                    f"[{table}] weights must be above 0 (weight 0 is the quantizer sign); got {list(weights)} for "
                    f"{name}"
                )


def _check_losses(plan: Plan) -> None:
    """Check that losses that take no penalty get none, and that those without labels train heads."""
    from h2q.similarity.losses import UNSUPERVISED_LOSSES

    for loss in ("ADSH", *UNSUPERVISED_LOSSES):
        if loss not in plan.losses:
            continue
        reason = "its loss has one" if loss == "ADSH" else "it is chosen by labels"
        if "hswd" in plan.quantizers or ("penalty" in plan.quantizers and plan.has_penalty(loss)):
            raise PlanError(
                f'[grid] losses: {loss} takes no penalty, {reason}; leave it out, or "hswd" out of the quantizers, '
                f'and set {loss} = "none" in [penalty.by_loss]'
            )
        if loss in UNSUPERVISED_LOSSES and plan.preset != "head":
            raise PlanError(f'[training] preset: {loss} trains heads only; leave it out, or set preset = "head"')


def _check_settings(plan: Plan) -> None:
    for loss in plan.losses:
        try:
            plan.settings(loss)
        except (TypeError, ValueError) as error:
            raise PlanError(f"[training]: {error}") from error
    _check_options(plan)


def _check_options(plan: Plan) -> None:
    """Check options of losses and penalties: each is built once."""
    from h2q.similarity.frozen import build_loss
    from h2q.similarity.labels import as_class_labels
    from h2q.similarity.losses import UNSUPERVISED_LOSSES
    from h2q.similarity.penalties import PENALTIES, WeightedPenalty

    for loss in plan.loss_options:
        if loss not in plan.losses:
            raise PlanError(f"[loss_options]: {unknown(loss, plan.losses)}")
        try:
            options = plan.preset_for(loss).loss_options
            if loss in UNSUPERVISED_LOSSES:
                UNSUPERVISED_LOSSES[loss](**options)
            else:
                build_loss(loss, min(plan.bits), as_class_labels([0, 0, 1, 1]), options)
        except (TypeError, ValueError) as error:
            raise PlanError(f"[loss_options.{loss}]: {error}") from error
    for penalty, options in plan.penalty_options.items():
        if penalty not in PENALTIES:
            raise PlanError(f"[penalty.options]: {unknown(penalty, PENALTIES)}")
        try:
            WeightedPenalty(penalty, 1.0, options)
        except TypeError as error:
            raise PlanError(f"[penalty.options.{penalty}]: {error}") from error


def _check_numbers(plan: Plan) -> None:
    for number in plan.bits:
        check_n_bits(number, "[grid] bits")
    for number in plan.all_seeds:
        check_integer(number, "[grid] seeds", low=0)
    if plan.k is not None:
        check_integer(plan.k, "[scoring] k", low=1)
    if plan.image_size is not None:
        check_integer(plan.image_size, "[training] image_size", low=32)
    if plan.train_blocks is not None:
        if plan.preset == "head":
            raise PlanError('[training] train_blocks needs preset "fine-tune" or "paper": preset "head" trains none')
        check_integer(plan.train_blocks, "[training] train_blocks", low=1)


def _check_quantizers(plan: Plan) -> None:
    """Fit each quantizer on three rows, which checks all its options before anything expensive runs."""
    import numpy as np

    from h2q.quantization import make_quantizer, quantizer_names

    rows = np.random.default_rng(0).standard_normal((3, max(8, *plan.bits)))
    for quantizer in plan.quantizers:
        if quantizer == "real":
            continue
        name, _ = resolve_quantizer(quantizer)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                # Two dimensions are enough for a rotation, and fast.
                few = rows[:, :2] if name in quantizer_names() else rows
                make_quantizer(name, random_state=0, **plan.options_of(quantizer)).fit(few)
        except (TypeError, ValueError) as error:
            raise PlanError(f"[quantization.{name}]: {error}") from error


def _check_dataset(name: str) -> None:
    from h2q.datasets import DATASETS

    if name not in DATASETS and not Path(name).exists():
        raise PlanError(f"[grid] datasets: {unknown(name, DATASETS)}, or a path that exists")
