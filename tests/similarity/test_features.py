import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from filelock import FileLock

from h2q.datasets import load_dataset
from h2q.similarity.backbones import load_backbone
from h2q.similarity.feature_cache import lock_features, read_features
from h2q.similarity.features import extract_features, feature_file

torch = pytest.importorskip("torch")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("H2Q_CACHE", str(tmp_path))
    return tmp_path / "features"


class Counting(torch.nn.Module):
    """Features that are easy to compute by hand: the mean of each channel; counts the images it sees."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))
        self.seen = []

    def __deepcopy__(self, memo):
        return self

    def forward(self, images):
        self.seen += [len(images)]
        return images.mean((2, 3)) * self.scale


@pytest.fixture
def counting():
    return load_backbone(Counting(), image_size=8, mean=(0.0,) * 3, std=(1.0,) * 3)


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


@pytest.fixture(scope="module")
def pixels(digits):
    return np.stack([np.asarray(image) for image in digits.images]).astype(np.float64) / 255


def seen(backbone):
    total = sum(backbone.module.seen)
    backbone.module.seen.clear()
    return total


def test_features_are_computed_once_in_order_and_mapped_from_the_cache(cache, counting, digits, pixels):
    seen(counting)
    first = extract_features(digits, counting)
    assert seen(counting) == 1797
    np.testing.assert_allclose(first, pixels.mean((1, 2)), atol=1e-6)
    assert first.dtype == np.float32
    second = extract_features(digits, counting)
    assert seen(counting) == 0
    assert np.array_equal(first, second)
    path = feature_file(digits.fingerprint, counting)
    assert [file.name for file in cache.iterdir()] == [path.name]
    second[0] = 7
    assert np.array_equal(read_features(path, first.shape), first)
    assert torch.from_numpy(second).shape == (1797, 3)


def test_an_interrupted_extraction_goes_on_where_it_stopped(cache, counting, digits, pixels):
    class Stops:
        def __len__(self):
            return 300

        def __getitem__(self, position):
            if position >= 200:
                raise KeyboardInterrupt
            return digits.images[position]

    seen(counting)
    with pytest.raises(KeyboardInterrupt):
        extract_features(Stops(), counting, cache_key="digits300", chunk_size=64)
    assert not feature_file("digits300", counting).exists()
    done = len(list(cache.glob("*.parts/*.safetensors"))) * 64
    assert done == 192
    seen(counting)
    features = extract_features(digits.images[:300], counting, cache_key="digits300", chunk_size=64)
    assert seen(counting) == 300 - done
    np.testing.assert_allclose(features, pixels[:300].mean((1, 2)), atol=1e-6)
    assert len(list(cache.iterdir())) == 1


def broken_header(content):
    """A header that claims a tensor with more rows than the file has."""
    return content.replace(b"[130,3]", b"[930,3]")


def flipped_bit(content):
    """One bit of the features themselves."""
    return content[:-5] + bytes([content[-5] ^ 1]) + content[-4:]


@pytest.mark.parametrize(
    "damage",
    [lambda content: content[:200], lambda content: b"", lambda content: b"foreign", broken_header, flipped_bit],
    ids=["truncated", "empty", "foreign", "header", "one bit"],
)
def test_a_damaged_file_is_computed_again_with_a_warning(damage, cache, counting, digits, pixels):
    expected, images = pixels[:130].mean((1, 2)), digits.images[:130]
    extract_features(images, counting, cache_key="d")
    path = feature_file("d", counting)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.warns(UserWarning, match=r"\.safetensors is damaged .*; computing it again"):
        np.testing.assert_allclose(extract_features(images, counting, cache_key="d"), expected, atol=1e-6)
    np.testing.assert_allclose(extract_features(images, counting, cache_key="d"), expected, atol=1e-6)


def test_a_file_of_another_shape_and_a_damaged_chunk_are_computed_again(cache, counting, digits, pixels):
    expected, images = pixels[:130].mean((1, 2)), digits.images[:130]
    extract_features(images[:4], counting, cache_key="d")
    with pytest.warns(UserWarning, match=r"holds \(4, 3\), not \(130, 3\); computing it again"):
        extract_features(images, counting, cache_key="d")
    path = feature_file("d", counting)
    path.unlink()
    parts = path.with_suffix(".parts")
    parts.mkdir()
    (parts / "000000064-64.safetensors").write_bytes(b"half")
    with pytest.warns(UserWarning, match=r"000000064-64\.safetensors is damaged"):
        again = extract_features(images, counting, cache_key="d", chunk_size=64)
    np.testing.assert_allclose(again, expected, atol=1e-6)


def test_a_second_extraction_waits_for_the_first_and_computes_nothing(cache, counting, digits, pixels):
    started, results = threading.Event(), []

    class Slow:
        def __len__(self):
            return 200

        def __getitem__(self, position):
            started.set()
            time.sleep(0.001)
            return digits.images[position]

    first = threading.Thread(target=lambda: extract_features(Slow(), counting, cache_key="slow"))
    first.start()
    started.wait()
    with pytest.warns(UserWarning, match="another process is computing slow-Counting.*; waiting for it"):
        results.append(extract_features(digits.images[:200], counting, cache_key="slow"))
    first.join()
    assert seen(counting) == 202  # two were seen when the width of the features was measured
    np.testing.assert_allclose(results[0], pixels[:200].mean((1, 2)), atol=1e-6)
    assert len(list(cache.iterdir())) == 1


def test_three_processes_compute_one_file(cache):
    program = (
        "import warnings; warnings.simplefilter('ignore')\n"
        "from h2q.datasets import load_dataset\n"
        "from h2q.similarity.features import extract_features\n"
        "digits = load_dataset('digits')\n"
        "print(extract_features(digits.images[:300], image_size=32, cache_key='p', chunk_size=16).sum())\n"
    )
    workers = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    outputs = [worker.communicate() for worker in workers]
    assert [errors for _, errors in outputs] == ["", "", ""]
    assert len({total for total, _ in outputs}) == 1
    assert len(list(cache.iterdir())) == 1


def test_chunks_that_were_abandoned_long_ago_are_deleted_unless_they_are_locked(cache, counting, digits):
    old, locked, recent = (cache / f"{name}.parts" for name in ("old", "locked", "recent"))
    for parts in (old, locked, recent):
        parts.mkdir(parents=True)
        (parts / "000000000-64.safetensors").write_bytes(b"x")
        (parts / "lock").touch()
        if parts != recent:
            for file in parts.iterdir():
                os.utime(file, (1, 1))
    with FileLock(locked / "lock"):
        for file in locked.iterdir():
            os.utime(file, (1, 1))
        extract_features(digits.images[:4], counting, cache_key="new")
    assert not old.exists()
    assert locked.exists()
    assert recent.exists()
    with lock_features(cache / "x.safetensors", abandoned_seconds=0.0):
        pass
    assert not recent.exists()


def test_paths_are_images_too(counting, tmp_path):
    rows = pq.read_table(Path(__file__).parents[2] / "data" / "cifar10-sample.parquet").slice(0, 3).to_pylist()
    paths = [tmp_path / f"{i}.jpg" for i in range(3)]
    for path, row in zip(paths, rows, strict=True):
        path.write_bytes(row["img"]["bytes"])
    from PIL import Image

    expected = extract_features([Image.open(path) for path in paths], counting)
    assert np.array_equal(extract_features(paths, counting), expected)
    assert np.array_equal(extract_features([str(path) for path in paths], counting), expected)
    with pytest.raises(TypeError, match=r"images must be paths, .*pass a list, \[image\]"):
        extract_features(str(paths[0]), counting)
    with pytest.raises(FileNotFoundError, match=r"gone\.png does not exist"):
        extract_features(["gone.png"], counting)


def test_chosen_positions_come_from_the_whole_cache_or_get_their_own(cache, counting, digits, pixels):
    chosen = np.array([40, 3, 1000])
    seen(counting)
    for times in (3, 0):
        features = extract_features(digits, counting, positions=chosen)
        assert seen(counting) == times
        np.testing.assert_allclose(features, pixels[chosen].mean((1, 2)), atol=1e-6)
    extract_features(digits, counting)
    seen(counting)
    other = extract_features(digits, counting, positions=np.array([5, 6]))
    assert seen(counting) == 0
    np.testing.assert_allclose(other, pixels[[5, 6]].mean((1, 2)), atol=1e-6)


def test_other_weights_sizes_and_data_sets_have_files_of_their_own(counting, digits):
    path = feature_file(digits.fingerprint, counting)
    assert path != feature_file("other", counting)
    assert path != feature_file(digits.fingerprint, load_backbone(Counting(), image_size=16))
    with torch.no_grad():
        counting.module.scale += 1
    assert path != feature_file(digits.fingerprint, load_backbone(counting.module, image_size=8))


def test_without_a_key_nothing_is_kept(cache, counting, digits):
    assert extract_features(digits.images[:5], counting).shape == (5, 3)
    assert not cache.exists()


def test_features_do_not_depend_on_threads_and_hardly_on_batches_and_leave_torch_as_it_was(digits):
    images = digits.images[:10]
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(extract_features(images, image_size=32))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])
    np.testing.assert_allclose(extract_features(images, image_size=32, batch_size=3), results[0], atol=1e-4)


def test_the_features_of_similar_digits_are_similar(digits):
    labels = digits.labels[:200]
    features = extract_features(digits.images[:200], image_size=64).astype(np.float64)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    similarity = features @ features.T
    np.fill_diagonal(similarity, -1)
    assert (labels[similarity.argmax(axis=1)] == labels).mean() > 0.8


def test_broken_images_and_wrong_arguments_are_errors(counting, digits, tmp_path):
    from h2q.datasets.images import FileImages

    (tmp_path / "bad.jpg").write_bytes(b"bad")
    with pytest.raises(ValueError, match=r"bad\.jpg does not decode as an image"):
        extract_features(FileImages(tmp_path, ["bad.jpg"]), counting)
    with pytest.raises(ValueError, match="images is empty"):
        extract_features([], counting)
    with pytest.raises(ValueError, match="image_size 9 differs from the 8 of the backbone given"):
        extract_features(digits.images[:1], counting, image_size=9)
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        extract_features(digits.images[:1], counting, batch_size=0)
    with pytest.raises(ValueError, match="chunk_size must be at least 1"):
        extract_features(digits.images[:1], counting, chunk_size=0)
    with pytest.raises(ValueError, match="positions is empty"):
        extract_features(digits, counting, positions=np.array([], np.int64))
    with pytest.raises(ValueError, match=r"positions must be from 0 to 1796; got 1797"):
        extract_features(digits, counting, positions=np.array([1797]))
