"""Pictures of a joint embedding: t-SNE, the files of TensorBoard's projector, contact sheets."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.manifold import TSNE

_LINE = 72  # letters
_COLOURS = ("#1f77b4", "#d62728")


def modality_figure(
    images: np.ndarray, texts: np.ndarray, *, title: str = "", seed: int = 0
) -> Figure:
    """Images and texts of a joint embedding in the plane, by t-SNE.

    Args:
        images: [N, D] float.
        texts: [M, D] float.
        title: of the picture.
        seed: of t-SNE.

    Returns:
        A figure.

    Reference: Liu2019, Section 4 (van der Maaten and Hinton 2008).
    """
    both = np.concatenate([images, texts]).astype(np.float32)
    perplexity = min(30.0, (len(both) - 1) / 3)
    points = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(both)
    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.subplots()
    for part, label, colour in zip(
        (points[: len(images)], points[len(images) :]), ("image", "text"), _COLOURS, strict=True
    ):
        axes.scatter(*part.T, s=9, alpha=0.7, label=label, color=colour)
    axes.set(title=title, xticks=[], yticks=[])
    axes.legend()
    return figure


def write_projector(
    directory: str | os.PathLike,
    embeddings: Mapping[str, np.ndarray],
    labels: Mapping[str, Sequence[str]],
) -> None:
    """Writes embeddings for TensorBoard's projector, which finds them in its log directory.

    Args:
        directory: below the log directory.
        embeddings: modality -> [N, D] float.
        labels: modality -> [N] names.

    Raises:
        ValueError: if there are not as many names as embeddings.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    vectors, names = [], ["modality\tlabel\n"]
    for modality, values in embeddings.items():
        for value, label in zip(values, labels[modality], strict=True):
            vectors.append("\t".join(f"{number:.5g}" for number in value) + "\n")
            names.append(f"{modality}\t{' '.join(label.split())}\n")
    for file, lines in (("tensors.tsv", vectors), ("metadata.tsv", names)):
        temporary = directory / f".tmp-{file}"
        temporary.write_text("".join(lines), encoding="utf-8")
        os.replace(temporary, directory / file)
    (directory / "projector_config.pbtxt").write_text(
        'embeddings {\n  tensor_name: "joint embedding"\n  tensor_path: "tensors.tsv"\n'
        '  metadata_path: "metadata.tsv"\n}\n',
        encoding="utf-8",
    )


def contact_sheet(
    pictures: Sequence[np.ndarray], captions: Sequence[str], *, title: str = "", columns: int = 5
) -> Figure:
    """Pictures in a grid with a line of text below each.

    Args:
        pictures: [H, W, 3] uint8 each, of any size.
        captions: one a picture.
        title: above all.
        columns: of the grid.

    Raises:
        ValueError: if there are no pictures, or not as many captions.
    """
    if not pictures or len(pictures) != len(captions):
        raise ValueError(f"{len(pictures)} pictures and {len(captions)} captions")
    rows = -(-len(pictures) // columns)
    figure = Figure(figsize=(2.6 * columns, 2.9 * rows + 0.6), layout="constrained")
    figure.suptitle(title, wrap=True, parse_math=False)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, picture, caption in zip(grid, pictures, captions, strict=False):
        axes.imshow(picture)
        axes.set_title(caption, fontsize=8, wrap=True, parse_math=False)
    return figure


def answer_sheet(picture: np.ndarray, answers: Sequence[str], *, title: str = "") -> Figure:
    """A picture beside a list of texts, such as the sentences that were found for it.

    Args:
        picture: [H, W, 3] uint8.
        answers: the first on top; long ones are wrapped.
        title: above all.
    """
    wrapped = [textwrap.fill(one, _LINE, subsequent_indent="          ") for one in answers]
    lines = sum(one.count("\n") + 1 for one in wrapped)
    figure = Figure(figsize=(11, max(4.5, 0.25 * lines + 0.8)), layout="constrained")
    figure.suptitle(title, wrap=True, parse_math=False)
    left, right = figure.subplots(1, 2, width_ratios=[2, 3])
    left.imshow(picture)
    how = {"va": "top", "fontsize": 10, "transform": right.transAxes, "parse_math": False}
    right.text(0, 1, "\n".join(wrapped), **how)
    for axes in (left, right):
        axes.set_axis_off()
    return figure
