"""Save and load quantizers: safetensors with parameters as JSON, never code."""

import os
from dataclasses import asdict
from typing import Any

import numpy as np

from h2q.checks import check_integer, check_number
from h2q.errors import FileFormatError, describe
from h2q.files import read_tensors, write_tensors
from h2q.quantization.base import BaseQuantizer
from h2q.quantization.drift import RowStatistics
from h2q.quantization.objectives import OBJECTIVES
from h2q.quantization.registry import info_of_class, quantizer_info, quantizer_names
from h2q.quantization.sgd import Schedule

__all__ = ["KIND", "load_quantizer", "save_quantizer"]

KIND = "quantizer"
_STATISTICS = ("mean", "ones")  # arrays of `RowStatistics`


def save_quantizer(quantizer: BaseQuantizer, path: str | os.PathLike[str]) -> None:
    """Write a fitted quantizer: see `BaseQuantizer.save`."""
    name = type(quantizer).__name__
    info = info_of_class(type(quantizer))
    if info is None:
        known = ", ".join(quantizer_info(known).kind.__name__ for known in quantizer_names(rotations_only=False))
        raise TypeError(
            f"only registered quantizers can be saved ({known}); got a {name}: register it with "
            "@h2q.quantization.register"
        )
    tensors = {key: getattr(quantizer, key) for key in quantizer.tensor_shapes(1, 1)}
    if "rotation_" in tensors and tensors["projection_"] is tensors["rotation_"]:
        del tensors["projection_"]
    if hasattr(quantizer, "loss_curve_"):
        tensors["loss_curve_"] = quantizer.loss_curve_
    metadata: dict[str, Any] = {
        "class": name,
        "parameters": {key: _to_json(key, value) for key, value in quantizer.get_params(deep=False).items()},
        "n_bits": quantizer.n_bits_,
        "n_features": quantizer.n_features_in_,
    }
    if hasattr(quantizer, "whitening_"):
        metadata["whitening"] = quantizer.whitening_
    if hasattr(quantizer, "feature_names_in_"):
        metadata["feature_names"] = [str(feature) for feature in quantizer.feature_names_in_]
    if hasattr(quantizer, "statistics_"):
        statistics = asdict(quantizer.statistics_)
        tensors |= {f"statistics.{key}": statistics.pop(key) for key in _STATISTICS}
        metadata["statistics"] = statistics
    write_tensors(path, KIND, tensors, metadata)


def _to_json(key: str, value: Any) -> Any:
    """Convert a parameter to JSON."""
    if key == "random_state" and isinstance(value, (np.random.Generator, np.random.RandomState)):
        return None  # its state has changed since the fit: it would not draw the same numbers again
    if isinstance(value, Schedule):
        return asdict(value)
    if callable(value):
        for name, objective in OBJECTIVES.items():
            if objective is value:
                return name
        raise TypeError(
            f"{key} is {describe(value)}, a function of your own, which a file cannot hold. The fitted quantizer does "
            f'not need it: call set_params({key}="l2"), then save'
        )
    if isinstance(value, (tuple, list, np.ndarray)):
        return [_to_json(key, item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def load_quantizer(path: str | os.PathLike[str]) -> BaseQuantizer:
    """Read a quantizer that `save` wrote: parameters and fitted attributes; codes are the same bit for bit.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    BaseQuantizer
        The fitted quantizer, of the class that was saved. A `random_state` that was a generator comes back as None.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FileFormatError
        If the file is truncated, foreign, no quantizer, or from a newer version of h2q.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> from h2q.quantization import RandomRotationQuantizer
    >>> X = np.random.default_rng(0).standard_normal((50, 8))
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "random.safetensors"
    >>> RandomRotationQuantizer(random_state=0).fit(X).save(path)
    >>> load_quantizer(path)
    RandomRotationQuantizer(random_state=0)
    """
    stored = read_tensors(path, KIND)
    metadata, tensors = stored.metadata, stored.tensors
    foreign = f"{path} holds no quantizer that this version of h2q can read"
    try:
        info = info_of_class(metadata["class"])
        if info is None:
            raise ValueError(f"there is no quantizer {metadata['class']!r}")
        # JSON has no tuples.
        parameters: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in metadata["parameters"].items()
        }
        k, d = int(metadata["n_bits"]), int(metadata["n_features"])
        if isinstance(parameters.get("schedule"), dict):
            parameters["schedule"] = Schedule(**parameters["schedule"])
        quantizer: BaseQuantizer = info.kind(**parameters)
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(f"{foreign}: {type(error).__name__}: {error}") from error
    if "rotation_" in tensors:
        tensors.setdefault("projection_", tensors["rotation_"])
    for name, shape in quantizer.tensor_shapes(k, d).items():
        tensor = tensors.get(name)
        if tensor is None or tensor.shape != shape or tensor.dtype != np.float32 or not np.isfinite(tensor).all():
            stored_as = "missing" if tensor is None else describe(tensor)
            raise FileFormatError(f"{foreign}: {name} should be finite float32 of shape {shape}, and is {stored_as}")
        setattr(quantizer, name, tensor)
    quantizer.n_bits_, quantizer.n_features_in_ = k, d
    if "loss_curve_" in tensors:
        quantizer.loss_curve_ = tensors["loss_curve_"]
    if "whitening" in metadata:
        quantizer.whitening_ = metadata["whitening"]
    if "feature_names" in metadata:
        quantizer.feature_names_in_ = np.array(metadata["feature_names"], dtype=object)
    if "statistics" in metadata:  # older files have none
        try:
            quantizer.statistics_ = _read_statistics(metadata["statistics"], tensors, k, d)
        except (KeyError, TypeError, ValueError) as error:
            raise FileFormatError(f"{foreign}: its statistics of the fitted rows are damaged: {error!r}") from error
    return quantizer


def _read_statistics(numbers: Any, tensors: Any, k: int, d: int) -> RowStatistics:
    """Return the statistics that a file holds."""
    mean, ones = (tensors[f"statistics.{key}"] for key in _STATISTICS)
    if mean.shape != (d,) or ones.shape != (k,) or not (np.isfinite(mean).all() and np.isfinite(ones).all()):
        raise ValueError(f"mean and ones are {describe(mean)} and {describe(ones)}")
    n_fitted = numbers["n_fitted"]
    return RowStatistics(
        check_integer(numbers["n_rows"], "n_rows", low=1),
        mean,
        check_number(numbers["variance"], "variance", low=0),
        ones,
        check_number(numbers["error"], "error"),
        None if n_fitted is None else check_integer(n_fitted, "n_fitted", low=1),
    )
