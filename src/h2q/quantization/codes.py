"""Pack signs into bits and back, in the layout of FAISS binary indexes, Milvus BINARY_VECTOR and ``numpy.packbits``."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from h2q.checks import as_codes, check_n_bits
from h2q.errors import describe

__all__ = ["pack_bits", "unpack_bits"]


def pack_bits(z: Any) -> NDArray[np.uint8]:
    """Pack the signs of rotated embeddings, or bits: bit 1 where z > 0, most significant bit first.

    Parameters
    ----------
    z : array-like of shape (n, n_bits)
        Floats or signed integers, of which the sign counts, or bools. 1 to 65,536 columns.

    Returns
    -------
    ndarray of uint8, shape (n, ceil(n_bits / 8))
        Codes; the padding bits of the last byte are 0.

    Raises
    ------
    TypeError
        If `z` is uint8 (packed codes already, or bits that should be bool), complex, or not numeric.
    ValueError
        If `z` is not two-dimensional, has no columns or over 65,536, or holds NaN.

    Examples
    --------
    >>> pack_bits([[0.5, -0.1, 0.0, 2.0]])
    array([[144]], dtype=uint8)
    """
    if hasattr(z, "detach"):
        z = z.detach().cpu().numpy()
    array = np.asarray(z)
    if array.dtype == np.uint8:
        raise TypeError(
            f"z must be signs or bools; got {describe(array)}, which may be packed codes already: pass bits as bool"
        )
    if array.dtype.kind not in "bfi":
        raise TypeError(f"z must be real numbers or bools; got {describe(array)}")
    if array.ndim != 2:
        raise ValueError(f"z must be 2-D, one row an item; got shape {array.shape}")
    check_n_bits(array.shape[1], "the number of columns of z")
    if array.dtype.kind == "b":
        return np.packbits(array, axis=1)
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise ValueError("z contains NaN, which has no sign; remove or repair these rows")
    return np.packbits(array > 0, axis=1)


def unpack_bits(codes: Any, n_bits: int) -> NDArray[np.bool_]:
    """Return the bits of packed codes.

    Parameters
    ----------
    codes : array-like of uint8, shape (n, ceil(n_bits / 8))
        Packed codes.
    n_bits : int
        The number of bits of a code, 1 to 65,536.

    Returns
    -------
    ndarray of bool, shape (n, n_bits)
        The bits; ``2.0 * bits - 1`` gives signs.

    Raises
    ------
    TypeError
        If `codes` is not uint8, or `n_bits` is not a whole number.
    ValueError
        If the width does not fit `n_bits`, or a padding bit is set.

    Examples
    --------
    >>> import numpy as np
    >>> unpack_bits(np.array([[144]], dtype=np.uint8), 4)
    array([[ True, False, False,  True]])
    """
    n_bits = check_n_bits(n_bits)
    return np.unpackbits(as_codes(codes, n_bits), axis=1, count=n_bits).view(np.bool_)
