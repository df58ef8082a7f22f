"""A fifth objective: one function of the rotated embeddings, with its gradient.

    python examples/own_objective.py

This one is log cosh(|z| - 1), the quantization penalty of DHN, here as what a rotation is learned for.
"""

import numpy as np
from sklearn.datasets import load_digits

import h2q


def log_cosh(Z: np.ndarray) -> tuple[float, np.ndarray]:
    """Return mean log cosh(|z| - 1) and its gradient; rows of Z, (n, n_bits), have norm sqrt(n_bits)."""
    gap = np.abs(Z) - 1
    return float(np.log(np.cosh(gap)).mean()), np.sign(Z) * np.tanh(gap) / Z.size


def main(n_bits: int = 32) -> dict[str, float]:
    """Return the value of the objective after a random rotation and after the one that was learned for it."""
    pixels = load_digits().data.astype(np.float32)
    embeddings = pixels[:, pixels.std(axis=0) > 0]
    values = {}
    for name, quantizer in (
        ("random rotation", h2q.RandomRotationQuantizer(n_bits, random_state=0)),
        ("learned", h2q.HouseholderQuantizer(n_bits, objective=log_cosh, random_state=0)),
    ):
        rotated = quantizer.fit_transform(embeddings)
        rotated *= np.sqrt(n_bits) / np.linalg.norm(rotated, axis=1, keepdims=True)
        values[name], _ = log_cosh(rotated)
        print(f"{name}: {values[name]:.4f}")
    return values


if __name__ == "__main__":
    main()
