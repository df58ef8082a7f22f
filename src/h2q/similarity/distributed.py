"""Pairwise losses under data-parallel training: every process sees the pairs of all processes.

Each process gathers the embeddings and labels of all and computes the loss of the joint batch. In the backward pass the
gradients of all processes for one process's rows are added up; DistributedDataParallel then averages over processes.
With W processes that is (1 / W) sum_r W dL/dZ_r dZ_r/dw = dL/dw, the gradient of one process with the joint batch;
parameters of the loss itself (proxies) have the same gradient in every process, so the average is that gradient.
"""

from typing import Any

import torch
from torch import Tensor
from torch.distributed import ReduceOp

__all__ = ["gather", "process_count", "process_rank"]


def _active() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def process_count() -> int:
    """Return the number of processes that train together; 1 outside of data-parallel training.

    >>> process_count()
    1
    """
    return torch.distributed.get_world_size() if _active() else 1


def process_rank() -> int:
    """Return the rank of this process, from 0.

    >>> process_rank()
    0
    """
    return torch.distributed.get_rank() if _active() else 0


class _GatherRows(torch.autograd.Function):
    """Stack the rows of all processes; the gradient is the sum of all processes' gradients for this process's rows."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        parts = [torch.empty_like(rows) for _ in range(process_count())]
        torch.distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        torch.distributed.all_reduce(total, op=ReduceOp.SUM)
        return total.chunk(process_count())[process_rank()]


def gather(rows: Tensor) -> Tensor:
    """Return the rows of all processes, in the order of their ranks; gradients flow back through it.

    Parameters
    ----------
    rows : Tensor of shape (n, ...)
        Rows of this process; n is the same in every process.

    Returns
    -------
    Tensor of shape (W n, ...)
        `rows` itself outside of data-parallel training.

    Examples
    --------
    >>> gather(torch.tensor([[1.0, 2.0]]))
    tensor([[1., 2.]])
    """
    if process_count() == 1:
        return rows
    if not rows.is_floating_point():
        parts = [torch.empty_like(rows) for _ in range(process_count())]
        torch.distributed.all_gather(parts, rows.contiguous())
        return torch.cat(parts)
    gathered: Tensor = _GatherRows.apply(rows)  # type: ignore[no-untyped-call]
    return gathered
