"""Codes as 64-bit words, and the machine instructions that count and find their set bits."""

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic
from numpy.typing import NDArray

__all__ = ["as_words", "lowest_bit", "popcount", "word_masks"]


def _popcount(typing_context: Any, word: Any) -> Any:
    """Count the bits set in a uint64; LLVM turns loops over it into vector instructions."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function = builder.module.declare_intrinsic("llvm.ctpop", [ir.IntType(64)])
        return builder.call(function, arguments)

    return numba.types.int64(numba.types.uint64), generate


def _lowest_bit(typing_context: Any, word: Any) -> Any:
    """Return the number of the lowest bit set in a uint64 that is not 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return numba.types.int64(numba.types.uint64), generate


popcount: Any = intrinsic(_popcount)
lowest_bit: Any = intrinsic(_lowest_bit)


def as_words(codes: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """View packed codes as 64-bit words, with zero bytes behind them where they do not fill the last word.

    Parameters
    ----------
    codes : ndarray of uint8, shape (n, bytes)
        Packed codes.

    Returns
    -------
    ndarray of uint64, shape (n, ceil(bytes / 8))
        A view where the bytes are a multiple of 8, otherwise a copy.

    Examples
    --------
    >>> as_words(np.array([[1, 0, 0]], dtype=np.uint8))
    array([[1]], dtype=uint64)
    """
    n, width = codes.shape
    if width % 8 == 0 and codes.flags.c_contiguous and codes.ctypes.data % 8 == 0:
        return codes.view(np.uint64)
    words = np.zeros((n, (width + 7) // 8), np.uint64)
    words.view(np.uint8)[:, :width] = codes
    return words


def word_masks(n_bits: int) -> NDArray[np.uint64]:
    """Return the mask of the first bits of a code in each of its words, with zeros up to a multiple of eight words.

    >>> [hex(mask) for mask in word_masks(68)[:3]]
    ['0xffffffffffffffff', '0xf0', '0x0']
    """
    bits = np.arange(-(-n_bits // 512) * 512) < n_bits
    return as_words(np.packbits(bits)[None]).ravel()
