"""Fine-tuning: the backbone, or its last blocks, trained together with the head."""

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from torch import nn

from h2q.checks import as_labels, check_n_bits
from h2q.similarity.backbones import Backbone, load_backbone
from h2q.similarity.batches import BatchOrder, ImageTensors, image_batches
from h2q.similarity.features import extract_features
from h2q.similarity.frozen import build_loss, check_classes, embed_features
from h2q.similarity.heads import HashHead, HashNetwork, freeze_all_but_last
from h2q.similarity.presets import TrainingSettings, settings_for
from h2q.similarity.training import Hardware, Penalty, fit_network
from h2q.similarity.validation import Validation

__all__ = ["TrainedNetwork", "embed_images", "fine_tune", "mirror_and_crop"]

# Enough images for means and standard deviations of features.
_STATISTICS_FROM = 1000


@dataclass(frozen=True)
class TrainedNetwork:
    """A backbone and the head on it, and how they came about.

    Attributes
    ----------
    backbone : Backbone
        With the trained weights.
    head : HashHead
        Features to embeddings.
    history : tuple of dict
        For each epoch: "epoch", "loss" and, with validation, "validation_map".
    best_epoch : int
        The epoch whose weights these are.
    validation_map : float or None
        Its validation score, from 0 to 1.
    seconds : float
        Wall-clock time of the training.
    """

    backbone: Backbone
    head: HashHead
    history: tuple[Mapping[str, float], ...]
    best_epoch: int
    validation_map: float | None
    seconds: float

    def embed(self, images: Sequence[Any]) -> NDArray[np.float32]:
        """Map n PIL images to real-valued embeddings: float32 (n, k)."""
        return embed_images(self.backbone, self.head, images)


def embed_images(
    backbone: Backbone, head: HashHead, images: Sequence[Any], *, progress: bool = True
) -> NDArray[np.float32]:
    """Map n PIL images to embeddings, float32 (n, k)."""
    return embed_features(head, extract_features(images, backbone, progress=progress))


def mirror_and_crop(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    """Mirror half of the images, and cut a window of 75 to 100 % of the side out of each."""
    if generator.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    share = generator.uniform(0.75, 1.0)
    width, height = max(1, round(share * image.width)), max(1, round(share * image.height))
    left, top = generator.integers(image.width - width + 1), generator.integers(image.height - height + 1)
    return image.crop((int(left), int(top), int(left) + width, int(top) + height))


def fine_tune(
    images: Sequence[Any],
    labels: ArrayLike,
    *,
    loss: str | nn.Module,
    n_bits: int,
    backbone: str | nn.Module | Backbone = "efficientnet-lite0",
    train_blocks: int | None = None,
    head: HashHead | None = None,
    validation: Validation | tuple[Sequence[Any], ArrayLike] | None = None,
    penalty: Penalty | None = None,
    penalty_weight: float = 0.0,
    augment: bool = True,
    settings: TrainingSettings | None = None,
    random_state: int = 0,
    folder: str | PathLike[str] | None = None,
    resume: bool = False,
    log: Literal["csv", "tensorboard"] | None = None,
    hardware: Hardware = Hardware(),  # noqa: B008, frozen
    n_workers: int = 0,
    progress: bool = True,
) -> TrainedNetwork:
    """Train a backbone (all of it or its last blocks) and a head on images.

    Parameters
    ----------
    images : sequence of n PIL images
        Lazy is fine: each is read when its turn comes.
    labels : array-like of shape (n,) or (n, c)
        Class ids or multi-hot rows.
    loss : str or Module
        A name in `h2q.similarity.losses.LOSSES`, or any module ``loss(embeddings, labels)``.
    n_bits : int
        Width k of the embeddings.
    backbone : str, Module or Backbone
        What `load_backbone` takes or gives; it is copied, not changed.
    train_blocks : int, optional
        Train only so many of its last blocks; None: all.
    head : HashHead, optional
        A head to start from, for instance one that `train_head` trained on the frozen features, which is what usually
        ends best; by default a new one.
    validation : Validation or (images, labels), optional
        Held-out images; the weights of the epoch that scores best are kept.
    penalty : callable, optional
        A quantization penalty ``penalty(embeddings)``, for baselines.
    penalty_weight : float
        Its weight.
    augment : bool
        Whether images are mirrored and cropped at random.
    settings : TrainingSettings, optional
        Defaults to ``settings_for(loss, "fine-tune")``; ``settings_for(loss, "paper")`` is the paper's.
    random_state : int
        Same seed, same weights on the same machine.
    folder : path, optional
        Where checkpoints and logs go.
    resume : bool
        Go on with the run in `folder`, if there is one.
    log : {"csv", "tensorboard"}, optional
        Logs in ``folder / "logs"``.
    hardware : Hardware
        Accelerator, processes, precision.
    n_workers : int
        Processes that read images ahead; 0: none.
    progress : bool
        Whether to show bars on a terminal.

    Returns
    -------
    TrainedNetwork
        With ``.embed(images)``.

    Raises
    ------
    ValueError
        If there is only one class, there are fewer images than classes, or shapes do not fit.
    LossDivergedError
        If the loss becomes NaN or infinite.
    """
    check_n_bits(n_bits)
    class_labels = as_labels(labels, len(images))
    n_classes = check_classes(class_labels)
    settings = (settings or settings_for(loss, "fine-tune")).for_items(len(class_labels))
    if not isinstance(backbone, Backbone):
        backbone = load_backbone(backbone)
    module = copy.deepcopy(backbone.module)
    freeze_all_but_last(module, train_blocks)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(random_state)
        criterion = build_loss(loss, n_bits, n_classes)
        if head is None:
            head = HashHead(backbone.n_features, n_bits, **settings.head_options())
            sample = np.random.default_rng(random_state).permutation(len(images))[:_STATISTICS_FROM]
            head.standardize_like(extract_features(images, backbone, positions=sample, progress=progress))
    if head.n_bits != n_bits:
        raise ValueError(f"head gives embeddings of {head.n_bits} dimensions, but n_bits is {n_bits}")
    network = HashNetwork(module, copy.deepcopy(head))
    dataset = ImageTensors(
        images, torch.from_numpy(class_labels), backbone.preprocess,
        augment=mirror_and_crop if augment else None, random_state=random_state,
    )  # fmt: skip
    order = BatchOrder(len(images), settings.batch_size, random_state)
    run = fit_network(
        network,
        image_batches(dataset, order, n_workers),
        criterion,
        settings,
        validate=None if validation is None else ImageValidation(_as_validation(validation), backbone),
        penalty=penalty,
        penalty_weight=penalty_weight,
        random_state=random_state,
        folder=None if folder is None else Path(folder),
        resume=resume,
        identity={
            "loss": type(criterion).__name__, "n_bits": n_bits, "penalty_weight": penalty_weight,
            "backbone": [backbone.name, backbone.version, backbone.image_size, train_blocks],
            "data": [len(images), class_labels.tobytes().hex()[:64]], "augment": augment,
        },
        log=log,
        hardware=hardware,
        progress=progress,
    )  # fmt: skip
    trained = dataclasses.replace(
        load_backbone(network.backbone, image_size=backbone.image_size, mean=backbone.mean, std=backbone.std),
        name=backbone.name,
    )
    return TrainedNetwork(trained, network.head, run.history, run.best_epoch, run.validation_map, run.seconds)  # type: ignore[arg-type]


def _as_validation(validation: Validation | tuple[Sequence[Any], ArrayLike]) -> Validation:
    if isinstance(validation, Validation):
        return validation
    images, labels = validation
    return Validation(images, as_labels(labels, len(images), "validation labels"))


@dataclass(frozen=True)
class ImageValidation:
    """The score of a network on held-out images; a class, and no closure, so that other processes can be sent it."""

    validation: Validation
    backbone: Backbone

    def __call__(self, network: nn.Module) -> float:
        copied: Any = copy.deepcopy(network).cpu()
        backbone = dataclasses.replace(self.backbone, module=copied.backbone)
        return self.validation.evaluate(lambda images: embed_images(backbone, copied.head, images, progress=False))
