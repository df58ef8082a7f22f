"""Frozen mode: features are computed once, and heads on them are trained in seconds."""

import copy
import inspect
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from h2q.checks import as_embeddings, as_labels, check_n_bits
from h2q.similarity.asymmetric import AsymmetricTurns
from h2q.similarity.batches import TensorBatches
from h2q.similarity.fingerprints import fingerprint
from h2q.similarity.heads import HashHead
from h2q.similarity.labels import ClassLabels, as_class_labels
from h2q.similarity.penalties import WeightedPenalty
from h2q.similarity.presets import TrainingSettings, settings_for
from h2q.similarity.runs import Hardware, RunOptions, TrainingHistory
from h2q.similarity.training import Objective, fit_network
from h2q.similarity.validation import Validation

__all__ = ["TrainedHead", "build_loss", "embed_features", "train_head"]

# A head's matrices are too small for threads: they gain nothing on an idle machine and lose a factor on a busy one.
ONE_CORE = Hardware(accelerator="cpu", threads=1)

_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class TrainedHead:
    """A head on frozen features, with the loss that it was trained with.

    Attributes
    ----------
    head : HashHead
        Features to embeddings, in evaluation mode.
    loss : Module
        The loss, with the state (proxies, schedule) of the epoch that was kept; `fine_tune` continues with it.
    history : TrainingHistory
        Epochs, validation score, time.

    Examples
    --------
    >>> import numpy as np
    >>> features = np.random.default_rng(0).normal(size=(40, 12))
    >>> trained = train_head(features, np.arange(40) % 2, loss="CosineEmbedding", n_bits=8)
    >>> trained.embed(features).shape, type(trained.loss).__name__
    ((40, 8), 'CosineEmbedding')
    """

    head: HashHead
    loss: nn.Module
    history: TrainingHistory

    def embed(self, features: ArrayLike) -> NDArray[np.float32]:
        """Map features (n, d) to real-valued embeddings, float32 (n, k), the input of stage two."""
        return embed_features(self.head, as_embeddings(features, "features", n_features=self.head.n_features))


def train_head(
    features: ArrayLike,
    labels: ArrayLike | ClassLabels,
    *,
    loss: str | nn.Module,
    n_bits: int,
    loss_options: Mapping[str, Any] | None = None,
    validation: Validation | tuple[ArrayLike, ArrayLike] | None = None,
    penalty: WeightedPenalty | None = None,
    settings: TrainingSettings | None = None,
    random_state: int = 0,
    run: RunOptions = RunOptions(),  # noqa: B008, frozen
) -> TrainedHead:
    """Train a small network from frozen features to embeddings in which items with a label in common are close.

    Parameters
    ----------
    features : array-like of shape (n, d) or (v, n, d)
        Features of the training images; with three dimensions, of v versions of them (for instance as they are and
        mirrored), of which each step takes one at random.
    labels : array-like of shape (n,) or (n, c)
        Class ids or multi-hot rows.
    loss : str or Module
        A name in `h2q.similarity.losses.LOSSES`, or any module ``loss(embeddings, labels)``, for instance one of
        pytorch-metric-learning. A module is copied, not changed.
    n_bits : int
        Width k of the embeddings.
    loss_options : mapping, optional
        Options of a loss that is given by name.
    validation : Validation or (features, labels), optional
        Held-out items; the weights of the epoch that scores best are kept.
    penalty : WeightedPenalty, optional
        A quantization penalty, for baselines: the method needs none.
    settings : TrainingSettings, optional
        Defaults to the preset ``settings_for(loss, "head")``.
    random_state : int
        Same seed, same weights (on the same machine and number of threads).
    run : RunOptions
        Folder, resume, log, hardware, progress. One core is fast enough for a head.

    Returns
    -------
    TrainedHead
        With ``.embed(features)``.

    Raises
    ------
    ValueError
        If there is only one class, there are fewer items than classes, or shapes do not fit.
    LossDivergedError
        If the loss becomes NaN or infinite.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> labels = np.arange(60) % 3
    >>> features = np.eye(3)[labels].repeat(4, axis=1) + 0.1 * rng.normal(size=(60, 12))
    >>> trained = train_head(features, labels, loss="DPSH", n_bits=8, validation=(features[:30], labels[:30]))
    >>> trained.embed(features).shape
    (60, 8)
    >>> trained.history.validation_map > 0.9
    True
    """
    check_n_bits(n_bits)
    views = as_views(features)
    classes = as_class_labels(labels, views.shape[1])
    settings = (settings or settings_for(loss, "head")).for_items(len(classes))
    held_out = as_validation(validation, views.shape[2], classes.values.ndim)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(random_state)
        head = HashHead(views.shape[2], n_bits, **settings.head_options())
        criterion = build_loss(loss, n_bits, classes, loss_options)
    if settings.standardize:
        head.standardize_like(views[0])
    history = fit_network(
        head,
        TensorBatches(
            torch.from_numpy(views),
            loss_targets(criterion, classes),
            settings.batch_order(classes.values, random_state),
        ),
        Objective(criterion, penalty),
        settings,
        validate=None if held_out is None else HeadValidation(held_out),
        random_state=random_state,
        identity=describe_run(
            run, n_bits=n_bits, loss=criterion, penalty=penalty, settings=settings, features=views,
            labels=classes.values, validation=held_out,
        ),
        run=on_one_core(run),
    )  # fmt: skip
    head.fold_batch_norm()
    return TrainedHead(head, criterion, history)


def describe_run(run: RunOptions, *, settings: TrainingSettings, n_bits: int, **parts: Any) -> dict[str, Any]:
    """Return the identity of a run, JSON-able: its settings, and a fingerprint of each part; empty without a folder.

    A part is anything that changes the result: loss, penalty, data, labels, validation, network.
    """
    if run.folder is None:
        return {}
    return {
        "settings": asdict(settings),
        "n_bits": n_bits,
        **{name: fingerprint(part) for name, part in parts.items()},
    }


def on_one_core(run: RunOptions) -> RunOptions:
    """Return the options with one CPU core, unless they name the hardware."""
    return run if run.hardware is not None else replace(run, hardware=ONE_CORE)


@dataclass(frozen=True)
class HeadValidation:
    """The score of a head; a class, not a closure, so that it can be sent to other processes."""

    validation: Validation

    def __call__(self, head: nn.Module) -> float:
        return self.validation.evaluate(lambda features: embed_features(head, features))


def embed_features(head: nn.Module, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Map features to embeddings, in evaluation mode and without gradients, on the device of the head."""
    head.eval()
    device = next(head.parameters()).device
    rows = torch.from_numpy(features) if features.flags.writeable else torch.from_numpy(features.copy())
    with torch.inference_mode():
        parts: list[Tensor] = [head(part.to(device)).float().cpu() for part in torch.split(rows, _ROWS_AT_ONCE)]
    return torch.cat(parts).numpy()


def build_loss(
    loss: str | nn.Module, n_bits: int, classes: ClassLabels, options: Mapping[str, Any] | None = None
) -> nn.Module:
    """Return a new loss: the one of that name, or a copy of a module.

    Parameters
    ----------
    loss : str or Module
        A name in `h2q.similarity.losses.LOSSES`, or a module.
    n_bits : int
        Width of the embeddings.
    classes : ClassLabels
        Labels of the training set.
    options : mapping, optional
        Options of a loss given by name. ``similar_fraction="training set"`` stands for the share of similar pairs in
        the training set.
    """
    if isinstance(loss, nn.Module):
        if options:
            raise ValueError(
                f"loss_options are for a loss given by name; set {', '.join(options)} on the {type(loss).__name__}"
            )
        return copy.deepcopy(loss)
    from h2q.similarity.losses import loss_name, make_loss

    options = dict(options or {})
    if loss_name(loss) == "ADSH":
        return _asymmetric_turns(n_bits, classes, options)
    if options.get("similar_fraction") == "training set":
        options["similar_fraction"] = classes.similar_fraction()
    made: nn.Module = make_loss(loss, n_bits=n_bits, n_classes=classes.n_classes, **options)
    return made


def _asymmetric_turns(n_bits: int, classes: ClassLabels, options: Mapping[str, Any]) -> AsymmetricTurns:
    known = [name for name in inspect.signature(AsymmetricTurns).parameters if name not in ("labels", "n_bits")]
    unknown = ", ".join(name for name in options if name not in known)
    if unknown:
        raise TypeError(f"ADSH has no option {unknown}; it has {', '.join(known)}")
    return AsymmetricTurns(torch.from_numpy(classes.values), n_bits, **options)


def loss_targets(loss: nn.Module, classes: ClassLabels) -> Tensor:
    """Return the second argument of a loss for each training item: its labels, or for ADSH its position."""
    return torch.arange(len(classes)) if isinstance(loss, AsymmetricTurns) else torch.from_numpy(classes.values)


def as_views(features: ArrayLike) -> NDArray[np.float32]:
    """Return features (n, d) or (v, n, d) as checked float32 (v, n, d)."""
    array = np.asarray(features)
    if array.ndim != 3:
        return as_embeddings(features, "features", allow_zero_rows=True)[None]
    return as_embeddings(array.reshape(-1, array.shape[2]), "features", allow_zero_rows=True).reshape(array.shape)


def as_validation(
    validation: Validation | tuple[ArrayLike, ArrayLike] | None, n_features: int, labels_ndim: int
) -> Validation | None:
    """Check held-out features, and their labels against those of the training set."""
    if validation is None:
        return None
    if not isinstance(validation, Validation):
        inputs, labels = validation
        validation = Validation(inputs, np.asarray(labels))
    features = as_embeddings(validation.inputs, "validation features", n_features=n_features)
    labels = as_labels(validation.labels, len(features), "validation labels")
    if labels.ndim != labels_ndim:
        raise ValueError("validation labels must be class ids where labels are, and multi-hot rows where labels are")
    return replace(validation, inputs=features, labels=labels)
