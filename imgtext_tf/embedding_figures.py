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
    points = _in_the_plane([images, texts], seed)
    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.subplots()
    _scatter(axes, *points, title=title)
    axes.legend()
    return figure


def before_and_after_figure(
    before: tuple[np.ndarray, np.ndarray],
    after: tuple[np.ndarray, np.ndarray],
    *,
    titles: tuple[str, str] = ("before", "after"),
    title: str = "",
    seed: int = 0,
) -> Figure:
    """Images and texts before and after a training, side by side, by one t-SNE of all of them.

    One of all: places in both pictures can be compared.

    Args:
        before: images [N, D] and texts [M, D] float.
        after: the same ones, later.
        titles: of the two pictures.
        title: above both.
        seed: of t-SNE.

    Returns:
        A figure.

    Reference: Liu2019, Section 4 (van der Maaten and Hinton 2008).
    """
    points = _in_the_plane([*before, *after], seed)
    figure = Figure(figsize=(11, 6), layout="constrained")
    figure.suptitle(title)
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    _scatter(left, *points[:2], title=titles[0])
    _scatter(right, *points[2:], title=titles[1])
    right.legend()
    return figure


def _in_the_plane(parts: Sequence[np.ndarray], seed: int) -> list[np.ndarray]:
    whole = np.concatenate(parts).astype(np.float32)
    perplexity = min(30.0, (len(whole) - 1) / 3)
    points = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(whole)
    return np.split(points, np.cumsum([len(part) for part in parts])[:-1])


def _scatter(axes, images: np.ndarray, texts: np.ndarray, *, title: str) -> None:
    for part, label, colour in zip((images, texts), ("image", "text"), _COLOURS, strict=True):
        axes.scatter(*part.T, s=9, alpha=0.7, label=label, color=colour)
    axes.set(title=title, xticks=[], yticks=[])


def write_projector(
    log_dir: str | os.PathLike,
    embeddings: Mapping[str, np.ndarray],
    labels: Mapping[str, Sequence[str]],
) -> None:
    """Writes embeddings for TensorBoard's projector.

    The projector looks for its settings beside event files only; what they name lies in a folder.

    Args:
        log_dir: a folder with event files.
        embeddings: modality -> [N, D] float.
        labels: modality -> [N] names.

    Raises:
        ValueError: if there are not as many names as embeddings.
    """
    vectors, names = [], ["modality\tlabel\n"]
    for modality, values in embeddings.items():
        for value, label in zip(values, labels[modality], strict=True):
            vectors.append("\t".join(f"{number:.5g}" for number in value) + "\n")
            names.append(f"{modality}\t{' '.join(label.split())}\n")
    settings = (
        'embeddings {\n  tensor_name: "joint embedding"\n  tensor_path: "projector/tensors.tsv"\n'
        '  metadata_path: "projector/metadata.tsv"\n}\n'
    )
    (Path(log_dir) / "projector").mkdir(parents=True, exist_ok=True)
    for file, text in (
        ("projector/tensors.tsv", "".join(vectors)),
        ("projector/metadata.tsv", "".join(names)),
        ("projector_config.pbtxt", settings),
    ):
        path = Path(log_dir) / file
        temporary = path.with_name(f".tmp-{path.name}")
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)


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
