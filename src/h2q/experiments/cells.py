"""Cells of the grid: what determines each number, and a key that changes with it."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

from h2q.experiments.plan import TRAINED_QUANTIZERS, Plan

__all__ = ["Cell", "NetworkSpec", "cells_of", "digest", "group_by_network"]


def digest(value: Any) -> str:
    """Return 16 hex digits that identify a JSON-able value.

    >>> digest({"a": 1, "b": (2,)}) == digest({"b": [2], "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class NetworkSpec:
    """A stage-one network: one training, or with a penalty one for each weight, of which the best is kept.

    Attributes
    ----------
    dataset, backbone, loss : str
        Where it stands in the grid.
    n_bits, seed : int
        Where it stands in the grid.
    options : mapping
        All else that its embeddings depend on: settings, and for "penalty" and "hswd" the penalty and its weights.
    """

    dataset: str
    backbone: str
    loss: str
    n_bits: int
    seed: int
    options: Mapping[str, Any]

    @property
    def key(self) -> str:
        """What identifies the network."""
        return digest(asdict(self))


@dataclass(frozen=True)
class Cell:
    """A number to be found: a quantizer on the embeddings of a network.

    Attributes
    ----------
    network : NetworkSpec
        What gives the embeddings.
    quantizer : str
        Of `quantizer_names`.
    options : mapping
        Of the quantizer and of the score.
    """

    network: NetworkSpec
    quantizer: str
    options: Mapping[str, Any]

    @property
    def key(self) -> str:
        """What identifies the cell in the file of results."""
        return digest(asdict(self))

    def describe(self) -> str:
        """Name the cell for people."""
        network = self.network
        where = f"{network.dataset} / {network.backbone} / {network.loss} / {network.n_bits} bits / seed {network.seed}"
        return f"{where} / {self.quantizer}"


def cells_of(plan: Plan) -> Iterator[Cell]:
    """Yield the cells of a plan: first those that share a network, then those that train networks of their own.

    Examples
    --------
    >>> from h2q.experiments.plan import load_plan
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
            plan.datasets, plan.backbones, plan.losses, plan.bits, plan.seeds
        ):
            for name in names:
                network = NetworkSpec(dataset, backbone, loss, n_bits, seed, _network_options(plan, loss, name))
                yield Cell(network, name, _cell_options(plan, dataset, name))


def _network_options(plan: Plan, loss: str, quantizer: str) -> dict[str, Any]:
    options: dict[str, Any] = {"preset": plan.preset, "settings": asdict(plan.settings(loss))}
    if plan.image_size is not None:
        options["image_size"] = plan.image_size
    if plan.preset != "head":
        options["train_blocks"] = plan.train_blocks
    if quantizer in TRAINED_QUANTIZERS:
        options["penalty"] = "hswd" if quantizer == "hswd" else plan.penalty_for(loss)
        options["weights"] = list(plan.weights[options["penalty"]])
    return options


def _cell_options(plan: Plan, dataset: str, quantizer: str) -> dict[str, Any]:
    options: dict[str, Any] = {"k": plan.k_for(dataset), "divisor": plan.divisor, "empty": plan.empty}
    if quantizer != "real":
        options["center"] = plan.center
    if quantizer == "itq":
        options["n_init"] = plan.n_init
    if quantizer.startswith("h2q-"):
        options["schedule"] = plan.schedule
    return options


def group_by_network(cells: list[Cell]) -> dict[str, list[Cell]]:
    """Group cells by the key of their network, in the order given."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.network.key, []).append(cell)
    return groups
