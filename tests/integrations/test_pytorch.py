import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

import h2q
from h2q.integrations.pytorch import fold_rotation, rotation_layer


@pytest.mark.parametrize("options", [{}, {"center": False}, {"n_bits": 24, "whitening": 0.5}])
def test_a_layer_rotates_as_the_quantizer(options: dict[str, float]) -> None:
    digits = np.asarray(load_digits().data, np.float32)
    digits = digits[:, digits.std(axis=0) > 0]
    quantizer = h2q.HouseholderQuantizer(random_state=0, **options).fit(digits[:1000])
    layer = rotation_layer(quantizer)
    assert layer.weight.requires_grad
    rotated = layer(torch.from_numpy(digits[1000:])).detach()
    np.testing.assert_allclose(
        rotated.numpy(), quantizer.transform(digits[1000:]), atol=1e-4 * float(rotated.abs().max())
    )


def test_a_network_ends_in_bits_at_no_cost() -> None:
    torch.manual_seed(0)
    digits = torch.from_numpy(np.asarray(load_digits().data, np.float32))
    network = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 16))
    with torch.no_grad():
        embeddings = network(digits).numpy()
        quantizer = h2q.HouseholderQuantizer(random_state=0).fit(embeddings)
        network[2] = fold_rotation(network[2], quantizer)
        codes = h2q.pack_bits(network(digits))
    assert (codes != quantizer.encode(embeddings)).mean() < 1e-3  # entries within rounding of zero


def test_a_layer_of_another_width_is_refused() -> None:
    quantizer = h2q.SignQuantizer().fit(np.asarray(load_digits().data)[:, 1:9])
    with pytest.raises(ValueError, match="takes embeddings of 8 dimensions, but the layer gives 10"):
        fold_rotation(torch.nn.Linear(3, 10), quantizer)
