"""Draw the figure of docs/concepts.md."""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from h2q.plots import plot_rotation
from h2q.quantization import HouseholderQuantizer, SignQuantizer

digits = np.asarray(load_digits().data, np.float32)
before = SignQuantizer(16).fit(digits).transform(digits)
after = HouseholderQuantizer(16, random_state=0).fit(digits).transform(digits)
axes = plot_rotation(before, after)
axes[0].figure.savefig(Path(__file__).parents[1] / "docs" / "assets" / "rotation.png", dpi=90)
