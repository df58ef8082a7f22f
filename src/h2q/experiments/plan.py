"""Plans: the grid of an experiment, and the quantizers that it may name."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    from h2q.similarity.presets import Preset, TrainingSettings

__all__ = ["DEFAULT_OPTIONS", "TRAINED_QUANTIZERS", "Plan", "plan_quantizers", "resolve_quantizer"]

K_BY_DATASET = {"imagenet-100": 1000}  # the field's k of mAP@k; 5,000 elsewhere
TRAINED_QUANTIZERS = ("penalty", "hswd")  # signs of networks trained with a penalty
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
    for name in quantizer_names(rotations_only=False):
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
    if name in quantizer_names(rotations_only=False):
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
    seeds_by_loss : mapping of str to tuple of int
        Seeds of a loss, where they are not `seeds`.
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
        Weights to try for each penalty ("hswd" is one), where they are not the preset's; the best on the validation
        fold is kept.
    penalty_by_loss : mapping of str to str
        Penalty of a loss, a name in `h2q.similarity.penalties.PENALTIES`, where it is not the loss's published one;
        "none": the loss has no cells of the quantizer "penalty".
    weights_by_loss, tanh_weights_by_loss : mapping of str to tuple of float
        Weights to try for the penalty of a loss, where they are not those of `weights`; the second with a tanh, where
        both forms are tried.
    penalty_options : mapping of str to mapping
        By penalty, options that differ from the preset's.
    penalty_tanh : bool, "both" or None
        Whether networks with a penalty end in a tanh; "both": each is tried, and the better on the validation fold is
        kept; None: as in the preset.
    loss_options : mapping of str to mapping
        By loss, options that differ from the preset's.
    resize_mode : {"stretch", "crop"} or None
        How images come to their size, see `h2q.similarity.Backbone`; None: as in the preset.
    center : bool
        Whether quantizers subtract the mean; the paper's do not.
    quantizer_options : mapping of str to mapping
        Further parameters of each registered quantizer.
    k : int or None
        Cut of mAP@k; None: 5,000, and 1,000 on ImageNet-100.
    divisor, empty : str
        See `h2q.evaluation.mean_average_precision`.

    Examples
    --------
    >>> from h2q.experiments import load_plan
    >>> plan = load_plan("paper")
    >>> plan.preset, plan.datasets, plan.seeds
    ('paper', ('cifar10', 'nus-wide', 'coco', 'imagenet-100'), (0, 1, 2, 3))
    """

    name: str
    datasets: tuple[str, ...]
    backbones: tuple[str, ...]
    losses: tuple[str, ...]
    bits: tuple[int, ...]
    seeds: tuple[int, ...]
    quantizers: tuple[str, ...]
    seeds_by_loss: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    preset: str = "head"
    image_size: int | None = None
    train_blocks: int | None = None
    training: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    weights_by_loss: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    tanh_weights_by_loss: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    penalty_by_loss: Mapping[str, str] = field(default_factory=dict)
    penalty_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    penalty_tanh: bool | Literal["both"] | None = None
    loss_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    resize_mode: Literal["stretch", "crop"] | None = None
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
        """Return the configuration for a loss: the preset's, with what the plan changes but for the settings."""
        from h2q.similarity.presets import preset_for

        preset = preset_for(loss, self.preset)  # type: ignore[arg-type]
        penalty = self.penalty_by_loss.get(loss) or preset.penalty or "l2"
        own = penalty == preset.penalty
        tanh = preset.penalty_tanh and own if self.penalty_tanh is None else self.penalty_tanh is True
        return replace(
            preset,
            loss_options={**preset.loss_options, **self.loss_options.get(loss, {})},
            resize_mode=self.resize_mode or preset.resize_mode,
            penalty=penalty,
            penalty_options={**(preset.penalty_options if own else {}), **self.penalty_options.get(penalty, {})},
            penalty_tanh=tanh,
        )

    def weights_for(self, loss: str, penalty: str) -> tuple[float, ...]:
        """Return the weights to try for a penalty: the plan's, else those of the preset for the loss."""
        from h2q.similarity.presets import PAPER_HSWD_WEIGHT

        if penalty != "hswd" and loss in self.weights_by_loss:
            return self.weights_by_loss[loss]
        if penalty in self.weights:
            return self.weights[penalty]
        if penalty == "hswd":
            return (PAPER_HSWD_WEIGHT,) if self.preset == "paper" else ()
        preset = self.preset_for(loss)
        return preset.penalty_weights if penalty == preset.penalty else ()

    def tanh_weights_for(self, loss: str) -> tuple[float, ...]:
        """Return the weights to try with a tanh beside those without, if both forms are tried."""
        if self.penalty_tanh != "both":
            return ()
        return self.tanh_weights_by_loss.get(loss) or self.weights_for(loss, self.penalty_for(loss))

    def has_penalty(self, loss: str) -> bool:
        """Whether the quantizer "penalty" has cells of a loss."""
        return self.penalty_by_loss.get(loss) != "none"

    def seeds_for(self, loss: str) -> tuple[int, ...]:
        """Return the seeds of a loss."""
        return self.seeds_by_loss.get(loss, self.seeds)

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """Every seed of the plan."""
        return tuple(sorted({seed for loss in self.losses for seed in self.seeds_for(loss)}))

    def penalty_for(self, loss: str) -> str:
        """Return the name of a loss's penalty: the plan's, else the preset's, else "l2"."""
        return self.preset_for(loss).penalty or "l2"

    def k_for(self, dataset: str) -> int:
        """Return the k of mAP@k on a data set."""
        return self.k or K_BY_DATASET.get(dataset, 5000)

    def options_of(self, quantizer: str) -> dict[str, Any]:
        """Return the parameters of one of the plan's quantizers; none for the real-valued embeddings."""
        if quantizer == "real":
            return {}
        from h2q.quantization import quantizer_info

        name, implied = resolve_quantizer(quantizer)
        center = {"center": self.center} if "center" in quantizer_info(name).options else {}
        return {**center, **self.quantizer_options.get(name, {}), **implied}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Return the plan that ``dataclasses.asdict`` turned into a JSON document."""
        lists = ("datasets", "backbones", "losses", "bits", "seeds", "quantizers")
        tables = ("weights", "weights_by_loss", "tanh_weights_by_loss", "seeds_by_loss")
        return cls(
            **{
                **document,
                **{name: tuple(document[name]) for name in lists},
                **{name: {key: tuple(each) for key, each in document.get(name, {}).items()} for name in tables},
            }
        )
