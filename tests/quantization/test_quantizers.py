import re
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from h2q.errors import FileFormatError
from h2q.files import read_tensors, write_tensors
from h2q.quantization import (
    OBJECTIVES,
    HouseholderQuantizer,
    ITQQuantizer,
    RandomRotationQuantizer,
    Schedule,
    SignQuantizer,
    load_quantizer,
    pack_bits,
)

QUANTIZERS = [HouseholderQuantizer, ITQQuantizer, RandomRotationQuantizer, SignQuantizer]


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    """Sums of neighbors and noise, so that no column is constant."""
    X = load_digits().data
    return (X + np.roll(X, 1, axis=1) + np.random.default_rng(0).normal(size=X.shape)).astype(np.float32)


def make(kind, *args, **options):
    """Make a quantizer whose descent is short, for tests that are not about how good it is."""
    if kind is HouseholderQuantizer:
        options = {"schedule": Schedule(rounds=4, steps=10, batch_size=32, rate=0.3, polish_iterations=4)} | options
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


@pytest.mark.parametrize("kind", QUANTIZERS)
def test_rotations_are_orthogonal(kind, digits):
    rotation = make(kind, 40).fit(digits).rotation_.astype(np.float64)
    assert np.abs(rotation.T @ rotation - np.eye(40)).max() < 1e-5


def test_learned_rotations_lose_less(digits):
    errors = {kind: kind(32, random_state=0).fit(digits).quantization_error(digits) for kind in QUANTIZERS}
    assert errors[HouseholderQuantizer] < errors[ITQQuantizer] < errors[RandomRotationQuantizer]
    assert errors[ITQQuantizer] < errors[SignQuantizer]


def test_quantization_error_is_that_of_the_formula(digits):
    quantizer = make(ITQQuantizer, 24).fit(digits)
    z = quantizer.transform(digits).astype(np.float64)
    z *= np.sqrt(24) / np.linalg.norm(z, axis=1, keepdims=True)
    expected = np.mean((z - np.where(z > 0, 1, -1)) ** 2)
    assert quantizer.quantization_error(digits) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", QUANTIZERS)
def test_without_centering_the_scale_of_a_row_changes_neither_fit_nor_codes(kind, digits):
    generator = np.random.default_rng(0)
    quantizer = make(kind, 24, center=False, whitening=0.3).fit(digits)
    assert not quantizer.mean_.any()
    # Powers of two scale without rounding, which a descent would carry on into another optimum.
    powers = 2.0 ** generator.integers(-20, 20, (len(digits), 1)).astype(np.float32)
    scaled = make(kind, 24, center=False, whitening=0.3).fit(digits * powers)
    assert scaled.projection_.tobytes() == quantizer.projection_.tobytes()
    np.testing.assert_array_equal(quantizer.encode(digits * powers), quantizer.encode(digits))
    any_scale = 10.0 ** generator.uniform(-2, 2, (len(digits), 1)).astype(np.float32)
    differing = np.unpackbits(quantizer.encode(digits) ^ quantizer.encode(digits * any_scale)).mean()
    assert differing < 1e-4  # a coordinate within rounding of zero may fall on either side


@pytest.mark.parametrize("kind", [RandomRotationQuantizer, SignQuantizer])
def test_without_centering_any_scale_gives_the_same_components(kind, digits):
    scale = 10.0 ** np.random.default_rng(0).uniform(-2, 2, (len(digits), 1)).astype(np.float32)
    first, second = (make(kind, 12, center=False, whitening=0.3).fit(X).projection_ for X in (digits, digits * scale))
    np.testing.assert_allclose(first, second, atol=1e-3)


def test_whitening_1_gives_unit_variance(digits):
    z = SignQuantizer(16, whitening=1.0).fit(digits).transform(digits)
    np.testing.assert_allclose(z.var(axis=0), 1, rtol=1e-3)


@pytest.mark.parametrize("kind", QUANTIZERS)
@pytest.mark.parametrize("options", [{}, {"n_bits": 32}, {"n_bits": 32, "whitening": 0.7}, {"center": False}])
def test_decoding_comes_closer_than_the_mean(kind, options, digits):
    quantizer = make(kind, **options).fit(digits)
    decoded = quantizer.decode(quantizer.encode(digits))
    target = digits if quantizer.center else digits / np.linalg.norm(digits, axis=1, keepdims=True)
    assert decoded.shape == digits.shape
    residual = np.sum((decoded - target) ** 2)
    assert residual < 0.8 * np.sum((target - quantizer.mean_) ** 2)


def test_the_scale_of_decoding_is_the_least_squares_one(digits):
    quantizer = make(RandomRotationQuantizer).fit(digits)
    z = quantizer.transform(digits)
    scales = np.linalg.norm(quantizer.reconstruction_, axis=1)
    for j in (0, 30, 63):
        best = np.linalg.lstsq(np.sign(z[:, [j]]), z[:, j], rcond=None)[0][0]
        assert scales[j] == pytest.approx(best, rel=1e-3)


def test_a_large_mean_does_not_drown_the_codes(digits):
    quantizer = make(RandomRotationQuantizer).fit(digits)
    shifted = make(RandomRotationQuantizer).fit(digits + 1000)
    differing = np.unpackbits(quantizer.encode(digits) ^ shifted.encode(digits + 1000)).mean()
    assert differing < 2e-3


@pytest.mark.parametrize("kind", QUANTIZERS)
def test_inputs_of_every_sort_give_the_same_codes(kind, digits, tmp_path):
    X = digits[:600]
    quantizer = make(kind, 20).fit(X)
    expected, before = quantizer.encode(X), X.copy()
    np.save(tmp_path / "x.npy", X)
    inputs = [
        X.astype(np.float64),
        np.asfortranarray(X),
        X.tolist(),
        torch.tensor(X),
        np.load(tmp_path / "x.npy", mmap_mode="r"),
        np.load(tmp_path / "x.npy", mmap_mode="r+"),
        [X[:100], X[100:]],
    ]
    for given in inputs:
        assert make(kind, 20).fit(given).rotation_.tobytes() == quantizer.rotation_.tobytes()
        np.testing.assert_array_equal(quantizer.encode(given), expected)
    assert make(kind, 20).fit(batch for batch in (X[:7], X[7:])).rotation_.tobytes() == quantizer.rotation_.tobytes()
    np.testing.assert_array_equal(quantizer.encode(batch for batch in (X[:7], X[7:])), expected)
    np.testing.assert_array_equal(X, before)
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), before)


def test_many_chunks_give_what_one_gives():
    X = np.random.default_rng(0).standard_normal((20_000, 96)).astype(np.float32)
    quantizer = make(RandomRotationQuantizer).fit(X)
    z = (X - quantizer.mean_) @ quantizer.rotation_
    np.testing.assert_allclose(quantizer.transform(X), z, atol=1e-4)
    assert np.unpackbits(quantizer.encode(X) ^ pack_bits(z)).mean() < 1e-5


def test_large_input_is_sampled(digits):
    quantizer = make(ITQQuantizer, 8, max_samples=500).fit(digits)
    batches = make(ITQQuantizer, 8, max_samples=500).fit(iter([digits[:900], digits[900:]]))
    full = make(ITQQuantizer, 8).fit(digits)
    assert not np.array_equal(quantizer.mean_, full.mean_)
    for fitted in (quantizer, batches):
        assert fitted.quantization_error(digits) < 1.1 * full.quantization_error(digits)


@pytest.mark.parametrize("kind", QUANTIZERS)
def test_the_same_seed_gives_the_same_bytes(kind, digits, tmp_path):
    for name in "ab":
        make(kind, 12).fit(digits).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("make_state", [lambda: 3, lambda: np.random.RandomState(3), lambda: np.random.default_rng(3)])
def test_equal_random_states_of_every_sort_give_equal_rotations(make_state, digits, tmp_path):
    state = make_state()
    first, again = (RandomRotationQuantizer(8, random_state=s).fit(digits) for s in (state, make_state()))
    np.testing.assert_array_equal(first.rotation_, again.rotation_)
    second = RandomRotationQuantizer(8, random_state=state).fit(digits)
    # A generator moves on; a seed stays.
    assert np.array_equal(first.rotation_, second.rotation_) == isinstance(state, int)
    first.save(tmp_path / "q")
    assert load_quantizer(tmp_path / "q").random_state == (3 if isinstance(state, int) else None)


def test_without_a_random_state_every_fit_differs(digits):
    first, second = (RandomRotationQuantizer(8).fit(digits).rotation_ for _ in range(2))
    assert not np.array_equal(first, second)


def test_an_epoch_of_the_papers_schedule_is_of_the_rows_not_held_out():
    X, sizes = np.random.default_rng(0).standard_normal((1100, 3)), []

    def count(Z):
        sizes.append(len(Z))
        return OBJECTIVES["l2"](Z)

    quantizer = HouseholderQuantizer(objective=count, schedule="constant", random_state=0).fit(X)
    assert len(quantizer.loss_curve_) == 300
    assert sizes.count(128) == 300 * (990 // 128)
    assert set(sizes) == {128, 110}


def test_the_papers_schedule_by_name(digits):
    quantizer = HouseholderQuantizer(8, center=False, schedule="constant", random_state=0).fit(digits)
    assert 1 <= len(quantizer.loss_curve_) <= 300
    assert quantizer.quantization_error(digits) < SignQuantizer(8, center=False).fit(digits).quantization_error(digits)


def test_more_starts_never_end_higher(digits):
    short = Schedule(rounds=4, steps=5, batch_size=16, rate=1.0)
    errors = [
        HouseholderQuantizer(16, schedule=short, n_init=n, random_state=0).fit(digits).quantization_error(digits)
        for n in (None, 1, 2, 6)
    ]
    assert errors[0] == errors[1] >= errors[2] >= errors[3]
    assert errors[3] < errors[0]


def test_pipeline_clone_and_pandas_output(digits):
    pipeline = make_pipeline(StandardScaler(), clone(make(SignQuantizer, 4))).set_output(transform="default")
    assert pipeline.fit_transform(digits).shape == (len(digits), 4)
    assert list(pipeline.get_feature_names_out()) == [f"signquantizer{i}" for i in range(4)]


def test_an_interrupted_fit_leaves_the_quantizer_as_it_was(digits):
    def interrupt(Z):
        raise KeyboardInterrupt

    quantizer = make(HouseholderQuantizer, 8).fit(digits)
    before = quantizer.encode(digits)
    quantizer.set_params(objective=interrupt)
    with pytest.raises(KeyboardInterrupt):
        quantizer.fit(digits[:, :32])
    np.testing.assert_array_equal(quantizer.encode(digits), before)


@pytest.mark.parametrize("kind", QUANTIZERS)
@pytest.mark.parametrize(
    ("X", "options", "error", "message"),
    [
        (np.full((9, 3), np.nan), {}, ValueError, "X contains NaN in 9 of 9 rows"),
        (np.full((9, 3), np.inf), {}, ValueError, "X contains infinity"),
        (np.eye(9)[:, :3], {"center": False}, ValueError, "X has 6 all-zero row.*remove these rows"),
        (np.empty((0, 3)), {}, ValueError, "X is empty"),
        (np.empty((3, 0)), {}, ValueError, "X has no columns"),
        (np.ones(3), {}, ValueError, "X must be 2-D"),
        (np.ones((9, 3), np.uint8), {}, TypeError, "looks like codes or bits"),
        (np.array([["a", "b"]], object), {}, TypeError, "X must hold numbers"),
        (iter([]), {}, ValueError, "X yielded no rows"),
        (np.eye(9), {"n_bits": 10}, ValueError, "n_bits must be at most the number of features, 9; got 10"),
        (np.eye(9), {"n_bits": 0}, ValueError, "n_bits must be from 1 to 65536; got 0"),
        (np.eye(9), {"n_bits": 4.0}, TypeError, "n_bits must be a whole number"),
        (np.eye(9), {"whitening": 1.5}, ValueError, "whitening must be from 0"),
        (np.eye(9), {"whitening": "yes"}, TypeError, "whitening must be a number"),
        (np.eye(9), {"center": "yes"}, TypeError, "center must be True or False"),
        (np.eye(9), {"max_samples": 0}, ValueError, "max_samples must be at least 1"),
    ],
)
def test_bad_input_is_named(kind, X, options, error, message):
    with pytest.raises(error, match=message):
        make(kind, **options).fit(X)


def test_bad_options_are_named(digits):
    for quantizer, error, message in [
        (HouseholderQuantizer(objective="l3"), ValueError, r"objective must be one of \['bit_variance', .*'l1', 'l2'"),
        (HouseholderQuantizer(schedule="fast"), ValueError, r"schedule must be one of \['annealed', 'constant'\]"),
        (HouseholderQuantizer(n_init=0), ValueError, "n_init must be at least 1"),
        (ITQQuantizer(n_init=0), ValueError, "n_init must be at least 1"),
        (ITQQuantizer(max_iter=0), ValueError, "max_iter must be at least 1"),
        (ITQQuantizer(tol=-1), ValueError, "tol must not be negative"),
        (SignQuantizer(random_state="a"), TypeError, "random_state must be"),
    ]:
        with pytest.raises(error, match=message):
            quantizer.fit(digits)


@pytest.mark.parametrize("kind", QUANTIZERS)
def test_bad_input_to_a_fitted_quantizer_is_named(kind, digits):
    quantizer = make(kind, 8).fit(digits)
    late = np.tile(digits, (20, 1))
    late[30_000, 3] = np.nan
    for method in (quantizer.encode, quantizer.transform, quantizer.quantization_error):
        with pytest.raises(ValueError, match=f"X has 32 features, but {kind.__name__} is expecting 64 features"):
            method(digits[:, :32])
        with pytest.raises(ValueError, match=r"X\[\d+:\d+\] contains NaN in 1 of"):
            method(late)
        with pytest.raises(ValueError, match="X is empty"):
            method(digits[:0])
    with pytest.raises(ValueError, match=r"\(n, 1\)"):
        quantizer.decode(np.zeros((1, 2), np.uint8))
    with pytest.raises(NotFittedError):
        kind().encode(digits)
    with pytest.raises(NotFittedError):
        kind().save("nowhere")


@pytest.mark.parametrize("kind", QUANTIZERS)
@pytest.mark.parametrize(
    ("X", "options", "warning"),
    [
        (np.random.default_rng(0).standard_normal((5, 16)), {}, "X has 5 rows, fewer than the 16 bits"),
        (np.random.default_rng(0).standard_normal((5, 64)), {"n_bits": 16}, "X has 5 rows, fewer than the 16 bits"),
        (np.tile([[1.0, 2.0, -3.0]], (50, 1)), {}, "all rows of X are the same"),
        (np.tile([[1.0, 2.0, -3.0]], (50, 1)), {"n_bits": 2}, "all rows of X are the same"),
        (np.eye(40)[:, :8] + [0, 0, 0, 0, 0, 0, 0, 9], {"n_bits": 4}, None),
        (np.c_[np.random.default_rng(0).standard_normal((50, 5)), np.ones(50)], {}, r"X has 1 constant column\(s\)"),
        (
            np.tile(np.random.default_rng(0).standard_normal((50, 3)), 4),
            {"n_bits": 6},
            "X varies in 3 directions, fewer",
        ),
        (np.tile(np.random.default_rng(0).standard_normal((3, 8)), (30, 1)), {}, None),
        (np.arange(60).reshape(20, 3) % 7 - 3, {}, "X holds integers"),
        (np.r_[np.random.default_rng(0).standard_normal((50, 5)), np.zeros((1, 5))], {}, r"X has 1 all-zero row\(s\)"),
    ],
)
def test_odd_input_works_with_a_warning_that_says_why(kind, X, options, warning):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        quantizer = make(kind, **options).fit(X)
        codes, decoded = quantizer.encode(X), quantizer.decode(quantizer.encode(X))
    assert len(codes) == len(X)
    assert np.isfinite(decoded).all()
    assert np.isfinite(quantizer.rotation_).all()
    if warning is None:
        assert not caught
    else:
        assert any(re.search(warning, str(each.message)) for each in caught), [str(each.message) for each in caught]


def test_a_truncated_foreign_or_newer_file_is_refused(digits, tmp_path):
    path = tmp_path / "q.safetensors"
    make(SignQuantizer, 8).fit(digits).save(path)
    whole = path.read_bytes()
    for length in (0, 5, 100, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(FileFormatError, match=r"q\.safetensors"):
            load_quantizer(path)
    path.write_bytes(whole.replace(b"SignQuantizer", b"EvilQuantizer"))
    with pytest.raises(FileFormatError, match="damaged: its header does not match its checksum"):
        load_quantizer(path)
    path.write_bytes(whole)
    stored = read_tensors(path)
    write_tensors(path, "quantizer", stored.tensors, stored.metadata | {"class": "EvilQuantizer"})
    with pytest.raises(FileFormatError, match="no quantizer that this version of h2q"):
        load_quantizer(path)
    write_tensors(path, "index", {"x": np.ones(2)}, {})
    with pytest.raises(FileFormatError, match="of the kind 'index', not 'quantizer'"):
        load_quantizer(path)
    tensors = {"mean_": np.zeros(2, np.float32), "rotation_": np.eye(3, dtype=np.float32)}
    write_tensors(
        path, "quantizer", tensors, {"class": "SignQuantizer", "parameters": {}, "n_bits": 2, "n_features": 2}
    )
    with pytest.raises(FileFormatError, match=r"projection_ should be finite float32 of shape \(2, 2\)"):
        load_quantizer(path)
    with pytest.raises(FileNotFoundError):
        load_quantizer(tmp_path / "none")


def test_a_function_of_your_own_is_not_saved_but_what_it_learned_is(digits, tmp_path):
    def own(Z):
        return OBJECTIVES["l1"](Z)

    quantizer = HouseholderQuantizer(8, objective=own, random_state=0).fit(digits)
    with pytest.raises(TypeError, match=r'objective is .*own.*set_params\(objective="l2"\), then save'):
        quantizer.save(tmp_path / "q")
    assert not (tmp_path / "q").exists()
    quantizer.set_params(objective="l2").save(tmp_path / "q")
    np.testing.assert_array_equal(load_quantizer(tmp_path / "q").encode(digits), quantizer.encode(digits))


def test_a_registered_function_and_a_schedule_come_back(digits, tmp_path):
    schedule = Schedule(rounds=2, steps=3, batch_size=64, rate=0.5)
    quantizer = HouseholderQuantizer(8, objective=OBJECTIVES["min_entry"], schedule=schedule).fit(digits)
    quantizer.save(tmp_path / "q")
    loaded = load_quantizer(tmp_path / "q")
    assert loaded.objective == "min_entry"
    assert loaded.schedule == schedule
    np.testing.assert_array_equal(loaded.loss_curve_, quantizer.loss_curve_)
