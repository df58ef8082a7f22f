"""Arrays of whatever users have: lists, series, tensors, masked arrays."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["as_array"]


def as_array(value: Any, name: str) -> NDArray[Any]:
    """Return an array: lists, series of rows and tensors are converted, arrays and memory maps are kept.

    Raises
    ------
    TypeError
        If the value is sparse, or a tensor without plain numbers.
    ValueError
        If rows differ in length, or entries are masked.
    """
    if hasattr(value, "toarray") and hasattr(value, "nnz"):
        raise TypeError(f"{name} is a sparse matrix; expected a dense array: pass {name}.toarray()")
    if hasattr(value, "detach"):
        return _from_tensor(value, name)
    if isinstance(value, np.ma.MaskedArray):
        n_masked = int(np.ma.getmaskarray(value).sum())
        if n_masked:
            raise ValueError(f"{name} has {n_masked} masked entries; fill them, or leave out their rows")
        value = value.data
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value
    try:
        array = np.asarray(value)
        if array.dtype == object and array.ndim == 1 and all(np.ndim(row) for row in array):
            return np.stack([as_array(row, name) for row in array])
        return array
    except ValueError as error:
        raise ValueError(f"{name} must be an array whose rows all have one length; {error}") from error


def _from_tensor(tensor: Any, name: str) -> NDArray[Any]:
    """Return a torch tensor as an array; torch itself need not be imported."""
    if getattr(tensor, "is_nested", False):
        raise TypeError(f"{name} is a nested tensor; expected a dense one: pass {name}.to_padded_tensor(0.0)")
    kind = str(getattr(tensor, "layout", "torch.strided")).removeprefix("torch.")
    if kind != "strided":
        raise TypeError(f"{name} is a sparse tensor ({kind}); expected a dense one: pass {name}.to_dense()")
    if getattr(tensor, "is_meta", False):
        raise TypeError(f"{name} is a tensor on the device 'meta', which holds no numbers; load its data first")
    if getattr(tensor, "is_quantized", False):
        raise TypeError(f"{name} is a quantized tensor ({tensor.dtype}); pass {name}.dequantize()")
    tensor = tensor.detach().cpu()
    if str(tensor.dtype) == "torch.bfloat16":
        tensor = tensor.float()
    return np.asarray(tensor.resolve_conj().resolve_neg().numpy())
