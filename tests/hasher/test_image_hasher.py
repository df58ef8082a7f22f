"""Images in, neighbors out: the facade on real images."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from torch import nn

from h2q import ImageHasher, pack_bits, unpack_bits
from h2q.datasets import ImageDataset, load_dataset
from h2q.errors import FileFormatError
from h2q.files import read_checked_json, write_checked_json
from h2q.quantization import HouseholderQuantizer, ITQQuantizer, NestedQuantizer, RefinedQuantizer
from h2q.similarity.images import as_images
from h2q.similarity.presets import FINE_TUNE, HEAD, settings_for
from h2q.similarity.runs import RunOptions

SIZE = 64
QUICK = replace(HEAD, hidden=(64,), epochs=30, batch_size=100, min_steps=0)


@pytest.fixture(scope="module")
def cifar() -> ImageDataset:
    return load_dataset("cifar10")


@pytest.fixture(scope="module")
def labeled(cifar: ImageDataset) -> tuple[list, np.ndarray, list, np.ndarray]:
    """60 images of each of four classes to train on, 10 of each as queries."""
    chosen = {}
    for fold, n in (("train", 60), ("query", 10)):
        positions = cifar.folds[fold]
        chosen[fold] = np.concatenate([positions[cifar.labels[positions] == c][:n] for c in range(4)])
    images = {fold: [cifar.images[int(i)] for i in positions] for fold, positions in chosen.items()}
    return images["train"], cifar.labels[chosen["train"]], images["query"], cifar.labels[chosen["query"]]


@pytest.fixture(scope="module")
def hasher(labeled) -> ImageHasher:
    images, labels, _, _ = labeled
    return ImageHasher(24, image_size=SIZE, head_settings=QUICK).fit(images, labels)


@pytest.fixture(scope="module")
def saved(hasher: ImageHasher, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "hasher"
    hasher.save(folder)
    return folder


def test_images_in_neighbors_out(hasher: ImageHasher, labeled) -> None:
    images, labels, queries, query_labels = labeled
    index = hasher.build_index(images, ids=np.arange(len(images)) + 1000)
    found = index.search(hasher.encode(queries), 10)
    right = labels[found.ids - 1000] == query_labels[:, None]
    assert right.mean() > 0.5, "chance is 0.25"
    assert hasher.encode(queries).shape == (40, 3)
    assert hasher.embed(queries).shape == hasher.transform(queries).shape == (40, 24)
    np.testing.assert_array_equal(pack_bits(hasher.transform(queries)), hasher.encode(queries))


def test_the_folded_codes_are_the_quantizers(hasher: ImageHasher, labeled) -> None:
    queries = labeled[2]
    apart = hasher.quantizer_.transform(hasher.embed(queries))
    np.testing.assert_allclose(hasher.transform(queries), apart, atol=1e-4)
    np.testing.assert_array_equal(hasher.encode(queries), pack_bits(apart))


@pytest.mark.parametrize(
    "quantizer",
    [
        HouseholderQuantizer(center=True),
        ITQQuantizer(n_bits=12, whitening=0.5),
        NestedQuantizer(lengths=(8, 20), steps=20),
        NestedQuantizer(lengths=(8, 20), steps=20, center=False),
    ],
)
def test_centering_pca_whitening_and_nested_codes_fold_as_well(hasher: ImageHasher, labeled, quantizer) -> None:
    images, _, queries, _ = labeled
    quantizer.set_params(random_state=0).fit(hasher.embed(images))
    other = ImageHasher.from_parts(hasher.backbone_, hasher.head_, quantizer)
    apart = other.quantizer_.transform(hasher.embed(queries))
    np.testing.assert_allclose(other.transform(queries), apart, atol=2e-4 * np.abs(apart).max())
    assert other.n_bits_ == apart.shape[1]
    np.testing.assert_array_equal(other.encode(queries), pack_bits(apart))


def test_refined_codes_are_the_quantizers_and_no_layer_gives_them(hasher: ImageHasher, labeled, tmp_path) -> None:
    images, _, queries, _ = labeled
    quantizer = RefinedQuantizer(3, random_state=0).fit(hasher.embed(images))
    other = ImageHasher.from_parts(hasher.backbone_, hasher.head_, quantizer)
    np.testing.assert_array_equal(other.encode(queries), quantizer.encode(hasher.embed(queries)))
    for use in (other.network, lambda: other.transform(queries), lambda: other.export(tmp_path / "hasher.onnx")):
        with pytest.raises(ValueError, match="RefinedQuantizer changes bits after the projection"):
            use()


def test_a_saved_hasher_gives_the_same_codes(hasher: ImageHasher, saved: Path, labeled) -> None:
    again = ImageHasher.load(saved)
    np.testing.assert_array_equal(again.encode(labeled[2]), hasher.encode(labeled[2]))
    np.testing.assert_array_equal(again.embed(labeled[2]), hasher.embed(labeled[2]))
    assert again.n_bits == 24
    again.save(saved)
    names = sorted(path.name.split("-")[0] for path in saved.iterdir())
    assert names == [".lock", "backbone", "hasher.json", "head", "quantizer"], "files of the first save are deleted"
    np.testing.assert_array_equal(ImageHasher.load(saved).encode(labeled[2]), hasher.encode(labeled[2]))


def test_exported_networks_give_the_same_codes(hasher: ImageHasher, cifar: ImageDataset, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    images = [cifar.images[int(i)] for i in cifar.folds["query"][:128]]
    prepared = torch.stack([hasher.backbone_.preprocess(image) for image in images])
    rotated = hasher.transform(images)
    codes = hasher.encode(images)
    hasher.export(tmp_path / "hasher.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "hasher.onnx", providers=["CPUExecutionProvider"])
    (from_onnx,) = session.run(["rotated"], {"images": prepared.numpy()})
    hasher.export(tmp_path / "hasher.pt2")
    from_program = torch.export.load(tmp_path / "hasher.pt2").module()(prepared).numpy()
    for exported in (from_onnx, from_program):
        # Engines add up in different orders: an entry may differ in its last digits, and its bit only next to zero.
        np.testing.assert_allclose(exported, rotated, atol=1e-4 * np.abs(rotated).max())
        np.testing.assert_array_equal(pack_bits(exported), codes)
    (one,) = session.run(["rotated"], {"images": prepared[:1].numpy()})
    np.testing.assert_array_equal(pack_bits(one), codes[:1])


def test_fine_tuning_changes_the_last_blocks_only_and_is_saved(hasher: ImageHasher, labeled, tmp_path: Path) -> None:
    images, labels, queries, _ = labeled
    tuned = ImageHasher(
        24,
        image_size=SIZE,
        head_settings=QUICK,
        train_blocks=2,
        network_settings=replace(FINE_TUNE, epochs=1, batch_size=60),
    ).fit(images, labels)
    before, after = hasher.backbone_.module.state_dict(), tuned.backbone_.module.state_dict()
    changed = {key.split(".")[0] for key in before if not torch.equal(before[key], after[key])}
    last = sorted({int(key.split(".")[0]) for key in before})[-2:]
    assert changed == {str(block) for block in last}
    assert tuned.validation_map_ is None
    assert [len(history.epochs) for history in tuned.histories_] == [30, 1]
    tuned.save(tmp_path / "tuned")
    np.testing.assert_array_equal(ImageHasher.load(tmp_path / "tuned").encode(queries), tuned.encode(queries))


def test_a_backbone_of_ones_own(labeled, tmp_path: Path) -> None:
    images, labels, queries, _ = labeled
    torch.manual_seed(0)
    own = nn.Sequential(nn.Conv2d(3, 16, 5, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten())
    hasher = ImageHasher(8, backbone=own, image_size=32, head_settings=QUICK, loss="DPSH").fit(images, labels)
    hasher.save(tmp_path / "own")
    with pytest.raises(ValueError, match="pass load"):
        ImageHasher.load(tmp_path / "own")
    fresh = nn.Sequential(nn.Conv2d(3, 16, 5, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten())
    again = ImageHasher.load(tmp_path / "own", backbone=fresh)
    np.testing.assert_array_equal(again.encode(queries), hasher.encode(queries))
    with pytest.raises(FileFormatError, match="does not fit"):
        ImageHasher.load(tmp_path / "own", backbone=nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 256)))


def test_paths_arrays_and_data_sets_are_images(hasher: ImageHasher, labeled, tmp_path: Path) -> None:
    queries = labeled[2][:3]
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for image, path in zip(queries, paths, strict=True):
        image.save(path)
    codes = hasher.encode(queries)
    for images in (paths, [str(path) for path in paths], np.stack([np.asarray(image) for image in queries])):
        np.testing.assert_array_equal(hasher.encode(images), codes)
    digits = load_dataset("digits")
    assert as_images(digits) is digits.images


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        ("a.png", TypeError, r"pass a list, \[image\]"),
        (np.zeros((2, 8, 8), np.uint8), ValueError, "uint8 array of shape"),
        (np.zeros((2, 8, 8, 3)), ValueError, "float64 array"),
        ([], ValueError, "empty"),
        ([1, 2], TypeError, r"the first is 1 \(int\)"),
    ],
)
def test_what_is_no_image_is_refused(images, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        as_images(images)


def test_mistakes_are_named(hasher: ImageHasher, labeled, tmp_path: Path) -> None:
    images = labeled[0]
    for method in ("encode", "embed", "transform", "build_index", "save"):
        with pytest.raises(NotFittedError, match="not fitted; call fit"):
            getattr(ImageHasher(8), method)(images)
    with pytest.raises(ValueError, match="n_bits must be from 1"):
        ImageHasher(0).fit(images, [0, 1] * (len(images) // 2))
    with pytest.raises(ValueError, match="labels are missing"):
        ImageHasher(8).fit(images)
    with pytest.raises(ValueError, match="one class only"):
        ImageHasher(8).fit(images[:3], [1, 1, 1])
    with pytest.raises(ValueError, match="must have 3 rows"):
        ImageHasher(8).fit(images[:3], [1, 0])
    with pytest.raises(ValueError, match="come with the data set"):
        ImageHasher(8).fit(load_dataset("digits"), [1])
    with pytest.raises(ValueError, match=r"end in \.onnx or \.pt2"):
        hasher.export(tmp_path / "network.tflite")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    with pytest.raises(FileExistsError, match="holds no hasher"):
        hasher.save(tmp_path / "mine")
    with pytest.raises(ValueError, match="do not fit"):
        ImageHasher.from_parts(hasher.backbone_, hasher.head_, HouseholderQuantizer().fit(np.eye(5, 4) + 1))


def _damage(folder: Path, how: str) -> None:
    if how == "truncated head":
        (head,) = folder.glob("head-*")
        head.write_bytes(head.read_bytes()[:-100])
    elif how == "no quantizer":
        next(folder.glob("quantizer-*")).unlink()
    elif how == "not JSON":
        (folder / "hasher.json").write_text("{")
    elif how == "one bit":
        described = bytearray((folder / "hasher.json").read_bytes())
        described[40] ^= 1
        (folder / "hasher.json").write_bytes(described)
    elif how == "no description":
        (folder / "hasher.json").unlink()
    else:
        described = read_checked_json(folder / "hasher.json")
        if how == "newer":
            described["format_version"] = 99
        else:
            del described["n_features"]
        write_checked_json(folder / "hasher.json", described)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("truncated head", "truncated"),
        ("no quantizer", r"quantizer-\w+\.safetensors is missing"),
        ("not JSON", r"hasher\.json"),
        ("one bit", r"hasher\.json is damaged"),
        ("no description", "no hasher.json"),
        ("newer", "upgrade"),
        ("incomplete", "has no 'n_features'"),
    ],
)
def test_damaged_folders_are_named(saved: Path, tmp_path: Path, how: str, message: str) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(saved, folder)
    _damage(folder, how)
    with pytest.raises((FileFormatError, FileNotFoundError), match=message):
        ImageHasher.load(folder)


def test_the_head_may_be_skipped(labeled, tmp_path: Path) -> None:
    images, labels, queries, query_labels = labeled
    settings = replace(settings_for("HyP2", "paper"), epochs=1, patience=None)
    run = RunOptions(folder=tmp_path, progress=False)
    whole = ImageHasher(
        16, loss="HyP2", image_size=32, train_blocks=1, head_first=False, network_settings=settings
    ).fit(images[::4], labels[::4], validation=(queries, query_labels), run=run)
    assert whole.head_.hidden_widths == ()
    assert not whole.head_.mean.any(), "the paper's head does not standardize"
    assert [path.name for path in tmp_path.iterdir()] == ["network"]
    assert len(whole.histories_) == 1
    assert whole.validation_map_ is not None


def test_a_quantizer_that_reduces_gives_shorter_codes(hasher: ImageHasher, labeled, tmp_path: Path) -> None:
    images, labels, queries, _ = labeled
    short = ImageHasher(24, image_size=SIZE, head_settings=QUICK, quantizer=HouseholderQuantizer(12))
    short.fit(images, labels, run=RunOptions(progress=False))
    assert (short.n_bits, short.n_bits_) == (24, 12)
    index = short.build_index(images)
    assert index.n_bits == 12
    assert index.search(short.encode(queries), 3).ids.shape == (40, 3)
    short.save(tmp_path / "short")
    again = ImageHasher.load(tmp_path / "short")
    assert (again.n_bits, again.n_bits_) == (24, 12)
    np.testing.assert_array_equal(again.encode(queries), short.encode(queries))


def test_parameters_are_those_of_an_estimator(hasher: ImageHasher) -> None:
    made = ImageHasher(24, loss="DCH", loss_options={"gamma": 10.0}, quantizer=ITQQuantizer(n_bits=8))
    assert made.get_params()["loss_options"] == {"gamma": 10.0}
    assert made.get_params()["quantizer__n_bits"] == 8
    made.set_params(n_bits=16, quantizer__n_bits=4)
    assert (made.n_bits, made.quantizer.n_bits) == (16, 4)
    copy = clone(made)
    assert copy.get_params()["loss"] == "DCH"
    assert copy.quantizer is not made.quantizer
    assert repr(made).startswith("ImageHasher(loss='DCH'")
    with pytest.raises(ValueError, match="Invalid parameter 'bits'"):
        made.set_params(bits=3)
    assert not hasattr(clone(hasher), "head_")


def test_bits_survive_packing(hasher: ImageHasher, labeled) -> None:
    queries = labeled[2]
    np.testing.assert_array_equal(unpack_bits(hasher.encode(queries), 24), hasher.transform(queries) > 0)
