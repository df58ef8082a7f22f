"""Fine-tuning: a backbone, or its last blocks, trained together with the head."""

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from torch import nn

from h2q.checks import as_labels, check_n_bits
from h2q.similarity.backbones import Backbone, load_backbone
from h2q.similarity.batches import ImageTensors, image_batches
from h2q.similarity.features import extract_features
from h2q.similarity.frozen import TrainedHead, build_loss, describe_run, embed_features, loss_targets
from h2q.similarity.heads import HashHead, HashNetwork, freeze_all_but_last
from h2q.similarity.labels import ClassLabels, as_class_labels
from h2q.similarity.penalties import WeightedPenalty
from h2q.similarity.presets import TrainingSettings, settings_for
from h2q.similarity.runs import RunOptions, TrainingHistory
from h2q.similarity.training import Objective, fit_network
from h2q.similarity.validation import Validation

__all__ = ["TrainedNetwork", "embed_images", "fine_tune", "mirror_and_crop"]

# Enough images for means and standard deviations of features.
_STATISTICS_FROM = 1000


@dataclass(frozen=True)
class TrainedNetwork:
    """A backbone and the head on it, with the loss that they were trained with.

    Attributes
    ----------
    backbone : Backbone
        Images to features, with the trained weights.
    head : HashHead
        Features to embeddings.
    loss : Module
        The loss, with the state of the epoch that was kept.
    history : TrainingHistory
        Epochs, validation score, time.
    """

    backbone: Backbone
    head: HashHead
    loss: nn.Module
    history: TrainingHistory

    def embed(self, images: Sequence[Any]) -> NDArray[np.float32]:
        """Map n PIL images to real-valued embeddings: float32 (n, k)."""
        return embed_images(self.backbone, self.head, images)


def embed_images(
    backbone: Backbone, head: HashHead, images: Sequence[Any], *, progress: bool = True
) -> NDArray[np.float32]:
    """Map n PIL images to embeddings, float32 (n, k)."""
    return embed_features(head, extract_features(images, backbone, progress=progress))


def mirror_and_crop(image: Image.Image, generator: np.random.Generator) -> Image.Image:
    """Mirror half of the images, and crop a window of 75 to 100 % of each side."""
    if generator.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    share = generator.uniform(0.75, 1.0)
    width, height = max(1, round(share * image.width)), max(1, round(share * image.height))
    left, top = generator.integers(image.width - width + 1), generator.integers(image.height - height + 1)
    return image.crop((int(left), int(top), int(left) + width, int(top) + height))


def fine_tune(
    images: Sequence[Any],
    labels: ArrayLike | ClassLabels,
    *,
    loss: str | nn.Module,
    n_bits: int,
    loss_options: Mapping[str, Any] | None = None,
    backbone: str | nn.Module | Backbone = "efficientnet-lite0",
    train_blocks: int | None = None,
    start: TrainedHead | None = None,
    validation: Validation | tuple[Sequence[Any], ArrayLike] | None = None,
    penalty: WeightedPenalty | None = None,
    settings: TrainingSettings | None = None,
    random_state: int = 0,
    run: RunOptions = RunOptions(),  # noqa: B008, frozen
) -> TrainedNetwork:
    """Train a backbone (all of it or its last blocks) and a head on images.

    Parameters
    ----------
    images : sequence of n PIL images
        May be lazy: each is read when it is needed.
    labels : array-like of shape (n,) or (n, c)
        Class ids or multi-hot rows.
    loss : str or Module
        A name in `h2q.similarity.losses.LOSSES`, or any module ``loss(embeddings, labels)``, which is copied.
    n_bits : int
        Width k of the embeddings.
    loss_options : mapping, optional
        Options of a loss that is given by name.
    backbone : str, Module or Backbone
        What `load_backbone` takes or returns; it is copied, not changed.
    train_blocks : int, optional
        Number of the backbone's last blocks to train; None: all.
    start : TrainedHead, optional
        A head that `train_head` trained with this loss on the frozen features, which usually ends best. Training goes
        on from its weights and from the state of its loss (proxies, schedule); with validation, that head on the
        untrained backbone is a candidate as well, so that the result never validates worse. Default: a new head.
    validation : Validation or (images, labels), optional
        Held-out images; the weights of the epoch that scores best are kept.
    penalty : WeightedPenalty, optional
        A quantization penalty, for baselines.
    settings : TrainingSettings, optional
        Defaults to ``settings_for(loss, "fine-tune")``; ``settings_for(loss, "paper")`` is the paper's.
    random_state : int
        Same seed, same weights on the same machine.
    run : RunOptions
        Folder, resume, log, hardware, workers, progress.

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

    Examples
    --------
    >>> from h2q.datasets import load_dataset
    >>> data = load_dataset("digits")
    >>> rows = data.folds["train"][:40]
    >>> layers = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 16))
    >>> trained = fine_tune(
    ...     [data.images[row] for row in rows], data.labels[rows], loss="DPSH", n_bits=8,
    ...     backbone=load_backbone(layers, image_size=8),
    ...     settings=dataclasses.replace(settings_for("DPSH", "fine-tune"), epochs=1, min_steps=0, batch_size=20),
    ... )
    >>> trained.embed(data.images[:3]).shape
    (3, 8)
    """
    check_n_bits(n_bits)
    classes = as_class_labels(labels, len(images))
    settings = (settings or settings_for(loss, "fine-tune")).for_items(len(classes))
    if not isinstance(backbone, Backbone):
        backbone = load_backbone(backbone)
    going_on = start is not None
    if start is None:
        start = _new_head(images, classes, loss, loss_options, backbone, n_bits, settings, random_state)
    elif start.head.n_bits != n_bits:
        raise ValueError(f"start gives embeddings of {start.head.n_bits} dimensions, but n_bits is {n_bits}")
    head = copy.deepcopy(start.head)
    network = HashNetwork(copy.deepcopy(backbone.module), head)
    network.backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    objective = Objective(copy.deepcopy(start.loss), penalty, first_epoch=start.history.best_epoch + 1)
    freeze_all_but_last(network.backbone, train_blocks)
    held_out = None if validation is None else _as_validation(validation)
    history = fit_network(
        network,
        image_batches(
            ImageTensors(
                images, loss_targets(objective.loss, classes), backbone.preprocess,
                augment=mirror_and_crop if settings.augmentation == "mirror-crop" else None, random_state=random_state,
            ),
            settings.batch_order(classes.values, random_state),
            run.n_workers,
        ),
        objective,
        settings,
        validate=None if held_out is None else ImageValidation(held_out, backbone),
        keep_initial=going_on,
        random_state=random_state,
        identity=describe_run(
            run, n_bits=n_bits, loss=objective.loss, penalty=penalty, settings=settings, images=images,
            labels=classes.values, validation=held_out, network=network, train_blocks=train_blocks,
            preprocessing=dataclasses.replace(backbone, module=nn.Identity()), start=objective.first_epoch,
        ),
        run=run,
    )  # fmt: skip
    head.fold_batch_norm()
    network.backbone.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    trained = load_backbone(
        network.backbone, image_size=backbone.image_size, mean=backbone.mean, std=backbone.std,
        resize_mode=backbone.resize_mode,
    )  # fmt: skip
    return TrainedNetwork(dataclasses.replace(trained, name=backbone.name), head, objective.loss, history)


def _new_head(
    images: Sequence[Any],
    classes: ClassLabels,
    loss: str | nn.Module,
    loss_options: Mapping[str, Any] | None,
    backbone: Backbone,
    n_bits: int,
    settings: TrainingSettings,
    random_state: int,
) -> TrainedHead:
    """Return an untrained head and a new loss; the head standardizes features as a sample of the images has them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(random_state)
        criterion = build_loss(loss, n_bits, classes, loss_options)
        head = HashHead(backbone.n_features, n_bits, **settings.head_options())
    if settings.standardize:
        sample = np.random.default_rng(random_state).permutation(len(images))[:_STATISTICS_FROM]
        head.standardize_like(extract_features(images, backbone, positions=sample, progress=False))
    return TrainedHead(head, criterion, TrainingHistory((), -1, None, 0.0))


def _as_validation(validation: Validation | tuple[Sequence[Any], ArrayLike]) -> Validation:
    if isinstance(validation, Validation):
        return validation
    images, labels = validation
    return Validation(images, as_labels(labels, len(images), "validation labels"))


@dataclass(frozen=True)
class ImageValidation:
    """The score of a network on held-out images; a class, not a closure, so that it can be sent to other processes."""

    validation: Validation
    backbone: Backbone

    def __call__(self, network: nn.Module) -> float:
        copied: Any = copy.deepcopy(network).cpu()
        backbone = dataclasses.replace(self.backbone, module=copied.backbone)
        return self.validation.evaluate(lambda images: embed_images(backbone, copied.head, images, progress=False))
