"""The losses and penalties once more, by plain loops over plain floats, written from the papers' formulas.

    python tests/golden/make_losses.py

writes losses.json: two batches of embeddings, and what every loss and penalty is on them. Nothing of h2q, NumPy or
torch is imported here; tests also call these functions on batches of their own. Embeddings are lists of lists, labels
are lists of sets of classes.
"""

import json
import random
from collections.abc import Callable
from math import acos, cos, cosh, exp, log, sqrt, tanh
from pathlib import Path

Rows = list[list[float]]
Labels = list[set[int]]


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def cosine(a: list[float], b: list[float]) -> float:
    return dot(a, b) / sqrt(dot(a, a) * dot(b, b))


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def pairs(labels: Labels) -> list[tuple[int, int, bool]]:
    """All ordered pairs of two different items, and whether they have a label in common."""
    n = len(labels)
    return [(i, j, bool(labels[i] & labels[j])) for i in range(n) for j in range(n) if i != j]


def balance(labels: Labels) -> tuple[float, float]:
    """Weights of similar and of dissimilar pairs."""
    kinds = [s for _, _, s in pairs(labels)]
    similar = sum(kinds)
    return (
        len(kinds) / similar if similar else 0.0,
        len(kinds) / (len(kinds) - similar) if similar < len(kinds) else 0.0,
    )


def cosine_embedding(z: Rows, labels: Labels, margin: float) -> float:
    return mean([1 - cosine(z[i], z[j]) if s else max(0.0, cosine(z[i], z[j]) - margin) for i, j, s in pairs(labels)])


def dch(z: Rows, labels: Labels, gamma: float = 20.0, similar_fraction: float | None = None) -> float:
    k = len(z[0])
    w1, w0 = balance(labels) if similar_fraction is None else (1 / similar_fraction, 1 / (1 - similar_fraction))
    values = []
    for i, j, s in pairs(labels):
        d = k / 2 * (1 - cosine(z[i], z[j]))
        values.append(w1 * (log(d / gamma) + log(1 + gamma / d)) if s else w0 * log(1 + gamma / (d + 1e-5 * k)))
    return mean(values)


def likelihood(z: Rows, labels: Labels, scale: float) -> float:
    return mean([log(1 + exp(scale * dot(z[i], z[j]))) - s * scale * dot(z[i], z[j]) for i, j, s in pairs(labels)])


def dhn(z: Rows, labels: Labels) -> float:
    return likelihood(z, labels, 1.0)


def dpsh(z: Rows, labels: Labels) -> float:
    return likelihood(z, labels, 0.5)


def hashnet(z: Rows, labels: Labels, beta: float = 1.0, overlap_weights: bool = True) -> float:
    h = [[tanh(beta * x) for x in row] for row in z]
    w1, w0 = balance(labels)
    values = []
    for i, j, s in pairs(labels):
        x = 10 / len(z[0]) * dot(h[i], h[j])
        overlap = len(labels[i] & labels[j]) / len(labels[i] | labels[j]) if s and overlap_weights else 1.0
        values.append((w1 * overlap if s else w0) * (log(1 + exp(x)) - s * x))
    return mean(values)


def wglhh(z: Rows, labels: Labels, alpha: float = 0.1, balanced: bool = False) -> float:
    k = len(z[0])
    w1, w0 = balance(labels) if balanced else (1.1 if k < 32 else 1.7 if k == 64 else 1.6, 1.0)
    values = []
    for i, j, s in pairs(labels):
        c = cosine(z[i], z[j])
        p = exp(-alpha * (k / 2 * (1 - c)) ** 2)
        divergence = p * log(2 * p / (p + s)) + (log(2 / (1 + p)) if s else 0.0)
        values.append((w1 if s else w0) * exp(abs((1 + c) / 2 - s)) * divergence)
    return mean(values)


def wglhh_h2q(z: Rows, labels: Labels, alpha: float = 0.1) -> float:
    """As the code of the authors of Householder quantization has it, with balanced weights."""
    k = len(z[0])
    w1, w0 = balance(labels)
    values = []
    for i, j, s in pairs(labels):
        c = cosine(z[i], z[j])
        x = alpha * (k * (1 - c) / 2) ** 2
        log_sigmoid = -log(1 + exp(-x))
        value = (1 + exp(-x)) * log_sigmoid - x * exp(-x) if s else exp(-x)
        values.append((w1 if s else w0) * exp(abs(0.5 * (c + 1) - s)) * value)
    return mean(values)


def hyp2(z: Rows, labels: Labels, proxies: Rows, margin: float, beta: float = 0.5, every: bool = False) -> float:
    near, far, irrelevant = [], [], []
    for row, own in zip(z, labels, strict=True):
        for c, proxy in enumerate(proxies):
            if c in own:
                near.append(1 - cosine(row, proxy))
            else:
                far.append(max(0.0, cosine(row, proxy) - margin))
    for i, j, s in pairs(labels):
        if not s and (every or (len(labels[i]) > 1 and len(labels[j]) > 1)):
            irrelevant.append(max(0.0, cosine(z[i], z[j]) - margin))
    return mean(near) + mean(far) + beta * mean(irrelevant)


def csq(z: Rows, labels: Labels, centers: Rows, ties: list[float]) -> float:
    values = []
    for row, own in zip(z, labels, strict=True):
        for bit, x in enumerate(row):
            votes = sum(centers[c][bit] for c in own)
            target = (1 + (ties[bit] if votes == 0 else votes / abs(votes))) / 2
            h = (1 + tanh(x)) / 2
            if own:
                values.append(-(target * log(h) + (1 - target) * log(1 - h)))
    return mean(values)


def orthohash(z: Rows, labels: Labels, codebook: Rows, scale: float = 8.0, margin: float = 0.2) -> float:
    values = []
    for row, own in zip(z, labels, strict=True):
        logits = [scale * (cosine(row, code) - margin * (c in own)) for c, code in enumerate(codebook)]
        total = log(sum(exp(x) for x in logits))
        if own:
            values.append(-sum((logits[c] - total) / len(own) for c in own))
    return mean(values)


def dsh(z: Rows, labels: Labels) -> float:
    margin, values = 2.0 * len(z[0]), []
    for i, j, s in pairs(labels):
        d = sum((x - y) ** 2 for x, y in zip(z[i], z[j], strict=True))
        values.append(d / 2 if s else max(0.0, margin - d) / 2)
    return mean(values)


def dtsh(z: Rows, labels: Labels, margin: float = 5.0, scale: float = 0.5) -> float:
    n, by_item = len(z), []
    for i in range(n):
        values = []
        for p in range(n):
            if p != i and labels[i] & labels[p]:
                values += [
                    log(1 + exp(-(scale * dot(z[i], z[p]) - scale * dot(z[i], z[m]) - margin)))
                    for m in range(n)
                    if m != i and not labels[i] & labels[m]
                ]
        if values:
            by_item.append(mean(values))
    return mean(by_item)


def dbdh(z: Rows, labels: Labels, balance: float = 0.1) -> float:
    u = [[max(-1.0, min(1.0, x)) for x in row] for row in z]
    return likelihood(u, labels, 0.5) + balance * mean([mean(row) ** 2 for row in u])


def mihash(z: Rows, labels: Labels, n_bins: int = 16) -> float:
    h = [[2 / (1 + exp(-x)) - 1 for x in row] for row in z]
    k, n = len(z[0]), len(z)
    width = k / n_bins

    def entropy(distances: list[float]) -> float:
        total = 0.0
        for center in range(n_bins + 1):
            p = mean([max(0.0, 1 - abs(d - center * width) / width) for d in distances])
            total -= p * log(p + 1e-7)
        return total

    values = []
    for i in range(n):
        others = [((k - dot(h[i], h[j])) / 2, bool(labels[i] & labels[j])) for j in range(n) if j != i]
        kinds = [[d for d, s in others if s], [d for d, s in others if not s]]
        if others:
            conditional = sum(len(kind) / len(others) * entropy(kind) for kind in kinds)
            values.append(entropy([d for d, _ in others]) - conditional)
    return -mean(values)


def dpn(z: Rows, labels: Labels, codebook: Rows, ties: list[float], margin: float = 1.0) -> float:
    values = []
    for row, own in zip(z, labels, strict=True):
        for bit, x in enumerate(row):
            votes = sum(codebook[c][bit] for c in own)
            if own:
                values.append(max(0.0, margin - x * (ties[bit] if votes == 0 else votes / abs(votes))))
    return mean(values)


def classified(codes: Rows, labels: Labels, weight: Rows, bias: list[float] | None = None) -> float:
    """Cross-entropy of a linear classifier, with the same share for each of an item's labels."""
    values = []
    for row, own in zip(codes, labels, strict=True):
        logits = [dot(row, w) + (0.0 if bias is None else bias[c]) for c, w in enumerate(weight)]
        total = log(sum(exp(x) for x in logits))
        if own:
            values.append(sum(total - logits[c] for c in own) / len(own))
    return mean(values)


def greedyhash(z: Rows, labels: Labels, weight: Rows) -> float:
    return classified([signs(row) for row in z], labels, weight)


def jmlh(z: Rows, labels: Labels, weight: Rows, bias: list[float], kl_weight: float = 0.2) -> float:
    divergences = []
    for row, own in zip(z, labels, strict=True):
        p = [1 / (1 + exp(-x)) for x in row]
        if own:
            divergences.append(sum(q * log(2 * q) + (1 - q) * log(2 * (1 - q)) for q in p if 0 < q < 1))
    bits = [[1.0 if x > 0 else 0.0 for x in row] for row in z]
    return classified(bits, labels, weight, bias) + kl_weight * mean(divergences)


def halves(z: Rows) -> Rows:
    """For each bit, 1 for the half of the items with the larger values, -1 for the others."""
    codes = [[-1.0] * len(z[0]) for _ in z]
    for bit in range(len(z[0])):
        for i in sorted(range(len(z)), key=lambda i: -z[i][bit])[: len(z) // 2]:
            codes[i][bit] = 1.0
    return codes


def distance_to(z: Rows, codes: Rows) -> float:
    return mean([(x - b) ** 2 for r, c in zip(z, codes, strict=True) for x, b in zip(r, c, strict=True)])


def bihalf(z: Rows, labels: Labels, weight: Rows, gamma: float = 6.0) -> float:
    return classified(halves(z), labels, weight) + gamma / 2 * distance_to(z, halves(z))


def sdhc(z: Rows, labels: Labels, weight: Rows, bias: list[float], variance: float = 1.0) -> float:
    u = [[tanh(x) for x in row] for row in z]
    squares = [mean([x * x for x in row]) for row, own in zip(u, labels, strict=True) if own]
    return classified(u, labels, weight, bias) - variance / 2 * mean(squares)


def orthoarc(z: Rows, labels: Labels, codebook: Rows, scale: float = 8.0, margin: float = 0.2) -> float:
    values = []
    for row, own in zip(z, labels, strict=True):
        cosines = [max(-0.99999, min(0.99999, cosine(row, code))) for code in codebook]
        logits = [scale * cos(acos(x) + margin * (c in own)) for c, x in enumerate(cosines)]
        total = log(sum(exp(x) for x in logits))
        if own:
            values.append(-sum((logits[c] - total) / len(own) for c in own))
    return mean(values)


def dfh(z: Rows, labels: Labels, centers: Rows, eta: float = 0.5, mu: float = 1.0) -> float:
    codes = []
    for row, own in zip(z, labels, strict=True):
        codes.append(signs([mu * sum(centers[c][bit] for c in own) + x for bit, x in enumerate(row)]))
    return likelihood(z, labels, 0.5) + eta * distance_to(z, codes)


def bihalfunsupervised(z: Rows, features: Rows, gamma: float = 6.0) -> float:
    codes, half = halves(z), len(z) // 2
    values = [(cosine(codes[i], codes[half + i]) - cosine(features[i], features[half + i])) ** 2 for i in range(half)]
    return mean(values) + gamma / 2 * distance_to(z, codes)


def cibhash(z: Rows, view: Rows, temperature: float = 0.3, kl_weight: float = 0.001) -> float:
    both, n = z + view, len(z)
    codes, values = [signs(row) for row in both], []
    for i in range(2 * n):
        total = sum(exp(cosine(codes[i], codes[j]) / temperature) for j in range(2 * n) if j != i)
        values.append(log(total) - cosine(codes[i], codes[(i + n) % (2 * n)]) / temperature)
    divergences = []
    for row, other in zip(z, view, strict=True):
        for x, y in ((row, other), (other, row)):
            p, q = ([1 / (1 + exp(-v)) for v in logits] for logits in (x, y))
            divergences.append(
                sum(a * log(a / b) + (1 - a) * log((1 - a) / (1 - b)) for a, b in zip(p, q, strict=True))
            )
    return mean(values) + kl_weight * mean(divergences)


def adsh(
    z: Rows,
    labels: Labels,
    codes: Rows,
    database: Labels,
    positions: list[int],
    gamma: float = 200.0,
    dissimilar: float = -1.0,
) -> float:
    u = [[tanh(x) for x in row] for row in z]
    k, total = len(z[0]), 0.0
    for row, own in zip(u, labels, strict=True):
        for code, other in zip(codes, database, strict=True):
            total += (dot(row, code) - k * (1.0 if own & other else dissimilar)) ** 2
    for row, position in zip(u, positions, strict=True):
        total += gamma * sum((v - x) ** 2 for v, x in zip(codes[position], row, strict=True))
    return total / (len(z) * len(codes))


def signs(row: list[float]) -> list[float]:
    return [1.0 if x > 0 else -1.0 for x in row]


def by_entry(function: Callable[[float], float]) -> Callable[[Rows], float]:
    """A penalty that is a sum over a row's entries, on average."""
    return lambda z: mean([sum(function(x) for x in row) for row in z])


PENALTIES: dict[str, Callable[[Rows], float]] = {
    "l2": by_entry(lambda x: (x - (1 if x > 0 else -1)) ** 2),
    "l1": by_entry(lambda x: abs(x - (1 if x > 0 else -1))),
    "dhn": by_entry(lambda x: log(cosh(abs(x) - 1))),
    "dhn_implementation": by_entry(lambda x: log(cosh(abs(x))) - 1),
    "dch": lambda z: mean([log(1 + len(r) / 2 * (1 - cosine([abs(x) for x in r], [1.0] * len(r))) / 20) for r in z]),
    "cubic": by_entry(lambda x: abs(abs(x) - 1) ** 3),
    "csq": by_entry(lambda x: log(cosh(abs(2 * (1 + tanh(x)) / 2 - 1) - 1))),
}


def hswd(z: Rows, ideal: Rows) -> float:
    """With the random signs given: for each bit, the values in order against the signs in order."""
    columns = zip(zip(*z, strict=True), zip(*ideal, strict=True), strict=True)
    return mean([(x - b) ** 2 for ours, theirs in columns for x, b in zip(sorted(ours), sorted(theirs), strict=True)])


def main() -> None:
    """Draw two batches and write what every loss is on them."""
    draw = random.Random(0)
    n_bits, n_classes = 8, 4
    codebook = [
        [1.0, 1, 1, 1, 1, 1, 1, 1],
        [1.0, -1, 1, -1, 1, -1, 1, -1],
        [1.0, 1, -1, -1, 1, 1, -1, -1],
        [1.0, -1, -1, 1, 1, -1, -1, 1],
    ]
    bias = [0.5, -0.25, 0.0, 1.0]
    proxies = [[draw.gauss(0, 1) for _ in range(n_bits)] for _ in range(n_classes)]
    cases = []
    for labels in ([{0}, {1}, {0}, {3}, {1}, {0}], [{0, 1}, {2, 3}, {1}, {0, 1, 2}, {3}, {2, 3}]):
        z = [[draw.gauss(0, 1) for _ in range(n_bits)] for _ in labels]
        codes = [signs([draw.gauss(0, 1) for _ in range(n_bits)]) for _ in labels]
        ties = signs([draw.gauss(0, 1) for _ in range(n_bits)])
        values = {
            "CosineEmbedding": cosine_embedding(z, labels, 0.0),
            "DCH": dch(z, labels),
            "DHN": dhn(z, labels),
            "DPSH": dpsh(z, labels),
            "WGLHH": wglhh(z, labels),
            "HashNet": hashnet(z, labels),
            "HyP2": hyp2(z, labels, proxies, 0.0),
            "ADSH": adsh(z, labels, codes, labels, list(range(len(z)))),
            "CSQ": csq(z, labels, codebook, ties),
            "OrthoHash": orthohash(z, labels, codebook),
            "BiHalf": bihalf(z, labels, proxies),
            "DBDH": dbdh(z, labels),
            "DFH": dfh(z, labels, codebook),
            "DPN": dpn(z, labels, codebook, ties),
            "DSH": dsh(z, labels),
            "DTSH": dtsh(z, labels),
            "GreedyHash": greedyhash(z, labels, proxies),
            "JMLH": jmlh(z, labels, proxies, bias),
            "MIHash": mihash(z, labels),
            "OrthoArc": orthoarc(z, labels, codebook),
            "SDHC": sdhc(z, labels, proxies, bias),
        }
        unsupervised = {"BiHalfUnsupervised": bihalfunsupervised(z, codes), "CIBHash": cibhash(z, z[1:] + z[:1])}
        cases.append({
            "embeddings": z, "labels": [sorted(own) for own in labels], "codes": codes, "ties": ties,
            "losses": values, "unsupervised": unsupervised,
            "penalties": {name: penalty(z) for name, penalty in PENALTIES.items()},
        })  # fmt: skip
    document = {
        "n_classes": n_classes, "margin": 0.0, "codebook": codebook, "proxies": proxies, "bias": bias, "cases": cases,
    }  # fmt: skip
    Path(__file__).with_name("losses.json").write_text(json.dumps(document) + "\n")


if __name__ == "__main__":
    main()
