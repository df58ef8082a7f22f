"""What the figures show: the data of what is drawn, and the pixels that come of it."""

import csv
import sys
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from sklearn.datasets import load_digits

from h2q.errors import MissingDependencyError
from h2q.evaluation import diagnose_codes, precision_recall_curve
from h2q.plots import (
    plot_bit_balance,
    plot_distances,
    plot_gain_over_sign,
    plot_map_against_bits,
    plot_precision_at_k,
    plot_precision_recall,
    plot_rotation,
)
from h2q.plots.style import PALETTE, styles_of
from h2q.quantization import HouseholderQuantizer, SignQuantizer

DIGITS = load_digits()
X, LABELS = DIGITS.data.astype(np.float32), DIGITS.target
COLORS = {"sign": "#e69f00", "H²Q": "#0072b2", "ITQ": "#009e73", "penalty": "#d55e00"}
REFERENCE = Path(sys.modules["h2q"].__file__).parent / "experiments" / "reference_map.csv"


@pytest.fixture(autouse=True)
def _no_window():
    mpl.use("Agg")
    yield
    plt.close("all")


def rendered(ax) -> np.ndarray:
    """The figure as pixels, (height, width, 3) from 0 to 1, the first row on top."""
    canvas = ax.figure.canvas
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3] / 255


def around(ax, x: float, y: float, reach: int = 1) -> np.ndarray:
    """The pixels around a point of the data, (n, 3)."""
    image = rendered(ax)
    column, row = ax.transData.transform((x, y))
    row = len(image) - 1 - row
    part = image[int(row) - reach : int(row) + reach + 1, int(column) - reach : int(column) + reach + 1]
    return part.reshape(-1, 3)


def shows(pixels: np.ndarray, color: str, alpha: float = 1.0, tolerance: float = 0.06) -> bool:
    """Whether some pixel has this color, drawn on white."""
    expected = alpha * np.array(to_rgb(color)) + 1 - alpha
    return bool((np.abs(pixels - expected).max(axis=1) < tolerance).any())


def nothing_overflows(ax) -> None:
    """Every label, title and legend lies inside the figure."""
    figure = ax.figure
    figure.canvas.draw()
    inside = figure.bbox.padded(1)
    for artist in (ax.xaxis.label, ax.yaxis.label, ax.title, ax.get_legend()):
        if artist is not None and artist.get_window_extent().width > 0:
            box = artist.get_window_extent()
            assert inside.containsx(box.x0), artist
            assert inside.containsx(box.x1), artist
            assert inside.containsy(box.y0), artist
            assert inside.containsy(box.y1), artist


@pytest.fixture(scope="module")
def curves():
    made = {}
    for name, quantizer in (("sign", SignQuantizer(16)), ("H²Q", HouseholderQuantizer(16, random_state=0))):
        codes = quantizer.fit(X[300:]).encode(X)
        made[name] = precision_recall_curve(codes[:300], codes[300:], LABELS[:300], LABELS[300:], n_bits=16)
    return made


@pytest.fixture(scope="module")
def diagnosis():
    quantizer = HouseholderQuantizer(16, random_state=0).fit(X)
    return diagnose_codes(quantizer.encode(X), 16, rotated=quantizer.transform(X), labels=LABELS)


def test_precision_against_recall(curves) -> None:
    ax = plot_precision_recall(curves)
    for line, (name, curve) in zip(ax.lines, curves.items(), strict=True):
        order = np.argsort(curve.recall)
        np.testing.assert_allclose(line.get_xydata(), 100 * np.c_[curve.recall[order], curve.precision[order]])
        middle = 2 * len(order) // 3
        assert shows(around(ax, *line.get_xydata()[middle], reach=3), COLORS[name])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["sign", "H²Q"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("recall in percent", "precision in percent")
    assert ax.get_title() == '300 queries, 1,497 items, ties "expected"'
    assert not shows(around(ax, 95, 95), COLORS["sign"])
    nothing_overflows(ax)


def test_precision_at_k(curves) -> None:
    ax = plot_precision_at_k(curves)
    for line, (name, curve) in zip(ax.lines, curves.items(), strict=True):
        np.testing.assert_allclose(line.get_xydata(), np.c_[curve.cuts, 100 * curve.precision])
        assert shows(around(ax, curve.cuts[5], 100 * curve.precision[5], reach=3), COLORS[name])
    assert (ax.get_xscale(), ax.get_ylabel()) == ("log", "precision@k in percent")
    nothing_overflows(ax)


def reference(quantization: str) -> dict:
    """Real results: those of the authors."""
    with REFERENCE.open() as file:
        return {
            (row["backbone"], row["dataset"], row["similarity_loss"], int(row["bits"])): float(row["map_percent"]) / 100
            for row in csv.DictReader(file)
            if row["quantization"] == quantization
        }


def test_map_against_bits() -> None:
    values = reference("itq")
    of_loss = {
        loss: {bits: values["alexnet", "cifar10", loss, bits] for bits in (16, 32, 48, 64)} for loss in ("cel", "dch")
    }
    ax = plot_map_against_bits(of_loss)
    for number, (loss, by_bits) in enumerate(of_loss.items()):
        line = ax.lines[number]
        np.testing.assert_allclose(np.asarray(line.get_ydata(), float), [100 * value for value in by_bits.values()])
        # Lines stand a little beside each other.
        np.testing.assert_allclose(np.asarray(line.get_xdata(), float), list(by_bits), rtol=0.02)
        assert shows(around(ax, line.get_xdata()[1], 100 * by_bits[32], reach=2), PALETTE[number]), loss
    assert [text.get_text() for text in ax.get_xticklabels()] == ["16", "32", "48", "64"]
    nothing_overflows(ax)


def test_bars_are_one_standard_deviation_over_seeds() -> None:
    ax = plot_map_against_bits({"sign": {16: [0.50, 0.54], 32: [0.60, 0.62]}})
    (bars,) = ax.containers
    spans = [np.ptp(segment[:, 1]) / 2 for segment in bars[2][0].get_segments()]
    np.testing.assert_allclose(spans, [100 * np.std([0.50, 0.54], ddof=1), 100 * np.std([0.60, 0.62], ddof=1)])
    # Half way up the first bar is its color, and above it there is none.
    assert shows(around(ax, 16, 53.5), COLORS["sign"])
    assert not shows(around(ax, 16, 56), COLORS["sign"])


def test_gain_over_sign() -> None:
    sign = reference("sign")
    gains = {}
    for key_name, name in (("itq", "ITQ"), ("h2q-l2", "H²Q"), ("penalty", "penalty")):
        values, by_loss = reference(key_name), {}
        for key, value in values.items():
            if key in sign:
                by_loss.setdefault(key[2], []).append(value - sign[key])
        gains[name] = by_loss
    losses = list(gains["ITQ"])
    ax = plot_gain_over_sign(gains)
    assert [text.get_text() for text in ax.get_xticklabels()] == losses
    for name, bars in zip(gains, ax.containers, strict=True):
        heights = [bar.get_height() for bar in bars]
        np.testing.assert_allclose(heights, [100 * np.mean(gains[name][loss]) for loss in losses])
        bar = bars[losses.index("wglhh")]
        left = bar.get_x() + 0.05 * bar.get_width()
        assert shows(around(ax, left, 0.6 * bar.get_height()), COLORS[name], alpha=0.45), name
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    drawn = np.sort(np.concatenate([line.get_ydata() for line in dots]))
    np.testing.assert_allclose(drawn, np.sort([100 * v for by in gains.values() for cell in by.values() for v in cell]))
    assert ax.get_ylabel() == "gain over sign in points of mAP"
    nothing_overflows(ax)


def test_bars_of_one_color_differ_by_their_hatch() -> None:
    ax = plot_gain_over_sign({f"quantizer {number}": {"CEL": [0.1]} for number in range(8)})
    first, last = (ax.containers[number].patches[0] for number in (0, 7))
    assert first.get_facecolor() == last.get_facecolor()
    # Between two lines of the grid, below the dot at 10.
    pixels = [around(ax, bar.get_x() + bar.get_width() / 2, 3, reach=9) for bar in (first, last)]
    colors = [{tuple(pixel) for pixel in area} for area in pixels]
    assert len(colors[0]) == 1, "plain"
    assert len(colors[1]) > 1, "hatched"
    bars = {tuple(sorted(style.bar.items())) for style in styles_of(map(str, range(28))).values()}
    assert len(bars) == 28


def test_distances_of_similar_and_dissimilar_pairs(diagnosis) -> None:
    ax = plot_distances(diagnosis)
    similar, dissimilar = ax.patches
    for patch, counts in ((similar, diagnosis.similar_distances), (dissimilar, diagnosis.dissimilar_distances)):
        np.testing.assert_allclose(patch.get_data().values, 100 * counts / counts.sum())
        np.testing.assert_allclose(patch.get_data().edges, np.arange(18) - 0.5)
    near, far = (int(np.argmax(patch.get_data().values)) for patch in (similar, dissimilar))
    assert near < far
    heights = [patch.get_data().values for patch in (similar, dissimilar)]
    # Each color alone where one kind of pair reaches above the other.
    assert shows(around(ax, near, (heights[0][near] + heights[1][near]) / 2), PALETTE[0], alpha=0.5)
    assert shows(around(ax, far, (heights[0][far] + heights[1][far]) / 2), PALETTE[1], alpha=0.5)
    assert f"{100 * diagnosis.separation:.0f}% of the cases" in ax.get_title()
    nothing_overflows(ax)


def test_distances_without_labels() -> None:
    found = diagnose_codes(SignQuantizer(16).fit(X).encode(X), 16)
    ax = plot_distances(found)
    (patch,) = ax.patches
    assert patch.get_data().values.sum() == pytest.approx(100)
    top = int(np.argmax(patch.get_data().values))
    assert shows(around(ax, top, patch.get_data().values[top] / 2), PALETTE[0])
    assert ax.get_legend() is None


def test_bit_balance(diagnosis) -> None:
    ax = plot_bit_balance(diagnosis)
    (bars,) = ax.containers
    tops = [bar.get_y() + bar.get_height() for bar in bars]
    np.testing.assert_allclose(tops, 100 * diagnosis.bit_balance)
    most = int(np.argmax(np.abs(diagnosis.bit_balance - 0.5)))
    assert shows(around(ax, most, (50 + tops[most]) / 2), PALETTE[0])
    assert not shows(around(ax, most, 100 - tops[most] + np.sign(50 - tops[most])), PALETTE[0])
    assert f"mean entropy {diagnosis.bit_entropy.mean():.3f} of 1 bit" in ax.get_title()
    nothing_overflows(ax)


def test_rotation_beside_the_corners() -> None:
    quantizers = [SignQuantizer(16).fit(X), HouseholderQuantizer(16, random_state=0).fit(X)]
    before, after = (quantizer.transform(X) for quantizer in quantizers)
    axes = plot_rotation(before, after, dimensions=(2, 5))
    for ax, rows, quantizer, color in zip(axes, (before, after), quantizers, ("#8a8a8a", PALETTE[0]), strict=True):
        cloud, corners = [line for line in ax.lines if line.get_marker() in ("o", "X")]
        scaled = 4 * rows / np.linalg.norm(rows, axis=1, keepdims=True)
        np.testing.assert_allclose(cloud.get_xydata(), scaled[:, [2, 5]], rtol=1e-5)
        assert {tuple(corner) for corner in corners.get_xydata()} == {(1, 1), (1, -1), (-1, 1), (-1, -1)}
        for corner in corners.get_xydata():
            assert shows(around(ax, *corner), PALETTE[1])
        extreme = scaled[np.argmax(np.abs(scaled[:, 2]))]
        assert shows(around(ax, extreme[2], extreme[5]), color, alpha=0.35, tolerance=0.1)
        assert ax.get_title().endswith(f"{quantizer.quantization_error(X):.3f}")
        assert ax.get_aspect() == 1
        nothing_overflows(ax)


def test_many_rows_are_sampled_by_the_seed() -> None:
    many = np.concatenate([X, X + 0.5])
    drawn = [plot_rotation(many, many, random_state=seed)[0].lines[2].get_xydata() for seed in (0, 0, 1)]
    assert len(drawn[0]) == 2_000
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_figures_are_drawn_on_given_axes(curves, diagnosis) -> None:
    _, axes = plt.subplots(3, 3)
    given = axes.ravel()
    assert plot_precision_recall(curves, ax=given[0]) is given[0]
    assert plot_precision_at_k(curves, ax=given[1]) is given[1]
    assert plot_map_against_bits({"a": {8: 0.5}}, ax=given[2]) is given[2]
    assert plot_gain_over_sign({"a": {"CEL": 0.1}}, ax=given[3]) is given[3]
    assert plot_distances(diagnosis, ax=given[4]) is given[4]
    assert plot_bit_balance(diagnosis, ax=given[5]) is given[5]
    assert list(plot_rotation(X[:, 1:3] + 1, X[:, 1:3] + 1, ax=given[6:8])) == list(given[6:8])
    assert len(plt.get_fignums()) == 1


# What colors look like without one kind of cone (Machado, Oliveira and Fernandes, 2009, severity 1).
BLINDNESS = {
    "none": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


@pytest.mark.parametrize("blindness", BLINDNESS)
def test_colors_differ_for_the_color_blind(blindness: str) -> None:
    colors = np.clip(np.array([to_rgb(color) for color in PALETTE]) @ np.array(BLINDNESS[blindness]).T, 0, 1)
    distances = np.linalg.norm(colors[:, None] - colors[None], axis=2)
    assert distances[~np.eye(7, dtype=bool)].min() > 0.12


@pytest.mark.parametrize("names", [[str(number) for number in range(28)], ["H²Q", "H²Q l1", "ITQ", "a", "b", "sign"]])
def test_no_two_lines_look_alike(names: list[str]) -> None:
    styles = [style.line for style in styles_of(names).values()]
    assert len({tuple(sorted(style.items())) for style in styles}) == len(names)
    without_color = {(style["linestyle"], style["marker"]) for style in styles}
    assert len(without_color) == len(names)


def test_a_method_has_the_same_color_in_every_figure() -> None:
    methods = ["real-valued", "sign", "penalty", "HSWD", "random rotation", "ITQ", "H²Q"]
    alone = {name: styles_of([name])[name].color for name in methods}
    assert len(set(alone.values())) == len(methods)
    together = styles_of(["another", *reversed(methods), "H²Q l1", "sign, HSWD"])
    for name in methods:
        assert together[name].color == alone[name]
    assert together["H²Q l1"].color == alone["H²Q"]
    assert together["H²Q l1"] != together["H²Q"]
    few = styles_of(["a", "H²Q", "b"])
    assert len({style.color for style in few.values()}) == 3


@pytest.mark.parametrize(
    ("draw", "error", "message"),
    [
        (lambda: plot_precision_recall({}), ValueError, "curves is empty"),
        (lambda: plot_precision_at_k([1]), TypeError, "curves must be a mapping of names to curves"),
        (lambda: plot_map_against_bits({}), ValueError, "scores is empty"),
        (
            lambda: plot_map_against_bits({"a": {8: 55.0}}),
            ValueError,
            r"scores\['a'\]\[8\] must be one or more numbers",
        ),
        (lambda: plot_gain_over_sign({"a": 0.1}), TypeError, "gains must be a mapping of mappings"),
        (lambda: plot_gain_over_sign({"a": {}}), ValueError, "gains is empty"),
        (lambda: plot_gain_over_sign({"a": {"CEL": []}}), ValueError, "must be one or more numbers"),
        (lambda: plot_rotation(X + 1, X[:, :3] + 1), ValueError, "before and after must have the same shape"),
        (
            lambda: plot_rotation(X + 1, X + 1, dimensions=(0, 64)),
            ValueError,
            "dimensions must be from 0 to 63",
        ),
        (lambda: plot_rotation(X + 1, X + 1, dimensions=(0,)), ValueError, "dimensions must be two coordinates"),
        (lambda: plot_rotation(X + 1, X + 1, ax=plt.gca()), ValueError, "ax must be two axes"),
    ],
)
def test_bad_input_is_named(draw, error, message: str) -> None:
    with pytest.raises(error, match=message):
        draw()


def test_precision_at_k_needs_a_curve_by_rank() -> None:
    codes = np.array([[0], [1]], np.uint8)
    curve = precision_recall_curve(codes, codes, [0, 1], [0, 1], n_bits=8, by="radius")
    with pytest.raises(ValueError, match="curve 'x' is by radius; precision@k needs one by rank"):
        plot_precision_at_k({"x": curve})


def test_without_matplotlib_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch, diagnosis) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "h2q\[plots\]"'):
        plot_bit_balance(diagnosis)
