"""Training settings: the paper's for each loss, and ours for heads on frozen features."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Literal

from h2q.checks import check_integer

__all__ = ["FINE_TUNE", "HEAD", "PAPER", "PRESETS", "TrainingSettings", "settings_for"]


@dataclass(frozen=True)
class TrainingSettings:
    """How a network is trained.

    Attributes
    ----------
    optimizer : {"adamw", "adam", "sgd"}
        "sgd" has momentum 0.9.
    learning_rate : float
        Of the backbone, or of the hidden layers of a head without one.
    hash_learning_rate : float
        Of the hash layer (of the whole head where there is a backbone).
    loss_learning_rate : float
        Of the loss's own parameters (proxies), which have no weight decay.
    weight_decay : float
        Of all other parameters.
    schedule : {"constant", "cosine"}
        "cosine" lets the rates fall to 0 at the last epoch.
    batch_size : int
        Items in a batch, over all processes together.
    epochs : int
        At most so many.
    min_steps : int
        Few items make few steps an epoch: batches are made smaller and epochs more until there are so many steps.
    patience : int or None
        Stop after so many epochs in which the validation score did not rise by `min_delta`; None: never.
    min_delta : float
        In the score's unit (0 to 1).
    hidden : tuple of int
        Widths of the head's hidden layers.
    dropout, input_dropout : float
        Of the head's hidden units, and of the features it is given.
    input_noise : float
        Standard deviation of the noise on the features, in units of their own standard deviation.
    """

    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    learning_rate: float = 1e-3
    hash_learning_rate: float = 1e-3
    loss_learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    schedule: Literal["constant", "cosine"] = "cosine"
    batch_size: int = 256
    epochs: int = 25
    min_steps: int = 400
    patience: int | None = None
    min_delta: float = 0.0
    hidden: tuple[int, ...] = (512,)
    dropout: float = 0.5
    input_dropout: float = 0.2
    input_noise: float = 0.5

    def __post_init__(self) -> None:
        if self.optimizer not in ("adamw", "adam", "sgd"):
            raise ValueError(f'optimizer must be "adamw", "adam" or "sgd"; got {self.optimizer!r}')
        if self.schedule not in ("constant", "cosine"):
            raise ValueError(f'schedule must be "constant" or "cosine"; got {self.schedule!r}')
        check_integer(self.batch_size, "batch_size", low=2)
        check_integer(self.epochs, "epochs", low=1)
        check_integer(self.min_steps, "min_steps", low=0)
        if self.patience is not None:
            check_integer(self.patience, "patience", low=1)
        for name in ("learning_rate", "hash_learning_rate", "loss_learning_rate"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be above 0; got {getattr(self, name)}")
        for name in ("dropout", "input_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 0 and below 1; got {getattr(self, name)}")
        for name in ("weight_decay", "input_noise"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must not be negative; got {getattr(self, name)}")

    def for_items(self, n_items: int) -> "TrainingSettings":
        """Return the settings for so many items: smaller batches and more epochs where `min_steps` asks for them.

        >>> TrainingSettings(batch_size=256, epochs=25, min_steps=400).for_items(500).epochs
        40
        """
        if self.min_steps == 0:
            return self
        batch_size = min(self.batch_size, max(n_items // 10, 32))
        steps = max(n_items // batch_size, 1)
        return replace(self, batch_size=batch_size, epochs=max(self.epochs, -(-self.min_steps // steps)), min_steps=0)

    def head_options(self) -> dict[str, Any]:
        """Return what a `HashHead` is built with."""
        return {name: getattr(self, name) for name in ("hidden", "dropout", "input_dropout", "input_noise")}


# The paper's training (arXiv 2311.04207, section 5, and the authors' code): Adam, the hash layer learns ten times as
# fast as the pretrained layers, proxies at 1e-3, no dropout before the hash layer, early stopping on validation mAP.
_PAPER = TrainingSettings(
    optimizer="adam",
    learning_rate=1e-5,
    hash_learning_rate=1e-4,
    loss_learning_rate=1e-3,
    weight_decay=5e-4,
    schedule="constant",
    epochs=100,
    min_steps=0,
    patience=20,
    min_delta=0.05,
    hidden=(),
    dropout=0.0,
    input_dropout=0.0,
    input_noise=0.0,
)
PAPER: Mapping[str, TrainingSettings] = MappingProxyType(
    {
        "CosineEmbedding": replace(_PAPER, batch_size=128),
        "DCH": replace(_PAPER, batch_size=256),
        "DHN": replace(_PAPER, batch_size=64),
        "DPSH": replace(_PAPER, batch_size=128),
        "HashNet": replace(_PAPER, batch_size=256),
        "HyP2": replace(_PAPER, batch_size=100),
        "WGLHH": replace(_PAPER, batch_size=64, weight_decay=1e-4),
    }
)

# For heads on frozen features, chosen on CIFAR-10's validation fold (docs/training.md has the numbers).
HEAD = TrainingSettings()

# For the last blocks of a backbone with a head on them.
FINE_TUNE = replace(HEAD, learning_rate=1e-4, batch_size=128, epochs=10, min_steps=0)

PRESETS = ("head", "paper", "fine-tune")


def settings_for(loss: Any, preset: Literal["head", "paper", "fine-tune"] = "head") -> TrainingSettings:
    """Return the named settings for a loss.

    Parameters
    ----------
    loss : str or Module
        A loss's name, or the loss itself.
    preset : {"head", "paper", "fine-tune"}
        "head": ours for heads on frozen features. "paper": what the paper trains whole networks with. "fine-tune": ours
        for the last blocks of a backbone.

    Returns
    -------
    TrainingSettings
        Change single fields with `dataclasses.replace`.

    Examples
    --------
    >>> settings_for("HyP2", "paper").batch_size
    100
    """
    if preset not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}; got {preset!r}")
    name = loss if isinstance(loss, str) else type(loss).__name__
    if preset == "paper":
        if name not in PAPER:
            raise ValueError(f"the paper trains no {name}: its losses are {', '.join(sorted(PAPER))}; pass settings")
        return PAPER[name]
    return HEAD if preset == "head" else FINE_TUNE
