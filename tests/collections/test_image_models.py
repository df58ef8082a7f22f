"""Pictures embedded by other models than the default: a trained hasher, and a CLIP of sentence-transformers."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from h2q import ImageHasher, SignQuantizer
from h2q.collections import PictureCollection, load_image_model
from h2q.datasets.images import read_image
from h2q.similarity import HashHead
from h2q.similarity.backbones import load_backbone

SAMPLE = Path(__file__).parents[2] / "data" / "cifar10-sample.parquet"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "photos"
    folder.mkdir()
    for number, image in enumerate(pq.read_table(SAMPLE)["img"].to_pylist()[:12]):
        (folder / f"{number:02}.jpg").write_bytes(image["bytes"])
    (folder / "broken.jpg").write_bytes(b"none")
    return folder


def write_clip(folder: Path) -> Path:
    """Write a small CLIP with random weights, as sentence-transformers saves one."""
    import sentence_transformers
    import transformers
    from sentence_transformers.sentence_transformer.modules import Transformer

    (folder / "clip").mkdir()
    (folder / "vocab.json").write_text(json.dumps({"<|startoftext|>": 0, "<|endoftext|>": 1, "a</w>": 2}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    images = transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    transformers.CLIPProcessor(images, tokenizer).save_pretrained(folder / "clip")
    layers = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config={**layers, "vocab_size": 3, "bos_token_id": 0, "eos_token_id": 1},
        vision_config={**layers, "image_size": 32, "patch_size": 8},
        projection_dim=24,
    )
    transformers.CLIPModel(config).save_pretrained(folder / "clip")
    model = sentence_transformers.SentenceTransformer(modules=[Transformer(str(folder / "clip"))], device="cpu")
    model.save(str(folder / "model"))
    return folder / "model"


def test_a_trained_hasher(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = load_backbone("efficientnet-lite0", image_size=32)
    images = [read_image(path) for path in sorted(photos.glob("[01]*.jpg"))]
    head = HashHead(backbone.n_features, 16, hidden=())
    quantizer = SignQuantizer().fit(np.random.default_rng(0).normal(size=(50, 16)))
    hasher = ImageHasher.from_parts(backbone, head, quantizer)
    hasher.save(tmp_path / "hasher")
    monkeypatch.chdir(tmp_path)
    collection = PictureCollection(tmp_path / "p.h2q", photos, backbone="hasher")
    assert collection.update().unreadable == ("broken.jpg (does not decode)",)
    monkeypatch.chdir(photos)
    neighbors = PictureCollection.open(tmp_path / "p.h2q").search(photos / "03.jpg", 12)
    assert neighbors.ids[0, 0] == "03.jpg"
    a, b = hasher.embed([images[3], images[int(neighbors.ids[0, 5][:2])]])
    assert neighbors.distances[0, 5] == pytest.approx(1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-4)
    with pytest.raises(ValueError, match="knows the size of its images"):
        load_image_model(str(tmp_path / "hasher"), 64)


def test_a_model_of_sentence_transformers(photos: Path, tmp_path: Path) -> None:
    model = write_clip(tmp_path)
    collection = PictureCollection(tmp_path / "p.h2q", photos, backbone=str(model))
    assert collection.update().added == 12
    assert collection.search(photos / "03.jpg", 1).ids.tolist() == [["03.jpg"]]
    assert collection.opened_index().quantizer.n_features_in_ == 24


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match=r"backbone must be one of efficientnet-lite0, .*; got 'resnet'"):
        load_image_model("resnet")
