"""Training settings, and presets of them: ours for heads and for fine-tuning, and the paper's for each loss."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from numpy.typing import NDArray

from h2q.checks import check_integer, check_number

if TYPE_CHECKING:
    from h2q.similarity.batches import BatchOrder

__all__ = ["FINE_TUNE", "HEAD", "PAPER", "PRESETS", "Preset", "TrainingSettings", "preset_for", "settings_for"]

_CHOICES = {
    "optimizer": ("adamw", "adam", "sgd", "rmsprop"),
    "schedule": ("constant", "cosine", "step"),
    "augmentation": ("none", "mirror-crop"),
}
_EPOCHS = 25  # of a training without a number of epochs, unless `min_steps` needs more


@dataclass(frozen=True)
class TrainingSettings:
    """How a network is trained.

    Attributes
    ----------
    optimizer : {"adamw", "adam", "sgd", "rmsprop"}
        Optimizer, with torch's defaults but for what is set here.
    momentum : float
        Momentum of "sgd", at least 0 and below 1.
    learning_rate : float
        Rate of the backbone, or of the hidden layers of a head without one.
    hash_learning_rate : float
        Rate of the hash layer (of the whole head where there is a backbone).
    loss_learning_rate : float
        Rate of the loss's own parameters (proxies).
    weight_decay : float
        Weight decay of the network.
    loss_weight_decay : float
        Weight decay of the loss's own parameters.
    schedule : {"constant", "cosine", "step"}
        "cosine" lowers the rates to 0 at the last epoch; "step" multiplies them by `step_factor` every `step_epochs`
        epochs.
    step_epochs : int
        Epochs between two steps of the schedule "step".
    step_factor : float
        Factor of the schedule "step", above 0 and at most 1.
    batch_size : int
        Number of items in a batch, over all processes together.
    items_per_class : int or None
        Number of items of each class in a batch, drawn by pytorch-metric-learning (extra ``metric``; class ids only).
        None: batches are a permutation of all items.
    epochs : int or None
        Number of epochs (fewer where `patience` stops training). None: 25, or more where items are few, until there
        are `min_steps` steps.
    min_steps : int
        Smallest number of steps: where items are few, batches are made smaller (a tenth of the items, at least 32) and,
        unless `epochs` is a number, epochs more. 0: neither.
    patience : int or None
        Stop after this many epochs in which the validation score did not rise by `min_delta`; None: never.
    min_delta : float
        In the unit of the score (0 to 1). Smaller gains count as none, so a large value stops trainings that still
        improve; the epoch with the highest score is kept all the same.
    hidden : tuple of int
        Widths of the head's hidden layers.
    dropout, input_dropout : float
        Dropout of the head's hidden units, and of its input features.
    input_noise : float
        Standard deviation of the noise added to features, in units of their own standard deviation.
    standardize : bool
        Whether a new head standardizes features first.
    batch_norm : bool
        Whether a new head normalizes its embeddings over the batch while it is trained, see `HashHead`.
    hash_layer_std : float or None
        Standard deviation of the initial weights of a new hash layer, whose biases then start at 0; None: torch's
        default.
    augmentation : {"none", "mirror-crop"}
        What is done to images at random when a backbone is trained: "mirror-crop" mirrors half of them, and crops a
        window of 75 to 100 % of each side.

    Examples
    --------
    >>> from dataclasses import replace
    >>> replace(settings_for("DCH"), epochs=10, hidden=(256,)).hidden
    (256,)
    """

    optimizer: Literal["adamw", "adam", "sgd", "rmsprop"] = "adamw"
    momentum: float = 0.9
    learning_rate: float = 1e-3
    hash_learning_rate: float = 1e-3
    loss_learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    loss_weight_decay: float = 0.0
    schedule: Literal["constant", "cosine", "step"] = "cosine"
    step_epochs: int = 10
    step_factor: float = 0.5
    batch_size: int = 256
    items_per_class: int | None = None
    epochs: int | None = None
    min_steps: int = 400
    patience: int | None = None
    min_delta: float = 0.0
    hidden: tuple[int, ...] = (512,)
    dropout: float = 0.5
    input_dropout: float = 0.2
    input_noise: float = 0.5
    standardize: bool = True
    batch_norm: bool = False
    hash_layer_std: float | None = None
    augmentation: Literal["none", "mirror-crop"] = "mirror-crop"

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                expected = ", ".join(f'"{choice}"' for choice in choices)
                raise ValueError(f"{name} must be one of {expected}; got {getattr(self, name)!r}")
        for name, low in (("batch_size", 2), ("epochs", 1), ("min_steps", 0), ("patience", 1), ("step_epochs", 1)):
            if getattr(self, name) is not None or name not in ("epochs", "patience"):
                check_integer(getattr(self, name), name, low=low)
        for name in ("learning_rate", "hash_learning_rate", "loss_learning_rate", "step_factor"):
            check_number(getattr(self, name), name, above=0)
        check_number(self.step_factor, "step_factor", high=1)
        for name in ("dropout", "input_dropout", "momentum"):
            if check_number(getattr(self, name), name, low=0) >= 1:
                raise ValueError(f"{name} must be at least 0 and below 1; got {getattr(self, name)}")
        for name in ("weight_decay", "loss_weight_decay", "input_noise", "min_delta"):
            check_number(getattr(self, name), name, low=0)
        if self.hash_layer_std is not None:
            check_number(self.hash_layer_std, "hash_layer_std", above=0)

    def for_items(self, n_items: int) -> "TrainingSettings":
        """Return the settings for a number of items, with `min_steps` resolved into batch size and epochs.

        >>> TrainingSettings(batch_size=256, min_steps=400).for_items(500).epochs
        40
        >>> TrainingSettings(batch_size=256, epochs=2, min_steps=400).for_items(500).epochs
        2
        """
        batch_size = self.batch_size if self.min_steps == 0 else min(self.batch_size, max(n_items // 10, 32))
        steps = max(n_items // batch_size, 1)
        epochs = max(_EPOCHS, -(-self.min_steps // steps)) if self.epochs is None else self.epochs
        return replace(self, batch_size=batch_size, epochs=epochs, min_steps=0)

    def head_options(self) -> dict[str, Any]:
        """Return the options that a `HashHead` is built with."""
        names = ("hidden", "dropout", "input_dropout", "input_noise", "hash_layer_std", "batch_norm")
        return {name: getattr(self, name) for name in names}

    def batch_order(self, labels: NDArray[Any], random_state: int) -> "BatchOrder":
        """Return the order of the batches of items with these labels."""
        from h2q.similarity.batches import BatchOrder
        from h2q.similarity.metric_learning import BalancedOrder

        if self.items_per_class is None:
            return BatchOrder(len(labels), self.batch_size, random_state)
        return BalancedOrder(labels, self.batch_size, self.items_per_class, random_state)


@dataclass(frozen=True)
class Preset:
    """A whole configuration for a loss: how it is trained, and the baseline that has a penalty.

    Attributes
    ----------
    settings : TrainingSettings
        Optimizer, rates, epochs, head, augmentation.
    loss_options : mapping
        Options of the loss, see `h2q.similarity.losses.make_loss`.
    resize_mode : {"stretch", "crop"}
        How images come to the backbone's size, see `h2q.similarity.load_backbone`.
    penalty : str or None
        The loss's quantization penalty, a name in `h2q.similarity.penalties.PENALTIES`; None: it has none.
    penalty_options : mapping
        Options of the penalty.
    penalty_weights : tuple of float
        The weights that the penalty is tried with; empty where the preset names none.
    penalty_tanh : bool
        Whether networks trained with a penalty end in a tanh.

    Examples
    --------
    >>> preset = preset_for("DCH", "paper")
    >>> preset.settings.batch_size, preset.loss_options["gamma"], preset.penalty
    (256, 10.0, 'dch')
    """

    settings: TrainingSettings
    loss_options: Mapping[str, Any] = field(default_factory=dict)
    resize_mode: Literal["stretch", "crop"] = "stretch"
    penalty: str | None = None
    penalty_options: Mapping[str, Any] = field(default_factory=dict)
    penalty_weights: tuple[float, ...] = ()
    penalty_tanh: bool = False


# For heads on frozen features, chosen on CIFAR-10's validation fold (docs/training.md has the numbers).
HEAD = TrainingSettings()

# 20 turns of the network and the codes, of 3 epochs each.
_HEAD_BY_LOSS = {"ADSH": replace(HEAD, epochs=60)}

# For the last blocks of a backbone with a head on them.
FINE_TUNE = replace(HEAD, learning_rate=1e-4, batch_size=128, epochs=10, min_steps=0)

# What the authors share among all losses. Sources, here and below, are files of their repository
# (github.com/Lucas-Schwengber/h2q, commit 4fd603c): [sh] src/experiments/Baseline_penalty_HSWD_experiments.sh,
# [L2] src/experiments/L2_loss_CEL_HyP2_experiment.sh, [train] src/models/PenaltyStrategies/train.py,
# [module] src/models/QS/lightning_module.py, [losses] src/utils/losses.py, [data] src/utils/datasets.py,
# [net] src/utils/architectures/CNNF_alexnet.py and CNNF_vgg16.py.
_PAPER = TrainingSettings(
    optimizer="adam",  # hparams.json, -optim
    learning_rate=1e-5,  # [sh] -lr
    hash_learning_rate=1e-4,  # [module] configure_optimizers: 10 * learning_rate
    loss_learning_rate=1e-3,  # [module] configure_optimizers: proxies
    weight_decay=5e-4,  # [sh] -wd
    loss_weight_decay=5e-4,  # [module] configure_optimizers: the same for all groups
    schedule="constant",  # [module] StepLR only with "sgd"
    batch_size=128,  # [sh] -bs
    epochs=100,  # [sh] -ep
    min_steps=0,
    patience=20,  # [sh] -pt
    min_delta=0.05,  # [train] EarlyStopping
    hidden=(),  # [net] one linear layer
    dropout=0.0,
    input_dropout=0.0,
    input_noise=0.0,
    standardize=False,  # [net]
    hash_layer_std=0.01,  # [net] normal_(0, 0.01), bias 0
    augmentation="none",  # [data]
)


def _paper(
    loss_options: Mapping[str, Any],
    penalty: str | None,
    weights: tuple[float, ...],
    *,
    penalty_options: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Preset:
    # [data] Resize(256), CenterCrop(224); [sh] no -no_cube with a penalty: the network then ends in a tanh.
    return Preset(
        replace(_PAPER, **settings), MappingProxyType(dict(loss_options)), "crop", penalty,
        MappingProxyType(dict(penalty_options or {})), weights, penalty is not None,
    )  # fmt: skip


_OF_TRAINING_SET = {"similar_fraction": "training set"}  # [train] train_dataset.get_similar_probability()

PAPER: Mapping[str, Preset] = MappingProxyType(
    {
        "CosineEmbedding": _paper({}, "l2", (0.01,)),  # [L2] -L2_penalty
        "DCH": _paper(
            {"gamma": 10.0, **_OF_TRAINING_SET}, "dch", (1e-5, 1e-3, 0.1),  # [losses] DCH(gamma=10); [sh] -penalty
            penalty_options={"gamma": 10.0}, batch_size=256,
        ),
        "DHN": _paper({"scale": 1.0}, "dhn_implementation", (1e-5, 1e-3, 0.1), batch_size=64),  # [losses] DHN
        "DPSH": _paper({"scale": 1.0}, "l2", (1.0, 0.1, 0.01)),  # [losses] DPSH: no factor 1/2
        "HashNet": _paper(
            # [losses] HashNet; [module] hn_period = 200, hn_power = 0.5
            {"overlap_weights": False, "period": 200, **_OF_TRAINING_SET}, None, (), batch_size=256,
        ),
        "HyP2": _paper(
            # [losses] HyP2_pair: all pairs; [module] tanh(proxies); [sh] -penalty 0.5 to 1.25, [L2] 1.25 on CIFAR-10,
            # ImageNet and MS COCO, 0.75 on NUS-WIDE
            {"pairs": "all", "beta": 1.25, "squash_proxies": True}, "l2", (0.01,), batch_size=100,
        ),
        "WGLHH": _paper(
            {"form": "h2q_implementation", "similar_weight": "balanced", **_OF_TRAINING_SET},  # [losses] WGLHH
            "l2", (1e-3,), batch_size=64, weight_decay=1e-4, loss_weight_decay=1e-4,
        ),
    }
)  # fmt: skip
"""The authors' published configuration by loss."""

PAPER_HSWD_WEIGHT = 0.1  # [sh] -HSWD_penalty, with -no_cube: without the tanh

PRESETS = ("head", "paper", "fine-tune")


def preset_for(loss: Any, preset: Literal["head", "paper", "fine-tune"] = "head") -> Preset:
    """Return the named configuration for a loss.

    Parameters
    ----------
    loss : str or Module
        A loss's name (case does not matter, and "CEL" is CosineEmbedding), or the loss itself.
    preset : {"head", "paper", "fine-tune"}
        "head": ours for heads on frozen features. "paper": the authors' published configuration, for whole networks.
        "fine-tune": ours for the last blocks of a backbone.

    Returns
    -------
    Preset
        Settings, loss options, resize mode and penalty.

    Raises
    ------
    ValueError
        If there is no such preset, or the paper does not train this loss.

    Examples
    --------
    >>> preset_for("HyP2", "paper").loss_options["pairs"]
    'all'
    """
    from h2q.similarity.penalties import OWN_PENALTY

    if preset not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}; got {preset!r}")
    name = loss if isinstance(loss, str) else type(loss).__name__
    names = {each.lower(): each for each in OWN_PENALTY} | {"cel": "CosineEmbedding"}
    name = names.get(name.lower(), name)
    if preset == "paper":
        if name not in PAPER:
            raise ValueError(f"the paper trains no {name}: its losses are {', '.join(sorted(PAPER))}; pass settings")
        return PAPER[name]
    return Preset(_HEAD_BY_LOSS.get(name, HEAD) if preset == "head" else FINE_TUNE, penalty=OWN_PENALTY.get(name))


def settings_for(loss: Any, preset: Literal["head", "paper", "fine-tune"] = "head") -> TrainingSettings:
    """Return the training settings of `preset_for`; change single fields with `dataclasses.replace`.

    Examples
    --------
    >>> settings_for("HyP2", "paper").batch_size
    100
    """
    return preset_for(loss, preset).settings
