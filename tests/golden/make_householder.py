"""Write householder.json: matrices and gradients by explicit reflections and torch's automatic differentiation.

    python tests/golden/make_householder.py

Nothing of h2q is imported here.
"""

import json
from pathlib import Path

import torch


def rotation(V: torch.Tensor) -> torch.Tensor:
    """Multiply the reflections one after another."""
    k = V.shape[0]
    U = torch.eye(k, dtype=V.dtype)
    for j in range(V.shape[1]):
        v = V[:, j] / V[:, j].norm()
        U = U @ (torch.eye(k, dtype=V.dtype) - 2 * torch.outer(v, v))
    return U


def main() -> None:
    """Draw cases and write them."""
    torch.manual_seed(0)
    cases = []
    for k, m in [(1, 1), (3, 2), (4, 4), (7, 5)]:
        V = torch.randn(k, m, dtype=torch.float64, requires_grad=True)
        A = torch.randn(k, k, dtype=torch.float64)
        U = rotation(V)
        (U * A).sum().backward()
        cases.append({"V": V.tolist(), "A": A.tolist(), "U": U.tolist(), "gradient": V.grad.tolist()})
    Path(__file__).with_name("householder.json").write_text(json.dumps(cases))


if __name__ == "__main__":
    main()
