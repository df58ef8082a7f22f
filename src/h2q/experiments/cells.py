"""Cells of the grid: everything that determines a number, and a key that changes with it."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING, Any, Literal, Self

from h2q.experiments.plan import TRAINED_QUANTIZERS, Plan

if TYPE_CHECKING:
    from h2q.similarity.presets import TrainingSettings

__all__ = ["Cell", "NetworkSpec", "Setting", "cells_of", "digest", "group_by_network"]


def digest(value: Any) -> str:
    """Return 16 hex digits that identify a JSON-able value.

    >>> digest({"a": 1, "b": (2,)}) == digest({"b": [2], "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, order=True)
class Setting:
    """What quantizers are compared within: everything but the quantizer and the seed.

    Examples
    --------
    >>> Setting("cifar10", "efficientnet-lite0", "DCH", 16).n_bits
    16
    """

    dataset: str
    backbone: str
    loss: str
    n_bits: int


@dataclass(frozen=True)
class NetworkSpec:
    """A stage-one network: one training, or with a penalty one for each weight, of which the best is kept.

    Attributes
    ----------
    dataset, backbone, loss, n_bits, seed
        Position in the grid.
    preset : str
        Mode of training: see `h2q.experiments.Plan`.
    settings : TrainingSettings
        Training settings.
    image_size, train_blocks : int or None
        As in `h2q.experiments.Plan`.
    loss_options : mapping
        Options of the loss.
    resize_mode : {"stretch", "crop"}
        How images come to the backbone's size.
    penalty : str or None
        Quantization penalty, a name in `h2q.similarity.penalties.PENALTIES`.
    weights : tuple of float
        Weights of the penalty to try.
    penalty_options : mapping
        Options of the penalty.
    penalty_tanh : bool
        Whether networks with one of `weights` end in a tanh, see `h2q.similarity.penalties.WeightedPenalty`.
    tanh_weights : tuple of float
        Weights of the penalty to try with a tanh, beside `weights` without one.

    Examples
    --------
    >>> from h2q.experiments.plan_file import load_plan
    >>> spec = next(cells_of(load_plan("cifar10"))).network
    >>> spec.dataset, spec.backbone, spec.preset, spec.n_bits
    ('cifar10', 'efficientnet-lite0', 'head', 16)
    """

    dataset: str
    backbone: str
    loss: str
    n_bits: int
    seed: int
    preset: str
    settings: "TrainingSettings"
    image_size: int | None = None
    train_blocks: int | None = None
    loss_options: Mapping[str, Any] = field(default_factory=dict)
    resize_mode: Literal["stretch", "crop"] = "stretch"
    penalty: str | None = None
    weights: tuple[float, ...] = ()
    penalty_options: Mapping[str, Any] = field(default_factory=dict)
    penalty_tanh: bool = False
    tanh_weights: tuple[float, ...] = ()

    @property
    def setting(self) -> Setting:
        """Position in the grid without the seed."""
        return Setting(self.dataset, self.backbone, self.loss, self.n_bits)

    @property
    def key(self) -> str:
        """Identifier of the network."""
        document = asdict(self)
        if not self.tanh_weights:
            del document["tanh_weights"]  # so that folders from before this field keep their networks
        return digest(document)

    @property
    def penalties(self) -> tuple[tuple[float, bool], ...]:
        """The forms of the penalty to try: each weight, and whether the network ends in a tanh."""
        plain = tuple((weight, self.penalty_tanh) for weight in self.weights)
        return plain + tuple((weight, True) for weight in self.tanh_weights)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Return the spec that ``dataclasses.asdict`` turned into a JSON document."""
        from h2q.similarity.presets import TrainingSettings

        settings = TrainingSettings(**document["settings"] | {"hidden": tuple(document["settings"]["hidden"])})
        weights = {name: tuple(document.get(name, ())) for name in ("weights", "tanh_weights")}
        return cls(**{**document, "settings": settings, **weights})


@dataclass(frozen=True)
class Cell:
    """A quantizer on the embeddings of a network: one line of results.

    Attributes
    ----------
    network : NetworkSpec
        Source of the embeddings.
    quantizer : str
        One of `h2q.experiments.plan_quantizers`.
    k : int
        Cut of mAP@k.
    divisor, empty : str
        See `h2q.evaluation.mean_average_precision`.
    options : mapping
        Parameters of the quantizer.

    Examples
    --------
    >>> from h2q.experiments.plan_file import load_plan
    >>> cell = next(cells_of(load_plan("cifar10")))
    >>> cell.quantizer, cell.k, cell.network.loss
    ('real', 5000, 'CosineEmbedding')
    """

    network: NetworkSpec
    quantizer: str
    k: int
    divisor: str
    empty: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Identifier of the cell in the file of results."""
        return digest(asdict(self))

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Return the cell that ``dataclasses.asdict`` turned into a JSON document."""
        return cls(**{**document, "network": NetworkSpec.from_json(document["network"])})

    def describe(self) -> str:
        """Name the cell for people."""
        network = self.network
        where = f"{network.dataset} / {network.backbone} / {network.loss} / {network.n_bits} bits / seed {network.seed}"
        return f"{where} / {self.quantizer}"


def cells_of(plan: Plan) -> Iterator[Cell]:
    """Yield the cells of a plan: first those that share a network, then those that train networks of their own.

    Examples
    --------
    >>> from h2q.experiments.plan_file import load_plan
    >>> cells = list(cells_of(load_plan("cifar10")))
    >>> len(cells) == 5 * 4 * 2 * len(load_plan("cifar10").quantizers)
    True
    >>> cells[0].describe()
    'cifar10 / efficientnet-lite0 / CosineEmbedding / 16 bits / seed 0 / real'
    """
    shared = [name for name in plan.quantizers if name not in TRAINED_QUANTIZERS]
    own = [[name] for name in plan.quantizers if name in TRAINED_QUANTIZERS]
    for names in (shared, *own):
        for dataset, backbone, loss, n_bits, seed in product(
            plan.datasets, plan.backbones, plan.losses, plan.bits, plan.all_seeds
        ):
            if seed not in plan.seeds_for(loss):
                continue
            for name in names:
                if name == "penalty" and not plan.has_penalty(loss):
                    continue
                network = _network(plan, Setting(dataset, backbone, loss, n_bits), seed, name)
                yield Cell(network, name, plan.k_for(dataset), plan.divisor, plan.empty, plan.options_of(name))


def _network(plan: Plan, setting: Setting, seed: int, quantizer: str) -> NetworkSpec:
    preset = plan.preset_for(setting.loss)
    spec = NetworkSpec(
        setting.dataset, setting.backbone, setting.loss, setting.n_bits, seed, plan.preset,
        plan.settings(setting.loss), plan.image_size, None if plan.preset == "head" else plan.train_blocks,
        dict(preset.loss_options), preset.resize_mode,
    )  # fmt: skip
    if quantizer == "hswd":
        return replace(spec, penalty="hswd", weights=plan.weights_for(setting.loss, "hswd"))
    if quantizer == "penalty":
        penalty = plan.penalty_for(setting.loss)
        return replace(
            spec, penalty=penalty, weights=plan.weights_for(setting.loss, penalty),
            penalty_options=dict(preset.penalty_options), penalty_tanh=preset.penalty_tanh,
            tanh_weights=plan.tanh_weights_for(setting.loss),
        )  # fmt: skip
    return spec


def group_by_network(cells: list[Cell]) -> dict[str, list[Cell]]:
    """Group cells by the key of their network, in the order given."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.network.key, []).append(cell)
    return groups
