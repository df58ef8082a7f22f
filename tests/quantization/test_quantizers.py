import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.utils.estimator_checks import estimator_checks_generator

from h2q.quantization import (
    HouseholderQuantizer,
    ITQQuantizer,
    RandomRotationQuantizer,
    SignQuantizer,
    load_quantizer,
    pack_bits,
)

QUANTIZERS = [HouseholderQuantizer, ITQQuantizer, RandomRotationQuantizer, SignQuantizer]


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return load_digits().data.astype(np.float32)


def make(kind, *args, **options):
    return kind(*args, random_state=0, **options)


@pytest.mark.parametrize("kind", QUANTIZERS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_scikit_learn_accepts_the_estimator(kind):
    skipped = 0
    for estimator, check in estimator_checks_generator(make(kind)):
        try:
            check(estimator)
        except pytest.skip.Exception:
            raise
        except Exception as error:
            if type(error).__name__ != "SkipTest":
                raise
            skipped += 1
    assert skipped <= 1  # the array API check, which needs a setting of SciPy


@pytest.mark.parametrize("kind", QUANTIZERS)
@pytest.mark.parametrize("n_bits", [1, 13, 32])
def test_codes_are_the_packed_signs_of_transform(kind, n_bits, digits):
    quantizer = make(kind, n_bits).fit(digits)
    z, codes = quantizer.transform(digits), quantizer.encode(digits)
    assert z.dtype == np.float32
    assert z.shape == (len(digits), n_bits)
    assert codes.dtype == np.uint8
    np.testing.assert_array_equal(codes, pack_bits(z))


@pytest.mark.parametrize("kind", QUANTIZERS)
def test_the_file_gives_the_same_codes_and_parameters(kind, digits, tmp_path):
    quantizer = make(kind, 24, whitening=0.5).fit(digits)
    quantizer.save(tmp_path / "q.safetensors")
    loaded = load_quantizer(tmp_path / "q.safetensors")
    assert type(loaded) is kind
    assert loaded.get_params() == quantizer.get_params()
    np.testing.assert_array_equal(loaded.encode(digits), quantizer.encode(digits))
    np.testing.assert_array_equal(loaded.decode(quantizer.encode(digits)), quantizer.decode(quantizer.encode(digits)))
