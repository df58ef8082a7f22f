"""The facade: images in, codes and neighbors out."""

import copy
import dataclasses
import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError

from h2q.checks import check_n_bits
from h2q.errors import FileFormatError, require
from h2q.files import write_tensors
from h2q.hasher.folder import HasherFolder
from h2q.hasher.weights import read_backbone, read_head
from h2q.index import BinaryIndex
from h2q.quantization import HouseholderQuantizer, load_quantizer, pack_bits
from h2q.similarity.images import Fold, as_folds, as_images

if TYPE_CHECKING:
    from torch import nn

    from h2q.quantization.base import BaseQuantizer
    from h2q.similarity.backbones import Backbone
    from h2q.similarity.heads import HashHead, HashNetwork
    from h2q.similarity.labels import ClassLabels
    from h2q.similarity.penalties import WeightedPenalty
    from h2q.similarity.presets import TrainingSettings
    from h2q.similarity.runs import RunOptions, TrainingHistory

__all__ = ["ImageHasher"]


class ImageHasher(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Images to binary codes: a backbone, a head trained with a similarity loss, and a quantizer.

    Parameters
    ----------
    n_bits : int
        Width of the embeddings, and number of bits of a code unless the quantizer reduces the dimensions.
    loss : str or Module
        A name in `h2q.similarity.losses.LOSSES`, or any module ``loss(embeddings, labels)``.
    loss_options : mapping, optional
        Options of a loss given by name, for instance ``{"gamma": 10.0}`` for "DCH".
    backbone : str, Module or Backbone
        What `h2q.similarity.load_backbone` takes or returns.
    image_size : int, optional
        Side in pixels that images are resized to; by default the backbone's own.
    resize_mode : {"stretch", "crop"}
        How images come to that size: stretched, or resized and center-cropped, see `h2q.similarity.Backbone`.
    train_blocks : int or None
        Number of the backbone's last blocks that are fine-tuned after the head was trained on frozen features; 0: none,
        which takes seconds once features are computed; None: all.
    head_first : bool
        Whether a head is trained on frozen features before the backbone is fine-tuned, which usually ends best; False:
        backbone and a new head are trained together from the start, as in the paper.
    head_settings : TrainingSettings, optional
        Settings of the head's training; defaults to the preset "head".
    network_settings : TrainingSettings, optional
        Settings of the fine-tuning; defaults to the preset "fine-tune".
    penalty : WeightedPenalty, optional
        A quantization penalty, for baselines: the method needs none.
    quantizer : estimator, optional
        Any quantizer of `h2q.quantization`, not fitted; defaults to `HouseholderQuantizer`. With
        ``whitening="auto"`` it is fitted with the labels of the training images.
    random_state : int
        Same seed, same images, same codes on the same machine.

    Attributes
    ----------
    backbone_ : Backbone
        After `fit`: images to features.
    head_ : HashHead
        After `fit`: features to real-valued embeddings.
    quantizer_ : estimator
        After `fit`: embeddings to codes.
    n_bits_ : int
        After `fit`: number of bits of a code.
    histories_ : tuple of TrainingHistory
        After `fit`: the training of the head and, where there was one, the fine-tuning.
    validation_map_ : float or None
        After `fit`: mean average precision of the real-valued embeddings of the held-out images, from 0 to 1.

    Examples
    --------
    >>> from h2q.datasets import load_dataset
    >>> digits = load_dataset("digits")
    >>> positions = digits.folds["train"][:60]
    >>> images = [digits.images[int(i)] for i in positions]
    >>> hasher = ImageHasher(n_bits=16, image_size=32).fit(images, digits.labels[positions])
    >>> hasher.encode(images[:2]).shape
    (2, 2)
    >>> index = hasher.build_index(images)
    >>> int(index.search(hasher.encode(images[:1]), 3).distances[0, 0])
    0
    >>> hasher
    ImageHasher(image_size=32, n_bits=16)
    """

    backbone_: "Backbone"
    head_: "HashHead"
    quantizer_: "BaseQuantizer"
    n_bits_: int
    histories_: "tuple[TrainingHistory, ...]"
    validation_map_: float | None

    def __init__(
        self,
        n_bits: int = 64,
        *,
        loss: "str | nn.Module" = "CosineEmbedding",
        loss_options: Mapping[str, Any] | None = None,
        backbone: "str | nn.Module | Backbone" = "efficientnet-lite0",
        image_size: int | None = None,
        resize_mode: Literal["stretch", "crop"] = "stretch",
        train_blocks: int | None = 0,
        head_first: bool = True,
        head_settings: "TrainingSettings | None" = None,
        network_settings: "TrainingSettings | None" = None,
        penalty: "WeightedPenalty | None" = None,
        quantizer: "BaseQuantizer | None" = None,
        random_state: int = 0,
    ) -> None:
        self.n_bits = n_bits
        self.loss, self.loss_options, self.penalty = loss, loss_options, penalty
        self.backbone, self.image_size, self.resize_mode = backbone, image_size, resize_mode
        self.train_blocks, self.head_first = train_blocks, head_first
        self.head_settings, self.network_settings = head_settings, network_settings
        self.quantizer, self.random_state = quantizer, random_state

    @classmethod
    def from_parts(cls, backbone: "Backbone", head: "HashHead", quantizer: "BaseQuantizer") -> Self:
        """Build a hasher from a trained backbone, a trained head and a fitted quantizer.

        Raises
        ------
        ValueError
            If the quantizer is not fitted, or the widths do not fit.
        """
        if not hasattr(quantizer, "projection_"):
            raise ValueError("quantizer is not fitted; fit it on the head's embeddings first")
        if quantizer.n_features_in_ != head.n_bits or head.n_features != backbone.n_features:
            raise ValueError(
                f"the parts do not fit: the backbone gives {backbone.n_features} features and the head takes "
                f"{head.n_features}; the head gives {head.n_bits} dimensions and the quantizer takes "
                f"{quantizer.n_features_in_}"
            )
        hasher = cls(head.n_bits, backbone=backbone)
        hasher._set_parts(backbone, head, quantizer, ())
        return hasher

    def _set_parts(
        self,
        backbone: "Backbone",
        head: "HashHead",
        quantizer: "BaseQuantizer",
        histories: "tuple[TrainingHistory, ...]",
    ) -> None:
        self.backbone_, self.head_, self.quantizer_ = backbone, head.eval(), quantizer
        self.n_bits_, self.histories_ = int(quantizer.n_bits_), histories
        self.validation_map_ = histories[-1].validation_map if histories else None
        self.__dict__.pop("folded_head", None)

    def fit(
        self,
        images: Any,
        labels: ArrayLike | None = None,
        *,
        validation: tuple[Any, ArrayLike] | None = None,
        run: "RunOptions | None" = None,
    ) -> Self:
        """Train the head (and, if asked for, the backbone) on labeled images, then fit the quantizer.

        Parameters
        ----------
        images : ImageDataset, or n images
            Of an `ImageDataset` the fold "train" is trained on, and "validation" validates. Else paths, PIL images, or
            an array (n, height, width, 3) of uint8.
        labels : array-like of shape (n,) or (n, c)
            Class ids or multi-hot rows; not for an `ImageDataset`, which has them.
        validation : (images, labels), optional
            Held-out images; the weights of the epoch that scores best on them are kept.
        run : RunOptions, optional
            Folder for checkpoints and logs, resume, hardware, progress. Hardware is that of the fine-tuning.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If there is only one class, there are fewer images than classes, or the numbers of images and labels differ.
        MissingDependencyError
            If the extra ``learn`` is not installed.
        """
        require("lightning", "learn")
        from h2q.similarity.backbones import Backbone, load_backbone
        from h2q.similarity.fine_tuning import embed_images
        from h2q.similarity.frozen import embed_features
        from h2q.similarity.labels import as_class_labels
        from h2q.similarity.runs import RunOptions

        run = run or RunOptions()
        train, held_out = as_folds(images, labels, validation)
        classes = as_class_labels(train.labels)
        backbone = self.backbone
        if not isinstance(backbone, Backbone):
            backbone = load_backbone(backbone, image_size=self.image_size, resize_mode=self.resize_mode)
        backbone, head, histories = self._train(backbone, train, classes, held_out, run)
        if self.train_blocks == 0:
            embeddings = embed_features(head, train.features(backbone, run.progress))
        else:  # features of these weights are needed once only: not cached
            embeddings = embed_images(backbone, head, train.images, progress=run.progress)
        quantizer = clone(self.quantizer or HouseholderQuantizer(center=False, random_state=self.random_state))
        quantizer.fit(embeddings, train.labels)  # which whitening="auto" uses
        self._set_parts(backbone, head, quantizer, histories)
        return self

    def _train(
        self, backbone: "Backbone", train: Fold, classes: "ClassLabels", held_out: Fold | None, run: "RunOptions"
    ) -> "tuple[Backbone, HashHead, tuple[TrainingHistory, ...]]":
        """Train the head on frozen features, then the backbone with it, as far as the parameters ask for either."""
        from h2q.similarity.fine_tuning import fine_tune
        from h2q.similarity.frozen import ONE_CORE, train_head

        objective: dict[str, Any] = {
            "loss": self.loss, "loss_options": self.loss_options, "n_bits": check_n_bits(self.n_bits),
            "penalty": self.penalty, "random_state": self.random_state,
        }  # fmt: skip
        trained = None
        if self.head_first or self.train_blocks == 0:
            trained = train_head(
                train.features(backbone, run.progress), classes, settings=self.head_settings, **objective,
                validation=None if held_out is None else (held_out.features(backbone, run.progress), held_out.labels),
                run=dataclasses.replace(run.within("head"), hardware=ONE_CORE),
            )  # fmt: skip
            if self.train_blocks == 0:
                return backbone, trained.head, (trained.history,)
        tuned = fine_tune(
            train.images, classes, settings=self.network_settings, **objective,
            backbone=backbone, train_blocks=self.train_blocks, start=trained,
            validation=None if held_out is None else (held_out.images, held_out.labels),
            run=run.within("network"),
        )  # fmt: skip
        before = () if trained is None else (trained.history,)
        return tuned.backbone, tuned.head, (*before, tuned.history)

    def embed(self, images: Any, *, progress: bool = True) -> NDArray[np.float32]:
        """Map images to real-valued embeddings, float32 (n, k), before the rotation.

        Parameters
        ----------
        images : ImageDataset, paths, PIL images, or array (n, height, width, 3) of uint8
            The images.
        progress : bool
            Whether to show a bar on a terminal.
        """
        from h2q.similarity.frozen import embed_features

        features = self._features(images, progress)
        return embed_features(self.head_, features)

    def transform(self, images: Any, *, progress: bool = True) -> NDArray[np.float32]:
        """Map images to projected embeddings, float32 (n, n_bits), whose signs are the codes; arguments as in `embed`.

        Raises
        ------
        ValueError
            If the quantizer's codes are no signs of a projection, as those of `RefinedQuantizer`.
        """
        from h2q.similarity.frozen import embed_features

        features = self._features(images, progress)
        return embed_features(self.folded_head, features)

    def encode(self, images: Any, *, progress: bool = True) -> NDArray[np.uint8]:
        """Map images to packed codes, uint8 (n, ceil(n_bits / 8)); the arguments of `embed`."""
        if self._is_linear:
            return pack_bits(self.transform(images, progress=progress))
        return self.quantizer_.encode(self.embed(images, progress=progress))

    def build_index(self, images: Any, ids: ArrayLike | None = None, *, progress: bool = True) -> BinaryIndex:
        """Return a searchable index of the images' codes.

        Parameters
        ----------
        images : ImageDataset, paths, PIL images, or array (n, height, width, 3) of uint8
            The database.
        ids : array-like of shape (n,), optional
            Ids of the images; by default 0, 1, 2 ...
        progress : bool
            Whether to show a bar on a terminal.

        Returns
        -------
        BinaryIndex
            ``index.search(hasher.encode(queries), k)`` gives ids and Hamming distances.
        """
        self._require_fitted()
        index = BinaryIndex(self.n_bits_)
        index.add(self.encode(images, progress=progress), ids)
        return index

    def _features(self, images: Any, progress: bool) -> NDArray[np.float32]:
        from h2q.similarity.features import extract_features

        self._require_fitted()
        source = images if hasattr(images, "folds") else as_images(images)
        return extract_features(source, self.backbone_, progress=progress)

    @property
    def _is_linear(self) -> bool:
        """Whether the codes are signs of a projection, so that they can be folded into the head."""
        self._require_fitted()
        return bool(getattr(self.quantizer_, "linear", True))

    @cached_property
    def folded_head(self) -> "HashHead":
        """The head with the quantizer folded into its last layer: the signs of its outputs are the bits.

        Raises
        ------
        ValueError
            If the quantizer's codes are no signs of a projection, as those of `RefinedQuantizer`.
        """
        from h2q.similarity.export import fold

        quantizer = self.quantizer_
        if not self._is_linear:
            raise ValueError(
                f"{type(quantizer).__name__} changes bits after the projection, which no layer of a network does; use "
                "encode, or a quantizer whose codes are signs of a projection, such as NestedQuantizer"
            )
        return fold(self.head_, quantizer.projection_.astype(np.float64), quantizer.mean_.astype(np.float64))

    def network(self) -> "HashNetwork":
        """Return one torch module from image tensors, as ``backbone_.preprocess`` makes them, to rotated embeddings."""
        from h2q.similarity.heads import HashNetwork

        self._require_fitted()
        return (
            HashNetwork(copy.deepcopy(self.backbone_.module), copy.deepcopy(self.folded_head))
            .eval()
            .requires_grad_(False)
        )

    def export(self, path: str | os.PathLike[str]) -> None:
        """Write `network` to a file: ONNX where the name ends in .onnx, `torch.export` where it ends in .pt2.

        The input "images" is float32 (n, 3, image_size, image_size), as ``backbone_.preprocess`` makes it; the output
        (n, n_bits) gives the bits by ``> 0``, packed by `h2q.pack_bits`.
        """
        from h2q.similarity.export import export_onnx, export_program

        writers = {".onnx": export_onnx, ".pt2": export_program}
        suffix = Path(path).suffix
        if suffix not in writers:
            raise ValueError(f"path must end in .onnx or .pt2; got {path}")
        writers[suffix](self.network(), path, image_size=self.backbone_.image_size)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the hasher to a folder: JSON and safetensors.

        An interrupted save, also by a kill, leaves the hasher that was there before. See `h2q.hasher.folder`.

        Parameters
        ----------
        folder : path
            The folder; a hasher that it holds is replaced, anything else is an error.

        Raises
        ------
        NotFittedError
            If the hasher is not fitted.
        FileExistsError
            If the folder exists and holds no hasher.
        BlockingIOError
            If another process is saving to it.
        """
        self._require_fitted()
        backbone, head = self.backbone_, self.head_
        description = {
            "n_bits": self.n_bits_, "n_features": head.n_features, "n_dimensions": head.n_bits,
            "validation_map": self.validation_map_,
            "loss": self.loss if isinstance(self.loss, str) else type(self.loss).__name__,
            "backbone": {
                "name": backbone.name, "version": backbone.version, "image_size": backbone.image_size,
                "mean": list(backbone.mean), "std": list(backbone.std), "resize_mode": backbone.resize_mode,
            },
        }  # fmt: skip
        with HasherFolder(folder).write(description) as files:
            state = {key: value.cpu().numpy() for key, value in backbone.module.state_dict().items()}
            write_tensors(files["backbone"], "backbone", state, {"name": backbone.name})
            weights = {key: value.cpu().numpy() for key, value in head.state_dict().items()}
            write_tensors(files["head"], "hash head", weights, {"hidden": list(head.hidden_widths)})
            self.quantizer_.save(files["quantizer"])

    @classmethod
    def load(cls, folder: str | os.PathLike[str], *, backbone: "nn.Module | None" = None) -> Self:
        """Read a hasher that `save` wrote. No code from the folder is run.

        Parameters
        ----------
        folder : path
            The folder.
        backbone : Module, optional
            Where the hasher was built on a module of your own: a module of the same structure, which gets the weights.

        Raises
        ------
        FileNotFoundError
            If there is no such folder.
        FileFormatError
            If it holds no hasher, or files that are missing, truncated, foreign, of different hashers, or from a newer
            version.
        """
        source = HasherFolder(folder)
        description = source.read()
        try:
            while True:
                try:
                    return cls._read(source, description, backbone)
                except FileFormatError:
                    # Another process may have saved in between, and deleted the files of this description.
                    before, description = description, source.read()
                    if description == before:
                        raise
        except KeyError as error:
            raise FileFormatError(f"{source.path} is incomplete: its description has no {error}") from error

    @classmethod
    def _read(cls, source: HasherFolder, description: dict[str, Any], backbone: "nn.Module | None") -> Self:
        n_features, n_dimensions = description["n_features"], description["n_dimensions"]
        hasher = cls.from_parts(
            read_backbone(source.part(description, "backbone"), description["backbone"], backbone),
            read_head(source.part(description, "head"), n_features, n_dimensions),
            load_quantizer(source.part(description, "quantizer")),
        )
        hasher.loss, hasher.validation_map_ = description["loss"], description["validation_map"]
        return hasher

    def _require_fitted(self) -> None:
        if not hasattr(self, "head_"):
            raise NotFittedError(
                "this ImageHasher is not fitted; call fit(images, labels), or ImageHasher.load(folder)"
            )
