"""The facade: images in, codes and neighbors out."""

import copy
import dataclasses
import os
import tempfile
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone

from h2q.checks import check_n_bits
from h2q.errors import FileFormatError, require
from h2q.files import FORMAT_VERSION, read_json, read_tensors, sync_folder, write_json, write_tensors
from h2q.index import BinaryIndex
from h2q.quantization import HouseholderQuantizer, load_quantizer, pack_bits
from h2q.similarity.images import as_folds, as_images

if TYPE_CHECKING:
    from torch import nn

    from h2q.quantization.base import BaseQuantizer
    from h2q.similarity.backbones import Backbone
    from h2q.similarity.heads import HashHead, HashNetwork
    from h2q.similarity.presets import TrainingSettings
    from h2q.similarity.training import Hardware

__all__ = ["ImageHasher", "is_hasher"]

_DESCRIPTION = "hasher.json"
_BACKBONE, _HEAD, _QUANTIZER = "backbone.safetensors", "head.safetensors", "quantizer.safetensors"


class ImageHasher:
    """Images to binary codes: a backbone, a head that was trained with a similarity loss, and a quantizer.

    Parameters
    ----------
    n_bits : int
        Bits of a code.
    loss : str or Module
        A name in `h2q.similarity.losses.LOSSES`, or any module ``loss(embeddings, labels)``.
    backbone : str, Module or Backbone
        What `h2q.similarity.load_backbone` takes or gives.
    image_size : int, optional
        Side in pixels that images are resized to; by default the backbone's own.
    train_blocks : int or None
        How many of the backbone's last blocks are fine-tuned after the head was trained on frozen features; 0: none,
        which takes seconds once features are there; None: all.
    head_settings : TrainingSettings, optional
        Of the head's training; defaults to the preset "head".
    network_settings : TrainingSettings, optional
        Of the fine-tuning, where there is any; defaults to the preset "fine-tune".
    quantizer : estimator, optional
        Any quantizer of `h2q.quantization`, not fitted; defaults to `HouseholderQuantizer`.
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
    """

    backbone_: "Backbone"
    head_: "HashHead"
    quantizer_: "BaseQuantizer"
    validation_map_: float | None

    def __init__(
        self,
        n_bits: int = 64,
        *,
        loss: "str | nn.Module" = "CosineEmbedding",
        backbone: "str | nn.Module | Backbone" = "efficientnet-lite0",
        image_size: int | None = None,
        train_blocks: int | None = 0,
        head_settings: "TrainingSettings | None" = None,
        network_settings: "TrainingSettings | None" = None,
        quantizer: "BaseQuantizer | None" = None,
        random_state: int = 0,
    ) -> None:
        self.n_bits = check_n_bits(n_bits)
        self.loss, self.backbone, self.image_size, self.train_blocks = loss, backbone, image_size, train_blocks
        self.head_settings, self.network_settings = head_settings, network_settings
        self.quantizer, self.random_state = quantizer, random_state

    @classmethod
    def from_parts(cls, backbone: "Backbone", head: "HashHead", quantizer: "BaseQuantizer") -> Self:
        """Put together a hasher from parts that are trained and fitted already."""
        if not hasattr(quantizer, "projection_"):
            raise ValueError("quantizer is not fitted; fit it on the head's embeddings first")
        if quantizer.n_features_in_ != head.n_bits or head.n_features != backbone.n_features:
            raise ValueError(
                f"the parts do not fit: the backbone gives {backbone.n_features} features and the head takes "
                f"{head.n_features}; the head gives {head.n_bits} dimensions and the quantizer takes "
                f"{quantizer.n_features_in_}"
            )
        hasher = cls(quantizer.n_bits_, backbone=backbone)
        hasher._set_parts(backbone, head, quantizer)
        return hasher

    def _set_parts(self, backbone: "Backbone", head: "HashHead", quantizer: "BaseQuantizer") -> None:
        self.backbone_, self.head_, self.quantizer_, self.validation_map_ = backbone, head.eval(), quantizer, None
        self.__dict__.pop("folded_head", None)

    def fit(
        self,
        images: Any,
        labels: ArrayLike | None = None,
        *,
        validation: tuple[Any, ArrayLike] | None = None,
        folder: str | os.PathLike[str] | None = None,
        resume: bool = False,
        log: Literal["csv", "tensorboard"] | None = None,
        hardware: "Hardware | None" = None,
        progress: bool = True,
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
        folder : path, optional
            Where checkpoints and logs go.
        resume : bool
            Go on with the training in `folder`, if there is one.
        log : {"csv", "tensorboard"}, optional
            Logs in `folder`.
        hardware : Hardware, optional
            Accelerator, processes and precision of fine-tuning.
        progress : bool
            Whether to show bars on a terminal.

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
        from h2q.similarity.fine_tuning import fine_tune
        from h2q.similarity.frozen import check_classes, embed_features, train_head
        from h2q.similarity.training import Hardware

        train, held_out = as_folds(images, labels, validation)
        check_classes(train.labels)
        backbone = self.backbone
        if not isinstance(backbone, Backbone):
            backbone = load_backbone(backbone, image_size=self.image_size)
        checkpoints = None if folder is None else Path(folder)
        features = train.features(backbone, progress)
        trained = train_head(
            features, train.labels, loss=self.loss, n_bits=self.n_bits, settings=self.head_settings,
            random_state=self.random_state,
            validation=None if held_out is None else (held_out.features(backbone, progress), held_out.labels),
            folder=None if checkpoints is None else checkpoints / "head", resume=resume, log=log, progress=progress,
        )  # fmt: skip
        head, score = trained.head, trained.validation_map
        if self.train_blocks != 0:
            tuned = fine_tune(
                train.images, train.labels, loss=self.loss, n_bits=self.n_bits, backbone=backbone, head=head,
                train_blocks=self.train_blocks, settings=self.network_settings,
                random_state=self.random_state, resume=resume, log=log,
                validation=None if held_out is None else (held_out.images, held_out.labels),
                folder=None if checkpoints is None else checkpoints / "network",
                hardware=hardware or Hardware(), progress=progress,
            )  # fmt: skip
            backbone, head, score = tuned.backbone, tuned.head, tuned.validation_map
            features = train.features(backbone, progress)
        quantizer = clone(self.quantizer or HouseholderQuantizer(center=False, random_state=self.random_state))
        self._set_parts(backbone, head, quantizer.fit(embed_features(head, features)))
        self.validation_map_ = score
        return self

    def embed(self, images: Any, *, progress: bool = True) -> NDArray[np.float32]:
        """Map images to real-valued embeddings, float32 (n, k), as they were before the rotation.

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
        """Map images to rotated embeddings, float32 (n, n_bits), whose signs are the codes; arguments as in `embed`."""
        from h2q.similarity.frozen import embed_features

        features = self._features(images, progress)
        return embed_features(self.folded_head, features)

    def encode(self, images: Any, *, progress: bool = True) -> NDArray[np.uint8]:
        """Map images to packed codes, uint8 (n, ceil(n_bits / 8)); the arguments of `embed`."""
        return pack_bits(self.transform(images, progress=progress))

    def build_index(self, images: Any, ids: ArrayLike | None = None, *, progress: bool = True) -> BinaryIndex:
        """Return a searchable index of the images' codes.

        Parameters
        ----------
        images : ImageDataset, paths, PIL images, or array (n, height, width, 3) of uint8
            The database.
        ids : array-like of shape (n,), optional
            Their ids; by default 0, 1, 2 ...
        progress : bool
            Whether to show a bar on a terminal.

        Returns
        -------
        BinaryIndex
            ``index.search(hasher.encode(queries), k)`` gives ids and Hamming distances.
        """
        index = BinaryIndex(self.n_bits)
        index.add(self.encode(images, progress=progress), ids)
        return index

    def _features(self, images: Any, progress: bool) -> NDArray[np.float32]:
        from h2q.similarity.features import extract_features

        self._require_fitted()
        source = images if hasattr(images, "folds") else as_images(images)
        return extract_features(source, self.backbone_, progress=progress)

    @cached_property
    def folded_head(self) -> "HashHead":
        """The head with the quantizer folded into its last layer: the signs of what it gives are the bits."""
        from h2q.similarity.export import fold

        quantizer = self.quantizer_
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
        """Write the hasher to a folder: JSON and safetensors, all of it or nothing.

        Parameters
        ----------
        folder : path
            Where to; a hasher that is there already is replaced, anything else is an error.

        Raises
        ------
        FileExistsError
            If the folder is there and holds no hasher.
        """
        self._require_fitted()
        target = Path(folder)
        if target.exists() and not is_hasher(target):
            raise FileExistsError(f"{target} is there already and holds no hasher; pass another folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        backbone, head = self.backbone_, self.head_
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as temporary:
            new = Path(temporary) / "new"
            new.mkdir()
            state = {key: value.cpu().numpy() for key, value in backbone.module.state_dict().items()}
            write_tensors(new / _BACKBONE, "backbone", state, {"name": backbone.name})
            weights = {key: value.cpu().numpy() for key, value in head.state_dict().items()}
            write_tensors(new / _HEAD, "hash head", weights, {"hidden": list(head.hidden_widths)})
            self.quantizer_.save(new / _QUANTIZER)
            write_json(
                new / _DESCRIPTION,
                {
                    "kind": "image hasher", "format_version": FORMAT_VERSION, "n_bits": self.n_bits,
                    "n_features": head.n_features, "n_dimensions": head.n_bits, "validation_map": self.validation_map_,
                    "loss": self.loss if isinstance(self.loss, str) else type(self.loss).__name__,
                    "backbone": {
                        "name": backbone.name, "version": backbone.version, "image_size": backbone.image_size,
                        "mean": list(backbone.mean), "std": list(backbone.std),
                    },
                },
            )  # fmt: skip
            if target.exists():
                target.rename(Path(temporary) / "old")
            new.rename(target)
        sync_folder(target.parent)

    @classmethod
    def load(cls, folder: str | os.PathLike[str], *, backbone: "nn.Module | None" = None) -> Self:
        """Read a hasher that `save` wrote. No code of the folder is run.

        Parameters
        ----------
        folder : path
            The folder.
        backbone : Module, optional
            Where the hasher was built on a module of your own: a module of the same structure, which gets the weights.

        Raises
        ------
        FileNotFoundError
            If the folder, or a file in it, is not there.
        FileFormatError
            If it holds no hasher, or files that are truncated, foreign, of different hashers, or from a newer version.
        """
        source = Path(folder)
        if not source.is_dir():
            raise FileNotFoundError(f"there is no hasher at {source}: no such folder")
        if not is_hasher(source):
            raise FileFormatError(f"{source} holds no hasher: it has no {_DESCRIPTION}")
        description = read_json(source / _DESCRIPTION)
        if not isinstance(description, dict) or description.get("kind") != "image hasher":
            raise FileFormatError(f"{source / _DESCRIPTION} does not describe a hasher")
        if description.get("format_version", 0) > FORMAT_VERSION:
            raise FileFormatError(f"{source} was written by a newer h2q; upgrade with: pip install -U h2q")
        try:
            hasher = cls.from_parts(
                _read_backbone(source, description["backbone"], backbone),
                _read_head(source, description["n_features"], description["n_dimensions"]),
                load_quantizer(source / _QUANTIZER),
            )
            hasher.loss, hasher.validation_map_ = description["loss"], description["validation_map"]
        except KeyError as error:
            raise FileFormatError(f"{source / _DESCRIPTION} is incomplete: {error} is missing") from error
        return hasher

    def _require_fitted(self) -> None:
        if not hasattr(self, "head_"):
            raise ValueError("this ImageHasher is not fitted; call fit(images, labels), or ImageHasher.load(folder)")


def is_hasher(folder: str | os.PathLike[str]) -> bool:
    """Return whether a folder looks like a hasher that `ImageHasher.save` wrote.

    >>> is_hasher(tempfile.mkdtemp())
    False
    """
    return (Path(folder) / _DESCRIPTION).is_file()


def _read_backbone(folder: Path, description: dict[str, Any], module: "nn.Module | None") -> "Backbone":
    from h2q.similarity.backbones import BACKBONES, load_backbone

    name, size = description["name"], description["image_size"]
    if module is None and name not in BACKBONES:
        raise ValueError(
            f"{folder} was built on {name}, a module of its author's own; pass load(folder, backbone=module) with a "
            "module of that structure"
        )
    skeleton = (
        load_backbone(name, pretrained=False, image_size=size).module if module is None else copy.deepcopy(module)
    )
    _load_weights(skeleton, folder / _BACKBONE, "backbone")
    mean, std = tuple(description["mean"]), tuple(description["std"])
    return dataclasses.replace(load_backbone(skeleton, image_size=size, mean=mean, std=std), name=name)


def _read_head(folder: Path, n_features: int, n_dimensions: int) -> "HashHead":
    from h2q.similarity.heads import HashHead

    hidden = read_tensors(folder / _HEAD, "hash head").metadata["hidden"]
    head = HashHead(n_features, n_dimensions, hidden=hidden)
    _load_weights(head, folder / _HEAD, "hash head")
    return head


def _load_weights(module: "nn.Module", path: Path, kind: str) -> None:
    import torch

    state = {key: torch.from_numpy(value) for key, value in read_tensors(path, kind).tensors.items()}
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise FileFormatError(f"{path} does not fit the network it is for: {error}") from error
