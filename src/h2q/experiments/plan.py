"""Plans: the grid of an experiment as a TOML file, checked whole before anything is run."""

import fnmatch
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from h2q.checks import check_integer, check_n_bits
from h2q.experiments.toml_table import PlanError, Table, unknown

if TYPE_CHECKING:
    from h2q.similarity.presets import TrainingSettings

__all__ = ["PLANS", "Plan", "PlanError", "load_plan", "parse_plan", "quantizer_names", "read_plan"]

K_BY_DATASET = {"imagenet-100": 1000}  # the field's k for mAP@k; 5,000 elsewhere
TRAINED_QUANTIZERS = ("penalty", "hswd")
_FIXED_QUANTIZERS = ("real", "sign", *TRAINED_QUANTIZERS, "random", "itq")


def quantizer_names() -> tuple[str, ...]:
    """Return the quantizers that a plan may name, one ``h2q-<objective>`` for each registered objective among them.

    >>> quantizer_names()[:7]
    ('real', 'sign', 'penalty', 'hswd', 'random', 'itq', 'h2q-l2')
    """
    from h2q.quantization.objectives import OBJECTIVES

    return (*_FIXED_QUANTIZERS, *(f"h2q-{name}" for name in OBJECTIVES))


@dataclass(frozen=True)
class Plan:
    """The grid of an experiment.

    Attributes
    ----------
    name : str
        What the report is called.
    datasets, backbones, losses : tuple of str
        Names in `h2q.datasets.DATASETS` (or paths), `h2q.similarity.BACKBONES` and `h2q.similarity.losses.LOSSES`.
    bits : tuple of int
        Code lengths.
    seeds : tuple of int
        Each seed draws its own folds, initial weights, order of batches and start of the rotation.
    quantizers : tuple of str
        Of `quantizer_names`.
    preset : {"head", "fine-tune", "paper"}
        How stage one is trained: heads on frozen features, or the backbone as well; see `h2q.similarity.presets`.
    image_size : int or None
        Side in pixels that images are resized to; None: the backbone's own.
    train_blocks : int or None
        How many of the backbone's last blocks are trained, unless it is frozen; None: all.
    training : mapping
        Fields of `TrainingSettings` that differ from the preset's.
    weights : mapping of str to tuple of float
        By penalty ("hswd" is one), the weights that it is tried with; the best on the validation fold counts.
    penalty_by_loss : mapping of str to str
        The penalty of a loss, a name in `h2q.similarity.penalties.PENALTIES`, where it is not the loss's published one.
    center : bool
        Whether quantizers take the mean away; the paper's do not.
    n_init : int
        Random starts of ITQ, each run to convergence.
    schedule : {"annealed", "constant"}
        Of `HouseholderQuantizer`.
    k : int or None
        mAP@k; None: 5,000, and 1,000 on ImageNet-100.
    divisor, empty : str
        See `h2q.evaluation.mean_average_precision`.
    """

    name: str
    datasets: tuple[str, ...]
    backbones: tuple[str, ...]
    losses: tuple[str, ...]
    bits: tuple[int, ...]
    seeds: tuple[int, ...]
    quantizers: tuple[str, ...]
    preset: str = "head"
    image_size: int | None = None
    train_blocks: int | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    penalty_by_loss: Mapping[str, str] = field(default_factory=dict)
    center: bool = False
    n_init: int = 10
    schedule: str = "annealed"
    k: int | None = None
    divisor: str = "retrieved"
    empty: str = "zero"

    def settings(self, loss: str) -> "TrainingSettings":
        """Return the settings that stage one is trained with for a loss."""
        from h2q.similarity.presets import settings_for

        changes = {name: tuple(value) if isinstance(value, list) else value for name, value in self.training.items()}
        return replace(settings_for(loss, self.preset), **changes)  # type: ignore[arg-type]

    def penalty_for(self, loss: str) -> str:
        """Return the name of a loss's penalty: the plan's, else the loss's own, else "l2"."""
        return _penalty_for(loss, self.penalty_by_loss)

    def k_for(self, dataset: str) -> int:
        """Return the k of mAP@k on a data set."""
        return self.k or K_BY_DATASET.get(dataset, 5000)


def _bundled() -> tuple[str, ...]:
    folder = resources.files("h2q.experiments") / "plans"
    return tuple(sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml")))


PLANS = _bundled()
"""The plans that h2q carries; `load_plan` takes their names."""


def load_plan(source: str | os.PathLike[str]) -> Plan:
    """Read and check a plan: a TOML file, or the name of one that h2q carries (`PLANS`).

    Raises
    ------
    FileNotFoundError
        If there is no such file or plan.
    PlanError
        If the plan is not what it should be; names the file and the key.

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
    """Return the text of a plan: of a TOML file, or of one that h2q carries.

    Raises
    ------
    FileNotFoundError
        If there is no such file or plan.
    PlanError
        If the file is not text.
    """
    name = os.fspath(source)
    path: Any = resources.files("h2q.experiments") / "plans" / f"{name}.toml" if name in PLANS else Path(name)
    if not path.is_file():
        raise FileNotFoundError(
            f"{name} is neither a plan file nor a plan that h2q carries ({', '.join(PLANS)}); "
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
        If it is no TOML, a key is missing, unknown or given a value of another type, or a name is not known.

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
    root = Table("", document, ("name", "grid", "training", "penalty", "hswd", "quantization", "scoring"))
    grid = root.table("grid", ("datasets", "backbones", "losses", "bits", "seeds", "quantizers"))
    training = root.table("training", ("preset", "image_size", "train_blocks", *_setting_names()))
    penalty = root.table("penalty", ("weights", "by_loss"))
    hswd = root.table("hswd", ("weights",))
    quantization = root.table("quantization", ("center", "n_init", "schedule"))
    scoring = root.table("scoring", ("k", "divisor", "empty"))

    by_loss = penalty.text_by_text("by_loss")
    quantizers = _expand(grid.texts("quantizers", ("real", "sign", "random", "itq", "h2q-*")))
    losses = grid.texts("losses")
    plan = Plan(
        name=root.text("name"),
        datasets=grid.texts("datasets"),
        backbones=grid.texts("backbones", ("efficientnet-lite0",)),
        losses=losses,
        bits=grid.integers("bits"),
        seeds=grid.integers("seeds", (0,)),
        quantizers=quantizers,
        preset=training.choice("preset", ("head", "fine-tune", "paper"), "head"),
        image_size=training.integer("image_size", None),
        train_blocks=training.integer("train_blocks", None),
        training={key: value for key, value in training.values.items() if key in _setting_names()},
        weights=_read_weights(quantizers, losses, by_loss, penalty, hswd),
        penalty_by_loss=by_loss,
        center=quantization.boolean("center", False),
        n_init=quantization.integer("n_init", 10) or 0,
        schedule=quantization.choice("schedule", ("annealed", "constant"), "annealed"),
        k=scoring.integer("k", None),
        divisor=scoring.choice("divisor", ("retrieved", "relevant"), "retrieved"),
        empty=scoring.choice("empty", ("zero", "skip"), "zero"),
    )
    _check_values(plan)
    return plan


def _penalty_for(loss: str, by_loss: Mapping[str, str]) -> str:
    from h2q.similarity.penalties import OWN_PENALTY

    return by_loss.get(loss) or OWN_PENALTY.get(loss) or "l2"


def _read_weights(
    quantizers: tuple[str, ...], losses: tuple[str, ...], by_loss: Mapping[str, str], penalty: Table, hswd: Table
) -> dict[str, tuple[float, ...]]:
    """Return the weights of each penalty that the plan uses: one list for all of them, or a table by penalty."""
    weights = {}
    if "penalty" in quantizers:
        used = tuple(dict.fromkeys(_penalty_for(loss, by_loss) for loss in losses))
        if isinstance(penalty.values.get("weights"), dict):
            table = penalty.table("weights", used)
            weights = {name: table.numbers(name) for name in used}
        else:
            weights = dict.fromkeys(used, penalty.numbers("weights"))
    if "hswd" in quantizers:
        weights["hswd"] = hswd.numbers("weights")
    return weights


def _setting_names() -> tuple[str, ...]:
    from h2q.similarity.presets import TrainingSettings

    return tuple(each.name for each in fields(TrainingSettings))


def _expand(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """Replace patterns such as ``h2q-*`` by the quantizers that they stand for, each once."""
    known, found = quantizer_names(), dict[str, None]()
    for pattern in patterns:
        matches = fnmatch.filter(known, pattern)
        if not matches:
            raise PlanError(f"[grid] quantizers: {unknown(pattern, known)}")
        found.update(dict.fromkeys(matches))
    return tuple(found)


def _check_values(plan: Plan) -> None:
    """Check what the types alone do not show: names, ranges, and settings that go together."""
    from h2q.similarity.backbones import BACKBONES
    from h2q.similarity.losses import LOSSES
    from h2q.similarity.penalties import PENALTIES

    for number in plan.bits:
        check_n_bits(number, "[grid] bits")
    for number in plan.seeds:
        check_integer(number, "[grid] seeds", low=0)
    check_integer(plan.n_init, "[quantization] n_init", low=1)
    if plan.k is not None:
        check_integer(plan.k, "[scoring] k", low=1)
    if plan.image_size is not None:
        check_integer(plan.image_size, "[training] image_size", low=32)
    if plan.train_blocks is not None:
        if plan.preset == "head":
            raise PlanError('[training] train_blocks needs preset "fine-tune" or "paper": preset "head" trains none')
        check_integer(plan.train_blocks, "[training] train_blocks", low=1)
    for where, names, known in (
        ("[grid] losses", plan.losses, LOSSES),
        ("[grid] backbones", plan.backbones, BACKBONES),
        ("[penalty] by_loss", plan.penalty_by_loss.values(), PENALTIES),
        ("[penalty] by_loss", plan.penalty_by_loss, plan.losses),
    ):
        for name in names:
            if name not in known:
                raise PlanError(f"{where}: {unknown(name, known)}")
    for name in plan.datasets:
        _check_dataset(name)
    if "ADSH" in plan.losses and (plan.preset != "head" or plan.weights):
        raise PlanError(
            '[grid] losses: ADSH trains heads only (preset "head") and takes no penalty; leave it out, or '
            '"penalty" and "hswd" out of the quantizers'
        )
    for name, weights in plan.weights.items():
        if any(not 0 < weight < float("inf") for weight in weights):
            table = "hswd" if name == "hswd" else "penalty"
            raise PlanError(
                f"[{table}] weights must be above 0 (weight 0 is the quantizer sign); got {list(weights)} for {name}"
            )
    for loss in plan.losses:
        try:
            plan.settings(loss)
        except (TypeError, ValueError) as error:
            raise PlanError(f"[training]: {error}") from error


def _check_dataset(name: str) -> None:
    from h2q.datasets import DATASETS

    if name not in DATASETS and not Path(name).exists():
        raise PlanError(f"[grid] datasets: {unknown(name, DATASETS)}, or a path that exists")
