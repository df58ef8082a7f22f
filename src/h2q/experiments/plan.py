"""Plans: the grid of an experiment as a TOML file, checked whole before anything is run."""

import fnmatch
import os
import tomllib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from h2q.checks import check_integer, check_n_bits
from h2q.experiments.toml_table import PlanError, Table, unknown

if TYPE_CHECKING:
    from h2q.similarity.presets import Preset, TrainingSettings

__all__ = ["PLANS", "Plan", "PlanError", "load_plan", "parse_plan", "plan_quantizers", "read_plan", "resolve_quantizer"]

K_BY_DATASET = {"imagenet-100": 1000}  # the field's k of mAP@k; 5,000 elsewhere
TRAINED_QUANTIZERS = ("penalty", "hswd")  # signs of networks trained with a penalty
_SET_BY_THE_GRID = ("center", "objective", "random_state")  # not options of a single quantizer
DEFAULT_OPTIONS: Mapping[str, Mapping[str, Any]] = {"itq": {"n_init": 10}}


def plan_quantizers() -> tuple[str, ...]:
    """Return the quantizers that a plan may name.

    These are the real-valued embeddings, every registered quantizer (one that has objectives as ``NAME-OBJECTIVE`` for
    each registered objective), and the signs of networks trained with a penalty.

    Examples
    --------
    >>> plan_quantizers()[:7]
    ('real', 'sign', 'penalty', 'hswd', 'random', 'itq', 'h2q-l2')
    """
    from h2q.quantization import OBJECTIVES, quantizer_info, quantizer_names

    names = ["real"]
    for name in quantizer_names():
        has_objective = "objective" in quantizer_info(name).options
        names += [f"{name}-{objective}" for objective in OBJECTIVES] if has_objective else [name]
        names += TRAINED_QUANTIZERS if name == "sign" else ()
    return tuple(names)


def resolve_quantizer(name: str) -> tuple[str, dict[str, Any]]:
    """Return the registered name of a plan's quantizer, and the options that its name implies.

    Codes of networks trained with a penalty are plain signs: the penalty did the quantizer's work.

    Examples
    --------
    >>> resolve_quantizer("h2q-l1"), resolve_quantizer("hswd")
    (('h2q', {'objective': 'l1'}), ('sign', {}))
    """
    from h2q.quantization import quantizer_names

    if name in TRAINED_QUANTIZERS:
        return "sign", {}
    if name in quantizer_names():
        return name, {}
    registered, _, objective = name.partition("-")
    return registered, {"objective": objective}


@dataclass(frozen=True)
class Plan:
    """The grid of an experiment.

    Attributes
    ----------
    name : str
        Title of the report.
    datasets, backbones, losses : tuple of str
        Names in `h2q.datasets.DATASETS` (or paths), `h2q.similarity.BACKBONES` and `h2q.similarity.losses.LOSSES`.
    bits : tuple of int
        Code lengths.
    seeds : tuple of int
        Each seed draws its own folds, initial weights, order of batches and start of the rotation.
    quantizers : tuple of str
        Names in `plan_quantizers`.
    preset : {"head", "fine-tune", "paper"}
        Mode of stage one: heads on frozen features, or the backbone as well; see `h2q.similarity.presets`.
    image_size : int or None
        Side in pixels that images are resized to; None: the backbone's own.
    train_blocks : int or None
        Number of the backbone's last blocks to train, unless it is frozen; None: all.
    training : mapping
        Fields of `TrainingSettings` that differ from the preset's.
    weights : mapping of str to tuple of float
        Weights to try for each penalty ("hswd" is one); the best on the validation fold is kept.
    penalty_by_loss : mapping of str to str
        Penalty of a loss, a name in `h2q.similarity.penalties.PENALTIES`, where it is not the loss's published one.
    center : bool
        Whether quantizers subtract the mean; the paper's do not.
    quantizer_options : mapping of str to mapping
        Further parameters of each registered quantizer.
    k : int or None
        Cut of mAP@k; None: 5,000, and 1,000 on ImageNet-100.
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
    quantizer_options: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: dict(DEFAULT_OPTIONS))
    k: int | None = None
    divisor: str = "retrieved"
    empty: str = "zero"

    def settings(self, loss: str) -> "TrainingSettings":
        """Return the settings of stage one for a loss."""
        changes: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in self.training.items()
        }
        return replace(self.preset_for(loss).settings, **changes)

    def preset_for(self, loss: str) -> "Preset":
        """Return the preset's configuration for a loss."""
        from h2q.similarity.presets import preset_for

        return preset_for(loss, self.preset)  # type: ignore[arg-type]

    def penalty_for(self, loss: str) -> str:
        """Return the name of a loss's penalty: the plan's, else the preset's, else "l2"."""
        return self.penalty_by_loss.get(loss) or self.preset_for(loss).penalty or "l2"

    def k_for(self, dataset: str) -> int:
        """Return the k of mAP@k on a data set."""
        return self.k or K_BY_DATASET.get(dataset, 5000)

    def options_of(self, quantizer: str) -> dict[str, Any]:
        """Return the parameters of one of the plan's quantizers; none for the real-valued embeddings."""
        if quantizer == "real":
            return {}
        name, implied = resolve_quantizer(quantizer)
        return {"center": self.center, **self.quantizer_options.get(name, {}), **implied}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Return the plan that ``dataclasses.asdict`` turned into a JSON document."""
        lists = ("datasets", "backbones", "losses", "bits", "seeds", "quantizers")
        weights = {name: tuple(values) for name, values in document["weights"].items()}
        return cls(**{**document, **{name: tuple(document[name]) for name in lists}, "weights": weights})


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
    from h2q.quantization import quantizer_names

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PlanError(f"this is not TOML: {error}") from error
    root = Table("", document, ("name", "grid", "training", "penalty", "hswd", "quantization", "scoring"))
    grid = root.table("grid", ("datasets", "backbones", "losses", "bits", "seeds", "quantizers"))
    training = root.table("training", ("preset", "image_size", "train_blocks", *_setting_names()))
    penalty = root.table("penalty", ("weights", "by_loss"))
    hswd = root.table("hswd", ("weights",))
    quantization = root.table("quantization", ("center", *quantizer_names()))
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
        quantizers=quantizers,
        preset=training.choice("preset", ("head", "fine-tune", "paper"), "head"),
        image_size=training.integer("image_size", None),
        train_blocks=training.integer("train_blocks", None),
        training={key: value for key, value in training.values.items() if key in _setting_names()},
        penalty_by_loss=by_loss,
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
    """Return the name of a loss as the registry has it."""
    from h2q.similarity.losses import LOSSES, loss_name

    try:
        return loss_name(name)
    except ValueError:
        raise PlanError(f"{where}: {unknown(name, LOSSES)}") from None


def _read_quantizer_options(quantization: Table) -> dict[str, dict[str, Any]]:
    """Return the options of each quantizer that has a table of its own, over the defaults."""
    from h2q.quantization import quantizer_info, quantizer_names

    options = {name: dict(values) for name, values in DEFAULT_OPTIONS.items()}
    for name in quantizer_names():
        if name in quantization.values:
            known = [option for option in quantizer_info(name).options if option not in _SET_BY_THE_GRID]
            options[name] = {
                **options.get(name, {}),
                **Table(f"quantization.{name}", quantization.values[name], known).values,
            }
    return options


def _read_weights(plan: Plan, penalty: Table, hswd: Table) -> dict[str, tuple[float, ...]]:
    """Return the weights of each penalty that the plan uses: one list for all of them, or a table by penalty."""
    weights = {}
    if "penalty" in plan.quantizers:
        used = tuple(dict.fromkeys(map(plan.penalty_for, plan.losses)))
        if isinstance(penalty.values.get("weights"), dict):
            table = penalty.table("weights", used)
            weights = {name: table.numbers(name) for name in used}
        else:
            weights = dict.fromkeys(used, penalty.numbers("weights"))
    if "hswd" in plan.quantizers:
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


def _check_settings(plan: Plan) -> None:
    for loss in plan.losses:
        try:
            plan.settings(loss)
        except (TypeError, ValueError) as error:
            raise PlanError(f"[training]: {error}") from error


def _check_numbers(plan: Plan) -> None:
    for number in plan.bits:
        check_n_bits(number, "[grid] bits")
    for number in plan.seeds:
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
    from h2q.quantization import make_quantizer

    rows = [[1.0, 2.0], [2.0, -1.0], [-1.0, -2.0]]
    for quantizer in plan.quantizers:
        if quantizer == "real":
            continue
        name, _ = resolve_quantizer(quantizer)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                make_quantizer(name, random_state=0, **plan.options_of(quantizer)).fit(rows)
        except (TypeError, ValueError) as error:
            raise PlanError(f"[quantization.{name}]: {error}") from error


def _check_dataset(name: str) -> None:
    from h2q.datasets import DATASETS

    if name not in DATASETS and not Path(name).exists():
        raise PlanError(f"[grid] datasets: {unknown(name, DATASETS)}, or a path that exists")
