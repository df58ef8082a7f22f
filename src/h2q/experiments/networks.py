"""Stage one of the grid: each network is trained once, and its embeddings are kept for all its quantizers."""

import time
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from h2q.comparison import EmbeddedFolds
from h2q.datasets import ImageDataset, load_dataset
from h2q.datasets.dataset import FOLDS
from h2q.errors import require
from h2q.experiments.cells import NetworkSpec, digest
from h2q.experiments.records import DataVersion, NetworkSummary, Trial
from h2q.experiments.store import ExperimentFolder
from h2q.files import read_tensors, write_tensors

if TYPE_CHECKING:
    from h2q.similarity.penalties import WeightedPenalty

    _Penalty = WeightedPenalty | None

__all__ = ["describe_data", "load_data", "obtain_network", "sign_codes_score"]

_KIND = "stage-one embeddings"


@lru_cache(maxsize=2)
def load_data(name: str, seed: int) -> ImageDataset:
    """Load a data set with the folds of a seed; the last two are kept in memory."""
    return load_dataset(name, random_state=seed)


@lru_cache(maxsize=2)
def _features(name: str, backbone: str, image_size: int | None, resize_mode: Any) -> NDArray[np.float32]:
    from h2q.similarity.backbones import load_backbone
    from h2q.similarity.features import extract_features

    loaded = load_backbone(backbone, image_size=image_size, resize_mode=resize_mode)
    return extract_features(load_data(name, 0), loaded)


def describe_data(dataset: ImageDataset) -> DataVersion:
    """Return the identity of the images and the folds."""
    return DataVersion(
        dataset.fingerprint,
        {fold: len(dataset.folds[fold]) for fold in FOLDS},
        digest([dataset.folds[fold].tolist() for fold in FOLDS]),
    )


def sign_codes_score(
    query_embeddings: NDArray[np.float32],
    database_embeddings: NDArray[np.float32] | None,
    query_labels: NDArray[Any],
    database_labels: NDArray[Any] | None,
) -> float:
    """Return the mAP of sign codes with ties broken by the embeddings: networks with a penalty are chosen by it.

    The authors' key 10 Hamming(b, b') + |x - x'|^2 is a constant minus twice the inner product of the rows
    (sqrt(5 / 2) b, x), with b in {-1, 1}^k and x at unit norm. All these rows have the same norm, so ranking them by
    cosine similarity gives the authors' ranking. Without a database each query is left out of its own ranking.

    Examples
    --------
    >>> x = np.array([[1, 1], [0.1, 1], [-1, 1]], dtype=np.float32)
    >>> sign_codes_score(x, None, np.array([0, 0, 1]), None)
    0.6666666666666666
    """
    from h2q.similarity.validation import cosine_mean_average_precision

    queries = _ranked_by_codes(query_embeddings)
    database = None if database_embeddings is None else _ranked_by_codes(database_embeddings)
    return cosine_mean_average_precision(queries, database, query_labels, database_labels)


def _ranked_by_codes(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(embeddings, axis=1, keepdims=True)
    signs = np.where(embeddings > 0, np.float32(2.5**0.5), -np.float32(2.5**0.5))
    return np.hstack([signs, embeddings / np.where(norms > 0, norms, 1)])


def obtain_network(spec: NetworkSpec, folder: ExperimentFolder, threads: int) -> tuple[EmbeddedFolds, NetworkSummary]:
    """Read the embeddings of a network, or train it and write them.

    Raises
    ------
    ValueError
        If the file holds embeddings of other images than the data set has now.
    """
    dataset = load_data(spec.dataset, spec.seed)
    data = asdict(describe_data(dataset))
    path = folder.network_file(spec.key)
    if path.exists():
        stored = read_tensors(path, _KIND)
        if stored.metadata["data"] != data:
            raise ValueError(f"{path} comes from other images or folds than {spec.dataset} has now; use a new folder")
        parts, summary = stored.tensors, NetworkSummary.from_json(stored.metadata["summary"])
    else:
        parts, summary = _train(spec, dataset, threads)
        write_tensors(path, _KIND, parts, {"network": asdict(spec), "data": data, "summary": asdict(summary)})
    labels = {fold: dataset.labels[dataset.folds[fold]] for fold in ("train", "query", "database")}
    folds = EmbeddedFolds(
        parts["train"], parts["query"], parts["database"], labels["query"], labels["database"],
        train_labels=labels["train"],
    )  # fmt: skip
    return folds, summary


def _train(
    spec: NetworkSpec, dataset: ImageDataset, threads: int
) -> tuple[dict[str, NDArray[np.float32]], NetworkSummary]:
    """Train a network, with each weight of the penalty if it has one, and embed the folds with the best."""
    require("lightning", "learn")
    fit = _fit_head if spec.preset == "head" else _fit_whole
    began = time.perf_counter()
    penalties: tuple[WeightedPenalty | None, ...] = _penalties(spec) or (None,)
    candidates = [fit(spec, dataset, threads, penalty) for penalty in penalties]
    scores = [trained.history.validation_map for trained, _ in candidates]
    best = scores.index(max(scores))
    trained, embed = candidates[best]
    tried = tuple(
        Trial(penalty.weight, score, penalty.tanh)
        for penalty, score in zip(penalties, scores, strict=True)
        if penalty is not None
    )
    weight, tanh = (tried[best].weight, tried[best].tanh) if tried else (None, False)
    trained_at = time.perf_counter()
    parts = {fold: embed(dataset.folds[fold]) for fold in FOLDS}
    history, embed_seconds = trained.history, time.perf_counter() - trained_at
    summary = NetworkSummary(
        spec.key, history.validation_map, history.best_epoch, trained_at - began, embed_seconds, weight, tried, tanh
    )
    return parts, summary


Embed = Callable[[NDArray[np.int64]], NDArray[np.float32]]


def _fit_head(
    spec: NetworkSpec, dataset: ImageDataset, threads: int, penalty: "WeightedPenalty | None"
) -> tuple[Any, Embed]:
    from h2q.similarity.frozen import train_head
    from h2q.similarity.losses import UNSUPERVISED_LOSSES
    from h2q.similarity.unsupervised import train_unsupervised_head

    features = _features(spec.dataset, spec.backbone, spec.image_size, spec.resize_mode)
    train, held_out = (np.asarray(features[dataset.folds[fold]]) for fold in ("train", "validation"))
    options, run = _training_options(spec, penalty), _run_options("cpu", threads)
    if spec.loss in UNSUPERVISED_LOSSES:
        trained = train_unsupervised_head(train, run=run, **options)
    else:
        trained = train_head(
            train, dataset.labels[dataset.folds["train"]], validation=_validation(held_out, dataset, penalty),
            run=run, **options,
        )  # fmt: skip
    return trained, lambda positions: trained.embed(np.asarray(features[positions]))


def _fit_whole(
    spec: NetworkSpec, dataset: ImageDataset, threads: int, penalty: "WeightedPenalty | None"
) -> tuple[Any, Embed]:
    from h2q.similarity.backbones import load_backbone
    from h2q.similarity.fine_tuning import fine_tune
    from h2q.similarity.images import SelectedImages

    def images(positions: NDArray[np.int64]) -> SelectedImages:
        return SelectedImages(dataset.images, positions)

    backbone = load_backbone(spec.backbone, image_size=spec.image_size, resize_mode=spec.resize_mode)
    trained = fine_tune(
        images(dataset.folds["train"]), dataset.labels[dataset.folds["train"]], backbone=backbone,
        train_blocks=spec.train_blocks, run=_run_options("auto", threads),
        validation=_validation(images(dataset.folds["validation"]), dataset, penalty),
        **_training_options(spec, penalty),
    )  # fmt: skip
    return trained, lambda positions: trained.embed(images(positions))


def _validation(held_out: Any, dataset: ImageDataset, penalty: "_Penalty") -> Any:
    """Score networks by their real-valued embeddings, or with a penalty by their sign codes."""
    from h2q.similarity.validation import Validation, cosine_mean_average_precision

    score = cosine_mean_average_precision if penalty is None else sign_codes_score
    return Validation(held_out, dataset.labels[dataset.folds["validation"]], score=score)


def _run_options(accelerator: str, threads: int) -> Any:
    from h2q.similarity.runs import Hardware, RunOptions

    return RunOptions(hardware=Hardware(accelerator=accelerator, threads=threads), progress=False)


def _penalties(spec: NetworkSpec) -> "tuple[WeightedPenalty, ...]":
    """Return the forms of the penalty to try; empty without a penalty."""
    from h2q.similarity.penalties import WeightedPenalty

    if spec.penalty is None:
        return ()
    return tuple(WeightedPenalty(spec.penalty, weight, spec.penalty_options, tanh) for weight, tanh in spec.penalties)


def _training_options(spec: NetworkSpec, penalty: "WeightedPenalty | None") -> dict[str, Any]:
    options: dict[str, Any] = {
        "loss": spec.loss,
        "n_bits": spec.n_bits,
        "random_state": spec.seed,
        "settings": spec.settings,
    }
    if penalty is not None:
        options["penalty"] = penalty
    if spec.loss_options:
        options["loss_options"] = spec.loss_options
    return options
