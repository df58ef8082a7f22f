"""What the options of single losses do, against the plain loops."""

from types import ModuleType
from typing import Any

import pytest
import torch

from h2q.similarity.losses import CSQ, DCH, DHN, DPSH, WGLHH, HashNet, HyP2, OrthoHash


@pytest.mark.parametrize("multi_hot", [False, True])
def test_dch(multi_hot: bool, naive: ModuleType, make_batch: Any) -> None:
    z, labels, sets = make_batch(9, multi_hot=multi_hot)
    loss = DCH(gamma=3.0, similar_fraction=0.2)
    assert loss(z, labels).item() == pytest.approx(naive.dch(z.tolist(), sets, 3.0, 0.2), rel=1e-10)


def test_dch_pulls_similar_items_that_are_far_and_pushes_dissimilar_ones_that_are_near() -> None:
    near = torch.tensor([[1.0, 0.0], [1.0, 0.1]], dtype=torch.float64)
    far = torch.tensor([[1.0, 0.0], [-1.0, 0.1]], dtype=torch.float64)
    same, other = torch.tensor([0, 0]), torch.tensor([0, 1])
    assert DCH()(near, same) < DCH()(far, same)
    assert DCH()(near, other) > DCH()(far, other)


def test_scales_of_likelihoods(naive: ModuleType, make_batch: Any) -> None:
    z, labels, sets = make_batch(9)
    for loss in (DHN(scale=0.3), DPSH(scale=0.3)):
        assert loss(z, labels).item() == pytest.approx(naive.likelihood(z.tolist(), sets, 0.3), rel=1e-10)
    assert (DHN().scale, DPSH().scale) == (1.0, 0.5)


def test_hashnet_continues_to_the_sign(naive: ModuleType, make_batch: Any) -> None:
    z, labels, sets = make_batch(9, multi_hot=True)
    loss, betas = HashNet(), []
    for epoch in range(0, 100, 9):
        loss.step_epoch(epoch, 100)
        betas.append(loss.beta)
        assert loss(z, labels).item() == pytest.approx(naive.hashnet(z.tolist(), sets, loss.beta), rel=1e-10)
    assert betas == sorted(betas)
    assert (betas[0], betas[-1]) == (1.0, 10.0)
    limit = naive.hashnet((1e6 * z).tolist(), sets)
    loss.step_epoch(10**8, 10**8)
    assert loss(z, labels).item() == pytest.approx(limit, rel=1e-9)


def test_hashnet_options(naive: ModuleType, make_batch: Any) -> None:
    z, labels, sets = make_batch(9, multi_hot=True)
    plain = naive.hashnet(z.tolist(), sets, overlap_weights=False)
    assert HashNet(overlap_weights=False)(z, labels).item() == pytest.approx(plain, rel=1e-10)
    assert HashNet()(z, labels).item() < plain
    share = sum(s for _, _, s in naive.pairs(sets)) / len(naive.pairs(sets))
    assert HashNet(similar_fraction=share)(z, labels).item() == pytest.approx(HashNet()(z, labels).item(), rel=1e-6)
    assert HashNet(alpha=10 / 8)(z, labels).item() == HashNet()(z, labels).item()


@pytest.mark.parametrize("n_bits", [8, 32, 48, 64])
def test_wglhh(n_bits: int, naive: ModuleType, make_batch: Any) -> None:
    z, labels, sets = make_batch(9, n_bits)
    rows = z.tolist()
    balanced = WGLHH(similar_weight="balanced")
    assert WGLHH()(z, labels).item() == pytest.approx(naive.wglhh(rows, sets), rel=1e-8)
    assert balanced(z, labels).item() == pytest.approx(naive.wglhh(rows, sets, balanced=True), rel=1e-8)
    code = WGLHH(similar_weight="balanced", form="h2q_implementation")
    assert code(z, labels).item() == pytest.approx(naive.wglhh_h2q(rows, sets), rel=1e-8)
    weights = {8: 1.1, 32: 1.6, 48: 1.6, 64: 1.7}
    assert WGLHH(similar_weight=weights[n_bits])(z, labels).item() == WGLHH()(z, labels).item()


@pytest.mark.parametrize("multi_hot", [False, True])
def test_hyp2_pairs(multi_hot: bool, naive: ModuleType, make_batch: Any, build: Any) -> None:
    z, labels, sets = make_batch(12, multi_hot=multi_hot)
    values = {}
    for pairs in ("multi-label", "all"):
        loss = build("HyP2", beta=2.0, margin=-0.2, pairs=pairs)
        expected = naive.hyp2(z.tolist(), sets, loss.proxies.tolist(), -0.2, 2.0, every=pairs == "all")
        values[pairs] = loss(z, labels).item()
        assert values[pairs] == pytest.approx(expected, rel=1e-10)
    assert values["all"] != values["multi-label"]


def test_hyp2_proxies_come_from_torchs_generator_with_the_published_spread() -> None:
    torch.manual_seed(0)
    one = HyP2(n_bits=64, n_classes=50).proxies
    torch.manual_seed(0)
    assert torch.equal(one, HyP2(n_bits=64, n_classes=50).proxies)
    assert one.std().item() == pytest.approx((2 / 50) ** 0.5, rel=0.05)
    assert one.requires_grad


def test_csq_and_orthohash_are_smallest_on_their_codes() -> None:
    labels = torch.arange(10)
    csq, ortho = CSQ(n_bits=16, n_classes=10), OrthoHash(n_bits=16, n_classes=10, codebook="hadamard")
    assert csq(9 * csq.centers, labels).item() < 1e-6
    assert csq(9 * csq.centers.roll(1, 0), labels).item() > 1
    assert ortho(ortho.codebook, labels).item() < ortho(ortho.codebook.roll(1, 0), labels).item() / 100
    assert torch.equal(csq.centers, ortho.codebook)


def test_csq_ties_are_the_seeds_and_no_centre() -> None:
    one, same = (CSQ(n_bits=48, n_classes=10, random_state=5) for _ in range(2))
    assert torch.equal(one.ties, same.ties)
    assert not (one.centers == one.ties).all(dim=1).any()
