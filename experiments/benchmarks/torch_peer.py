"""What PyTorch does instead, in a process of its own: with TensorFlow in one, its import crashes.

Started as `python -m experiments.benchmarks.torch_peer KIND ARRAYS.npz`, it says when it is ready;
for each line that it reads then, it measures once and prints seconds and what it found.
"""

from __future__ import annotations

import importlib.util
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from experiments.benchmarks.measure import Timer, timer

_NEEDS = {"matching": ("torch",), "recall": ("torch", "torchmetrics")}

# Does the work once, and returns what it found.
Work = Callable[[], float]


def started(
    kind: str,
    folder: pathlib.Path,
    arrays: Mapping[str, Any],
    *,
    check: Callable[[float], None] = lambda found: None,
) -> Timer | str:
    """Starts the process: a timer of its work, or why there is none.

    Args:
        kind: "matching" or "recall".
        folder: where the arrays are written for it.
        arrays: what the work needs, see `WORKS`.
        check: called with what each measurement found.
    """
    missing = [name for name in _NEEDS[kind] if importlib.util.find_spec(name) is None]
    if missing:
        return f"{' and '.join(missing)} not installed: pip install 'imgtext_tf[peers]'"
    path = folder / f"{kind}.npz"
    np.savez(path, **arrays)
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.benchmarks.torch_peer", kind, os.fspath(path)],
        cwd=pathlib.Path(__file__).resolve().parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    if not process.stdout.readline():
        return f"PyTorch's process ended with code {process.wait()}: what it printed says why"

    def measure() -> float:
        process.stdin.write("\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"PyTorch's process ended with code {process.wait()}: see above")
        seconds, found = map(float, line.split())
        check(found)
        return seconds

    return measure


def matching_step(arrays: Mapping[str, np.ndarray]) -> tuple[Work, int]:
    """A training step on each batch of `caption_ids_N` and `image_features_N`: (work, batches)."""
    import torch

    # As many as TensorFlow takes; PyTorch counts cores in another way.
    torch.set_num_threads(os.cpu_count() or 1)
    functional = torch.nn.functional
    words, word_dim, units, features, count = (
        int(arrays[name]) for name in ("words", "word_dim", "units", "features", "batches")
    )
    batches = [
        (
            torch.from_numpy(arrays[f"caption_ids_{number}"]).long(),
            torch.from_numpy(arrays[f"image_features_{number}"]),
        )
        for number in range(count)
    ]
    embed = torch.nn.Embedding(words, word_dim)
    gru = torch.nn.GRU(word_dim, units, batch_first=True)
    linear = torch.nn.Linear(features, units)
    weights = [*embed.parameters(), *gru.parameters(), *linear.parameters()]
    optimizer = torch.optim.Adam(weights, 2e-4)

    def step(ids: torch.Tensor, images: torch.Tensor) -> float:
        lengths, order = (ids != 0).sum(1).sort(descending=True)
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            embed(ids[order]), lengths, batch_first=True
        )
        texts = functional.normalize(gru(packed)[1][0])
        images = functional.normalize(linear(functional.normalize(images[order])))
        scores = images @ texts.T
        own = scores.diag()
        off = ~torch.eye(len(scores), dtype=torch.bool)
        of_images = ((0.2 + scores - own[:, None]).clamp(min=0) * off).max(1).values
        of_texts = ((0.2 + scores - own[None, :]).clamp(min=0) * off).max(0).values
        loss = of_images.sum() + of_texts.sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 2.0)
        optimizer.step()
        return loss.item()

    return lambda: [step(*batch) for batch in batches][-1], count


def recall(arrays: Mapping[str, np.ndarray]) -> tuple[Work, int]:
    """Recall at `cutoff` of `scores` [Q, A] with the right answers `image_of`, by torchmetrics."""
    import torch
    from torchmetrics.functional.retrieval import retrieval_recall

    scores, image_of = (torch.from_numpy(arrays[name]) for name in ("scores", "image_of"))
    cutoff = int(arrays["cutoff"])

    def run() -> float:
        total = 0.0
        for row, image in zip(scores, image_of, strict=True):
            right = torch.zeros(len(row), dtype=torch.bool)
            right[image] = True
            total += float(retrieval_recall(row, right, top_k=cutoff))
        return total / len(scores)

    return run, 1


WORKS = {"matching": matching_step, "recall": recall}


def main(kind: str, path: str) -> None:
    """Measures once for each line of the input."""
    with np.load(path, allow_pickle=False) as arrays:
        work, units = WORKS[kind](dict(arrays))
    found = 0.0

    def once() -> None:
        nonlocal found
        found = work()

    measure = timer(once, units=units, warm=kind != "recall")
    print("ready", flush=True)
    for _ in sys.stdin:
        print(measure(), found, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
