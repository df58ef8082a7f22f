import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from h2q.quantization import (
    HouseholderQuantizer,
    SignQuantizer,
    make_quantizer,
    quantizer_info,
    quantizer_names,
    register,
)

NEW_QUANTIZER = '''
"""A quantizer that is one new file."""

import numpy as np

from h2q.quantization import SignQuantizer, register


@register("flip", label="flipped signs")
class FlipQuantizer(SignQuantizer):
    """Signs, inverted."""

    def _find_rotation(self, Z, generator):
        return -np.eye(Z.shape[1], dtype=np.float32)
'''

USE_IT = """
import sys

import h2q.quantization

h2q.quantization.__path__.append(sys.argv[1])

import numpy as np
from h2q.cli import build_app
from h2q.comparison import EmbeddedFolds, compare_quantizers

assert h2q.quantization.quantizer_names()[-1] == "flip"
X = np.random.default_rng(0).standard_normal((60, 8)).astype(np.float32)
np.save("x.npy", X)
scores = compare_quantizers(EmbeddedFolds(X[10:], X[:10], X[10:]), [4])
assert "flipped signs" in [score.name for score in scores]
build_app()(["fit", "x.npy", "-o", "q.safetensors", "--method", "flip", "--held-out", "0"], standalone_mode=False)
loaded = h2q.quantization.load_quantizer("q.safetensors")
assert type(loaded).__name__ == "FlipQuantizer"
np.testing.assert_array_equal(loaded.encode(X), ~h2q.quantization.SignQuantizer().fit(X).encode(X))
"""


def test_names_labels_and_classes():
    assert quantizer_names()[:4] == ("sign", "random", "itq", "h2q")
    assert [quantizer_info(name).label for name in quantizer_names()[:4]] == ["sign", "random rotation", "ITQ", "H²Q"]
    assert quantizer_info("h2q").kind is HouseholderQuantizer
    assert quantizer_info("h2q").options[:3] == ("center", "whitening", "objective")


def test_make_quantizer_passes_the_options_on():
    assert make_quantizer("h2q", 8, objective="l1").get_params()["objective"] == "l1"
    assert make_quantizer("sign").n_bits is None


def test_an_unknown_name_or_option_is_named():
    with pytest.raises(ValueError, match=r"must be one of sign, random, itq, h2q.*; got 'pca' \(str\)"):
        make_quantizer("pca")
    with pytest.raises(TypeError, match="quantizer 'random' has no option n_init; it has center, whitening"):
        make_quantizer("random", n_init=3)


def test_a_name_is_used_once():
    with pytest.raises(ValueError, match="name must be unused; 'sign' is SignQuantizer"):

        @register("sign", label="another")
        class Another(SignQuantizer):
            pass


def test_a_new_quantizer_is_one_new_file(tmp_path: Path):
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "flip.py").write_text(NEW_QUANTIZER)
    done = subprocess.run(
        [sys.executable, "-c", USE_IT, str(folder)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_class_that_is_not_registered_cannot_be_saved(tmp_path: Path):
    class Mine(SignQuantizer):
        pass

    quantizer = Mine().fit(np.eye(8) - 0.5)
    with pytest.raises(TypeError, match="got a Mine: register it with"):
        quantizer.save(tmp_path / "q.safetensors")
