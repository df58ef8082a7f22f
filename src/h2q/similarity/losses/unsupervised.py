"""Base class of the losses for images without labels: modules ``loss(embeddings, context)`` that return a scalar."""

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from h2q.errors import describe

__all__ = ["UnsupervisedLoss"]


class UnsupervisedLoss(nn.Module):
    """Base of the losses without labels: checks the batch, computes in full precision; a subclass has the formula.

    Attributes
    ----------
    context : {"view", "features"}
        What the loss compares the embeddings with: the embeddings (n, k) of another view of the same images, in the
        same order, or the features (n, d) that the network takes.

    Examples
    --------
    >>> from h2q.similarity.losses import CIBHash
    >>> loss = CIBHash()
    >>> isinstance(loss, UnsupervisedLoss), loss.context
    (True, 'view')
    """

    context: ClassVar[Literal["view", "features"]]

    def forward(self, embeddings: Tensor, context: Tensor) -> Tensor:
        """Return the loss of a batch.

        Parameters
        ----------
        embeddings : Tensor of shape (n, k)
            Real-valued, of any floating-point type.
        context : Tensor of shape (n, k) or (n, d)
            See the attribute of this name.

        Returns
        -------
        Tensor of shape ()
            0, with gradients of 0, for a batch of fewer than two items.
        """
        for name, value in (("embeddings", embeddings), (self.context, context)):
            if not isinstance(value, Tensor) or value.ndim != 2 or not value.is_floating_point():
                raise ValueError(f"{name} must be a tensor of floating-point rows; got {describe(value)}")
        if len(embeddings) != len(context) or (self.context == "view" and embeddings.shape != context.shape):
            raise ValueError(
                f"{self.context} must belong to the embeddings {tuple(embeddings.shape)}; got {describe(context)}"
            )
        with torch.autocast(embeddings.device.type, enabled=False):
            if embeddings.dtype in (torch.float16, torch.bfloat16):
                embeddings = embeddings.float()
            if len(embeddings) < 2:
                return 0 * embeddings.sum()
            return self.batch_loss(embeddings, context.to(embeddings.dtype))

    def batch_loss(self, embeddings: Tensor, context: Tensor) -> Tensor:
        """Return the loss of a checked batch of at least two items in float32 or float64."""
        raise NotImplementedError
