"""Plans: what they mean, and what is said about each mistake."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from h2q.experiments import PLANS, PlanError, cells_of, load_plan, parse_plan, plan_quantizers
from h2q.experiments.cells import NetworkSpec, group_by_network
from h2q.quantization.objectives import OBJECTIVES
from h2q.similarity.losses import LOSSES, UNSUPERVISED_LOSSES
from h2q.similarity.penalties import OWN_PENALTY

PLAN = """
name = "small"
[grid]
datasets = ["digits"]
losses = ["DPSH", "DCH"]
bits = [16, 32]
seeds = [0, 1, 2]
quantizers = ["real", "sign", "penalty", "hswd", "itq", "h2q-*"]
[training]
epochs = 3
hidden = [64]
[penalty]
weights = [0.1, 1]
by_loss = { DPSH = "l1" }
[hswd]
weights = [1.0]
"""


@pytest.mark.parametrize("name", PLANS)
def test_the_plans_that_come_with_h2q_are_right(name: str) -> None:
    plan = load_plan(name)
    n_networks = (
        len(plan.datasets) * len(plan.backbones) * len(plan.bits) * sum(map(len, map(plan.seeds_for, plan.losses)))
    )
    cells = list(cells_of(plan))
    assert len({cell.key for cell in cells}) == len(cells)
    assert sum(cell.quantizer == "sign" for cell in cells) == n_networks
    if name != "cifar10-all":  # the paper's grid: every quantizer, and the four objectives that the paper compares
        assert len(cells) == n_networks * len(plan.quantizers)
        further = {"h2q-mean_abs", "h2q-closest_sphere_bits", "h2q-cos_sim", "refined", "nested"}
        assert set(plan.quantizers) == set(plan_quantizers()) - further


def test_the_plan_of_every_loss_has_every_loss() -> None:
    plan = load_plan("cifar10-all")
    assert set(plan.losses) == {*LOSSES, *UNSUPERVISED_LOSSES}
    assert {loss: len(plan.seeds_for(loss)) for loss in load_plan("paper").losses} == dict.fromkeys(
        load_plan("paper").losses, 4
    )
    assert {len(plan.seeds_for(loss)) for loss in set(plan.losses) - set(load_plan("paper").losses)} == {2}
    assert {loss for loss in plan.losses if plan.has_penalty(loss)} == {
        loss for loss, penalty in OWN_PENALTY.items() if penalty is not None
    }
    penalties = [cell.network for cell in cells_of(plan) if cell.quantizer == "penalty"]
    assert {tuple(tanh for _, tanh in network.penalties) for network in penalties} == {(False, True)}


WITHOUT_LABELS = """
name = "without labels"
[grid]
datasets = ["digits"]
losses = ["cibhash", "DPSH"]
bits = [16]
seeds = [0]
quantizers = ["sign"]
"""


def test_losses_without_labels_are_for_heads() -> None:
    plan = parse_plan(WITHOUT_LABELS)
    assert plan.losses == ("CIBHash", "DPSH")
    with pytest.raises(PlanError, match="CIBHash trains heads only"):
        parse_plan(WITHOUT_LABELS + '[training]\npreset = "fine-tune"\n')
    with pytest.raises(PlanError, match=r"\[loss_options.CIBHash\]"):
        parse_plan(WITHOUT_LABELS + "[loss_options.CIBHash]\nwarmth = 1\n")


BOTH = """
name = "both forms"
[grid]
datasets = ["digits"]
losses = ["DPSH", "DCH", "MIHash"]
bits = [16]
seeds = [3]
quantizers = ["sign", "penalty"]
[grid.seeds_by_loss]
DCH = [0, 1]
[penalty]
tanh = "both"
by_loss = { MIHash = "none" }
weights_by_loss = { DPSH = [0.1], DCH = [2] }
tanh_weights_by_loss = { DPSH = [0.2, 0.3] }
"""


def test_both_forms_of_a_penalty_are_tried() -> None:
    cells = list(cells_of(parse_plan(BOTH)))
    assert [(cell.network.loss, cell.network.seed) for cell in cells if cell.quantizer == "sign"] == [
        ("DPSH", 3), ("DCH", 0), ("DCH", 1), ("MIHash", 3),
    ]  # fmt: skip
    penalties = {cell.network.loss: cell.network for cell in cells if cell.quantizer == "penalty"}
    assert penalties.keys() == {"DPSH", "DCH"}
    assert penalties["DPSH"].penalties == ((0.1, False), (0.2, True), (0.3, True))
    assert penalties["DCH"].penalties == ((2.0, False), (2.0, True))
    assert NetworkSpec.from_json(json.loads(json.dumps(asdict(penalties["DPSH"])))) == penalties["DPSH"]


def test_networks_of_older_folders_keep_their_keys() -> None:
    first = next(cells_of(load_plan("cifar10")))
    assert first.network.key == "5119a6c3d4c667c4"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("DCH = [0, 1]", "DHN = [0, 1]", r"\[grid.seeds_by_loss\]: 'DHN' is not known"),
        ("DCH = [0, 1]", "DCH = [-1]", r"\[grid\] seeds must be at least 0"),
        ("DCH = [0, 1]", "DCH = []", r"\[grid.seeds_by_loss\] DCH is empty"),
        ("DPSH = [0.1]", "DPSH = [0]", r"\[penalty\] weights must be above 0"),
        ("DPSH = [0.1], ", "", r"\[penalty\] weights is missing"),
        ('tanh = "both"', 'tanh = "none"', r'tanh must be true, false or "both"; got \'none\''),
        ('MIHash = "none"', 'MIHash = "none", DPSH = "no"', r"\[penalty\] by_loss: 'no' is not known"),
    ],
)
def test_what_is_wrong_with_both_forms_is_named(old: str, new: str, message: str) -> None:
    with pytest.raises((PlanError, ValueError), match=message):
        parse_plan(BOTH.replace(old, new))


def test_quantizers_share_networks_unless_they_train_their_own() -> None:
    groups = group_by_network(list(cells_of(parse_plan(PLAN))))
    shared = [group for group in groups.values() if group[0].quantizer == "real"]
    assert len(groups) == 3 * len(shared) == 3 * 2 * 2 * 3
    assert all(len(group) == 3 + len(OBJECTIVES) for group in shared)
    assert {len(group) for group in groups.values() if group not in shared} == {1}


def test_cells_hold_what_they_depend_on() -> None:
    cells = list(cells_of(parse_plan(PLAN)))
    penalties = {cell.network.loss: cell.network for cell in cells if cell.quantizer == "penalty"}
    assert (penalties["DPSH"].penalty, penalties["DCH"].penalty) == ("l1", "dch")
    assert penalties["DCH"].weights == (0.1, 1.0)
    assert penalties["DCH"].settings.epochs == 3
    assert penalties["DCH"].settings.hidden == (64,)


def test_quantizers_that_do_not_rotate_take_their_own_options() -> None:
    text = PLAN.replace('"h2q-*"', '"refined", "nested"') + "[quantization]\ncenter = false\nnested = { steps = 7 }\n"
    options = {cell.quantizer: cell.options for cell in cells_of(parse_plan(text))}
    assert options["nested"] == {"center": False, "steps": 7}
    assert options["refined"] == {}


def test_weights_by_penalty() -> None:
    text = PLAN.replace("weights = [0.1, 1]", "weights = { l1 = [2], dch = [3, 4] }")
    assert parse_plan(text).weights == {"l1": (2.0,), "dch": (3.0, 4.0), "hswd": (1.0,)}


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ("epochs = 3", "epochs = 4", {"real", "sign", "penalty", "hswd", "itq", "h2q-l2"}),
        ("[0.1, 1]", "[0.1]", {"penalty"}),
        ("[scoring]", "[scoring]\nk = 10", {"real", "sign", "penalty", "hswd", "itq", "h2q-l2"}),
        ("[scoring]", '[quantization.h2q]\nschedule = "constant"\n[scoring]', {"h2q-l2"}),
        ("[scoring]", "[quantization.itq]\nn_init = 3\n[scoring]", {"itq"}),
        ("small", "another name", set()),
    ],
)
def test_keys_change_with_what_cells_depend_on(old: str, new: str, changes: set[str]) -> None:
    text = PLAN + "[quantization]\n[scoring]\n"
    before = {cell.key for cell in cells_of(parse_plan(text))}
    after = {cell.quantizer for cell in cells_of(parse_plan(text.replace(old, new))) if cell.key not in before}
    assert after & {"real", "sign", "penalty", "hswd", "itq", "h2q-l2"} == changes


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name =", "nam =", "the plan has an unknown key: 'nam' is not known; did you mean 'name'?"),
        ("[grid]", "[gird]", "did you mean 'grid'?"),
        ("losses", "loses", r"\[grid\] has an unknown key: 'loses' is not known; did you mean 'losses'?"),
        ('losses = ["DPSH", "DCH"]', "", r"\[grid\] losses is missing; expected a list of names"),
        ('"DCH"', '"DCHH"', r"\[grid\] losses: 'DCHH' is not known; did you mean 'DCH'?"),
        ('"digits"', '"digit"', "did you mean 'digits'"),
        ('"digits"]', '"digits"]\nbackbones = ["alexnett"]', "did you mean 'alexnet'"),
        ('"sign"', '"sing"', r"\[grid\] quantizers: 'sing' is not known; did you mean 'sign'?"),
        ('"h2q-*"', '"h2q-l3"', "'h2q-l3' is not known"),
        ("[16, 32]", "16", r"\[grid\] bits must be a list of whole numbers; got 16"),
        ("[16, 32]", "[16, 32.0]", r"\[grid\] bits must hold whole numbers only; got 32.0"),
        ("[16, 32]", "[16, true]", "must hold whole numbers only"),
        ("[16, 32]", "[]", r"\[grid\] bits is empty"),
        ("[16, 32]", "[16, 16]", "holds a value twice"),
        ("[16, 32]", "[0]", r"\[grid\] bits must be from 1 to"),
        ("[0, 1, 2]", "[-1]", r"\[grid\] seeds must be at least 0"),
        ("epochs = 3", "epochs = 0", r"\[training\]: epochs must be at least 1"),
        ("epochs = 3", 'optimizer = "lion"', r"\[training\]: optimizer must be"),
        ("epochs = 3", "epoch = 3", r"\[training\] has an unknown key: 'epoch'"),
        ("epochs = 3", "train_blocks = 2", r"train_blocks needs preset"),
        ("epochs = 3", 'preset = "papers"', "did you mean 'paper'?"),
        ("epochs = 3", "image_size = 8", r"image_size must be at least 32"),
        ("weights = [0.1, 1]", "", r"\[penalty\] weights is missing"),
        ("weights = [0.1, 1]", "weights = [0, 1]", r"\[penalty\] weights must be above 0 .* got \[0.0, 1.0\] for l1"),
        ("weights = [0.1, 1]", 'weights = ["1"]', r"\[penalty\] weights must hold numbers only"),
        ("weights = [0.1, 1]", "weights = { l1 = [1] }", r"\[weights\] dch is missing"),
        ("weights = [0.1, 1]", "weights = { l1 = [1], dch = [1], l2 = [1] }", r"\[weights\] has an unknown key: 'l2'"),
        ('DPSH = "l1"', 'DPSH = "l3"', r"\[penalty\] by_loss: 'l3' is not known"),
        ('DPSH = "l1"', 'HyP2 = "l1"', r"\[penalty\] by_loss: 'HyP2' is not known"),
        ('DPSH = "l1"', "DPSH = 1", r"\[penalty\] by_loss.DPSH must be a string"),
        ('"DPSH", "DCH"', '"ADSH", "DPSH"', "ADSH takes no penalty"),
        ('"DPSH", "DCH"', '"cibhash", "DPSH"', "CIBHash takes no penalty, it is chosen by labels"),
        ("[hswd]", "hswd = 3\n[other]", "has an unknown key"),
        ("[grid]", "grid = 3\n[penalty]\n[grids]", "this is not TOML|unknown key"),
        ("[hswd]", "[hswd", "this is not TOML"),
        ("[hswd]", "[scoring]\nk = 0\n[hswd]", r"\[scoring\] k must be at least 1"),
        ("[hswd]", '[scoring]\ndivisor = "k"\n[hswd]', r"\[scoring\] divisor: 'k' is not known"),
        ("[hswd]", "[quantization]\ncenter = 1\n[hswd]", r"\[quantization\] center must be true or false; got 1"),
        ("[hswd]", "[quantization.itq]\nn_init = 0\n[hswd]", r"\[quantization.itq\]: n_init must be at least 1"),
        ("[hswd]", "[quantization.itq]\nninit = 3\n[hswd]", r"\[quantization.itq\] has .* did you mean 'n_init'"),
        ("[hswd]", "[quantization.itq2]\nn_init = 3\n[hswd]", r"\[quantization\] has .* did you mean 'itq'"),
        ("[hswd]", '[quantization.h2q]\nschedule = "slow"\n[hswd]', r"\[quantization.h2q\]: schedule must be one of"),
    ],
)
def test_mistakes_are_named(old: str, new: str, message: str) -> None:
    assert old in PLAN
    with pytest.raises((PlanError, ValueError, TypeError), match=message):
        parse_plan(PLAN.replace(old, new))


def test_losses_have_the_same_names_as_in_training() -> None:
    plan = parse_plan(PLAN.replace('["DPSH", "DCH"]', '["CEL", "dpsh"]').replace("{ DPSH", "{ Dpsh"))
    assert plan.losses == ("CosineEmbedding", "DPSH")
    assert plan.penalty_by_loss == {"DPSH": "l1"}


NEW_QUANTIZER = """
import sys
from h2q.experiments import cells_of, parse_plan
from h2q.experiments.tables import label
from h2q.quantization import SignQuantizer, register

@register("flipped", label="flipped signs")
class Flipped(SignQuantizer):
    pass

cell = next(cell for cell in cells_of(parse_plan(sys.argv[1])) if cell.quantizer == "flipped")
print(dict(cell.options), label("flipped"))
"""


def test_a_new_quantizer_can_be_gridded() -> None:
    text = PLAN.replace('"itq"', '"flipped"') + "[quantization.flipped]\nwhitening = 0.5\n"
    # In a process of its own, so that the class is registered nowhere else.
    done = subprocess.run([sys.executable, "-c", NEW_QUANTIZER, text], capture_output=True, text=True, check=False)
    assert done.stdout == "{'center': False, 'whitening': 0.5} flipped signs\n", done.stderr


def test_files_are_named(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    with pytest.raises(FileNotFoundError, match="neither a plan file nor a plan that comes with h2q"):
        load_plan(path)
    path.write_text(PLAN.replace("losses", "loses"))
    with pytest.raises(PlanError, match=r"plan\.toml: \[grid\] has an unknown key"):
        load_plan(path)
    path.write_text(PLAN.replace("[16, 32]", "[0]"))
    with pytest.raises(PlanError, match=r"plan\.toml: \[grid\] bits must be from 1"):
        load_plan(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(PlanError, match="not a text file"):
        load_plan(path)
    path.write_text(PLAN)
    assert load_plan(path).name == "small"


OPTIONS = """
name = "options"
[grid]
datasets = ["digits"]
losses = ["DCH", "HyP2"]
bits = [16]
quantizers = ["sign", "penalty", "hswd"]
[training]
preset = "paper"
resize_mode = "stretch"
optimizer = "rmsprop"
schedule = "step"
augmentation = "mirror-crop"
[loss_options.DCH]
gamma = 5
[penalty]
weights = [0.1]
tanh = false
[penalty.options.dch]
gamma = 7
[hswd]
weights = [0.1]
"""


def test_options_of_losses_and_penalties_reach_the_cells() -> None:
    plan = parse_plan(OPTIONS)
    specs = {(cell.network.loss, cell.quantizer): cell.network for cell in cells_of(plan)}
    sign, penalty, hswd = (specs["DCH", name] for name in ("sign", "penalty", "hswd"))
    assert sign.loss_options == {"gamma": 5, "similar_fraction": "training set"}
    assert (sign.resize_mode, sign.settings.optimizer, sign.settings.schedule) == ("stretch", "rmsprop", "step")
    assert sign.settings.augmentation == "mirror-crop"
    assert (penalty.penalty, penalty.penalty_options, penalty.penalty_tanh) == ("dch", {"gamma": 7}, False)
    assert (hswd.penalty, hswd.penalty_options, hswd.penalty_tanh) == ("hswd", {}, False)
    assert specs["HyP2", "penalty"].penalty_options == {}
    as_in_paper = parse_plan(OPTIONS.replace("tanh = false", "").replace('resize_mode = "stretch"', ""))
    specs = {(cell.network.loss, cell.quantizer): cell.network for cell in cells_of(as_in_paper)}
    assert specs["HyP2", "penalty"].penalty_tanh
    assert specs["HyP2", "penalty"].resize_mode == "crop"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("gamma = 5", "gama = 5", r"\[loss_options.DCH\]: DCH has no option gama; it has gamma"),
        ("gamma = 5", "gamma = -5", r"\[loss_options.DCH\]: gamma must be a finite number above 0"),
        ("[loss_options.DCH]", "[loss_options.DPSH]", r"\[loss_options\]: 'DPSH' is not known"),
        ("gamma = 7", "scale = 7", r"\[penalty.options.dch\]: the penalty dch has no option scale; it has gamma"),
        ("[penalty.options.dch]", "[penalty.options.dhc]", r"\[penalty.options\]: 'dhc' is not known"),
        ('resize_mode = "stretch"', 'resize_mode = "pad"', r"\[training\] resize_mode: 'pad' is not known"),
        ("tanh = false", 'tanh = "no"', r'tanh must be true, false or "both"; got \'no\''),
        ('optimizer = "rmsprop"', 'optimizer = "lion"', r"\[training\]: optimizer must be one of"),
    ],
)
def test_wrong_options_are_named(old: str, new: str, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        parse_plan(OPTIONS.replace(old, new))


def test_the_plan_paper_has_the_authors_configuration() -> None:
    specs = {(c.network.loss, c.quantizer): c.network for c in cells_of(load_plan("paper"))}
    weights = {loss: specs[loss, "penalty"].weights for loss in load_plan("paper").losses}
    assert weights == {
        "CosineEmbedding": (0.01,), "DCH": (1e-5, 1e-3, 0.1), "DHN": (1e-5, 1e-3, 0.1), "DPSH": (1.0, 0.1, 0.01),
        "HyP2": (0.01,), "WGLHH": (1e-3,),
    }  # fmt: skip
    assert all(specs[loss, "penalty"].penalty_tanh and not specs[loss, "hswd"].penalty_tanh for loss in weights)
    assert {specs[loss, "hswd"].weights for loss in weights} == {(0.1,)}
    assert specs["DHN", "penalty"].penalty == "dhn_implementation"
    assert {spec.resize_mode for spec in specs.values()} == {"crop"}
    assert specs["HyP2", "sign"].loss_options == {"pairs": "all", "beta": 1.25, "squash_proxies": True}
    with pytest.raises(PlanError, match=r"\[penalty\] weights is missing"):
        parse_plan(OPTIONS.replace("weights = [0.1]\ntanh", "tanh").replace('"paper"', '"head"'))
