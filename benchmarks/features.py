"""Images a second: `extract_features` beside the plain loop that one writes first, in one run on the same threads.

    python benchmarks/features.py [--images 2048] [--rounds 3] [--threads 2]

The peer is PyTorch's eager loop: decode and resize one by one, stack 64 images, channels first, one forward pass on all
threads. Both read the same CIFAR-10 images, resized from 32 to 128 pixels, and run the same EfficientNet-Lite0 in
float32; the rounds alternate and the best of each counts. Nothing is cached.
"""

import argparse
import os
import time

import numpy as np
import torch

from h2q.datasets import load_dataset
from h2q.similarity.backbones import load_backbone
from h2q.similarity.features import extract_features


def eager(images, backbone, batch_size=64):
    """The plain loop."""
    rows = []
    with torch.inference_mode():
        for start in range(0, len(images), batch_size):
            batch = torch.stack(
                [backbone.preprocess(images[i]) for i in range(start, min(start + batch_size, len(images)))]
            )
            rows.append(backbone.module(batch.contiguous()).numpy())
    return np.concatenate(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    images, backbone = load_dataset("cifar10").images[: options.images], load_backbone("efficientnet-lite0")
    ways = {
        "eager loop, batch 64": lambda: eager(images, backbone),
        "extract_features, batch 16": lambda: extract_features(images, backbone, progress=False),
    }
    walls, processors, features = {}, {}, {}
    for _ in range(options.rounds):
        for name, compute in ways.items():
            wall, processor = time.perf_counter(), time.process_time()
            features[name] = compute()
            walls.setdefault(name, []).append(time.perf_counter() - wall)
            processors.setdefault(name, []).append(time.process_time() - processor)
    peer, ours = features.values()
    cosine = (peer * ours).sum(1) / np.linalg.norm(peer, axis=1) / np.linalg.norm(ours, axis=1)
    base = min(walls["eager loop, batch 64"])
    print(f"{options.images} images, {options.threads} threads, load {os.getloadavg()[0]:.1f}\n")
    print("| way | images/s | against the eager loop | processor time per image (ms) | 60,000 images (s) |")
    print("|---|---|---|---|---|")
    for name in ways:
        wall, processor = min(walls[name]), min(processors[name])
        n = options.images
        print(f"| {name} | {n / wall:.0f} | {base / wall:.2f} | {1000 * processor / n:.2f} | {60_000 * wall / n:.0f} |")
    print(f"\nlowest cosine similarity between the two: {cosine.min():.7f}")


if __name__ == "__main__":
    main()
