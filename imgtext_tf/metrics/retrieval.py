"""Metrics of image-sentence retrieval in both directions, NumPy only.

A query may have several right answers; its rank is that of the first of them. Answers of equal
score stand in random order: a rank is then the expected one, a recall the expected one, so that a
model that gives all answers one score is at chance, neither at 0 nor at 100 %.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

CUTOFFS = (1, 5, 10)
MEASURES = ("cosine", "order")
_BLOCK_VALUES = 32 * 2**20  # scores at a time: 128 MB


@dataclasses.dataclass(frozen=True)
class Ranks:
    """How each query's best right answer stands; all [Q] int64.

    Attributes:
        before: wrong answers with a higher score.
        tied: wrong answers with the same score.
        right: right answers with this score, at least 1.
    """

    before: np.ndarray
    tied: np.ndarray
    right: np.ndarray

    def expected(self) -> np.ndarray:
        """The expected number of wrong answers before the first right one: [Q] float64, from 0."""
        return self.before + self.tied / (self.right + 1)

    def recall(self, cutoff: int) -> float:
        """The expected share of queries with a right answer among the first `cutoff`."""
        # Of `places` drawn from the tied answers without order, none is right.
        places = np.clip(cutoff - self.before, 0, self.right + self.tied)
        missed = np.ones(len(self.before))
        for place in range(cutoff):
            left = np.maximum(self.tied - place, 0) / np.maximum(self.tied + self.right - place, 1)
            missed *= np.where(place < places, left, 1.0)
        return float(np.mean(1.0 - missed))


def retrieval_metrics(
    images: np.ndarray,
    captions: np.ndarray,
    image_of: np.ndarray,
    *,
    folds: int = 1,
    measure: str = "cosine",
) -> dict[str, float]:
    """Recall, ranks and their sum for embeddings, computed in blocks.

    Args:
        images: [N, D] float.
        captions: [C, D] float.
        image_of: [C] int, the image of each caption, in [0, N); every image has a caption.
        folds: cut the images into so many equal parts, in their order, and average over them (COCO
            1k: 5 folds of 1,000).
        measure: "cosine" (inner product, of unit vectors) or "order" (order embeddings).

    Returns:
        `i2t_r1`, `i2t_r5`, `i2t_r10`, `i2t_median`, `i2t_mean`, the same of `t2i`, and `rsum`, the
        sum of the six recalls. Recalls in percent; ranks count from 1, the median rounded down.

    Raises:
        ValueError: if the shapes do not fit, a value is not finite, or an image has no caption.

    Reference: Liu2019, Section 4 (Karpathy and Fei-Fei 2015, Section 4.2).
    """
    for name, values in (("images", images), ("captions", captions)):
        if values.ndim != 2 or not np.isfinite(values).all():
            raise ValueError(f"{name}: give finite embeddings [N, D], not {values.shape}")
    if images.shape[1] != captions.shape[1]:
        raise ValueError(f"embeddings of {images.shape[1]} and {captions.shape[1]} dimensions")
    score = _SCORES[_known(measure)]
    return _mean_over_folds(
        lambda rows, columns: _ranks_of_embeddings(
            images[rows], captions[columns], image_of[columns] - rows.start, score
        ),
        len(images),
        np.asarray(image_of),
        folds,
    )


def retrieval_metrics_of_scores(
    scores: np.ndarray, image_of: np.ndarray, *, folds: int = 1
) -> dict[str, float]:
    """As `retrieval_metrics`, for a whole matrix of scores [N, C], such as an ensemble's.

    Raises:
        ValueError: as `retrieval_metrics`.
    """
    if scores.ndim != 2 or scores.shape[1] != len(image_of) or not np.isfinite(scores).all():
        raise ValueError(f"scores: give finite ones [N, {len(image_of)}], not {scores.shape}")

    def ranks(rows: slice, columns: np.ndarray) -> tuple[Ranks, Ranks]:
        part, owner = scores[rows][:, columns], image_of[columns] - rows.start
        blocks = ((slice(s, s + 256), part[s : s + 256]) for s in range(0, len(part), 256))
        captions = ((slice(s, s + 256), part.T[s : s + 256]) for s in range(0, part.shape[1], 256))
        return _ranks_of_images(blocks, owner, len(part)), _ranks_of_captions(captions, owner)

    return _mean_over_folds(ranks, len(scores), np.asarray(image_of), folds)


def ensemble_scores(scores: Sequence[np.ndarray]) -> np.ndarray:
    """The mean of several models' scores [N, C] of the same images and captions.

    Raises:
        ValueError: if their shapes differ.
    """
    shapes = {one.shape for one in scores}
    if len(shapes) != 1:
        raise ValueError(f"scores of different shapes cannot be averaged: {sorted(shapes)}")
    return np.mean([np.asarray(one, np.float32) for one in scores], axis=0)


def similarity(images: np.ndarray, captions: np.ndarray, *, measure: str = "cosine") -> np.ndarray:
    """The matrix of scores: [N, D], [C, D] float -> [N, C] float32.

    Raises:
        ValueError: if the measure is unknown.
    """
    score = _SCORES[_known(measure)]
    blocks = [score(images[rows], captions) for rows in _blocks(len(images), len(captions))]
    return np.concatenate(blocks)


def _known(measure: str) -> str:
    if measure not in MEASURES:
        raise ValueError(f"unknown measure {measure!r}: use one of {', '.join(MEASURES)}")
    return measure


def _cosine(queries: np.ndarray, answers: np.ndarray) -> np.ndarray:
    return np.asarray(queries, np.float32) @ np.asarray(answers, np.float32).T


def _order(images: np.ndarray, captions: np.ndarray) -> np.ndarray:
    scores = np.empty([len(images), len(captions)], np.float32)
    for row, image in enumerate(np.asarray(images, np.float32)):
        excess = np.maximum(np.asarray(captions, np.float32) - image, 0)
        scores[row] = -np.einsum("cd,cd->c", excess, excess)
    return scores


_SCORES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "cosine": _cosine,
    "order": _order,
}


def _blocks(rows: int, columns: int) -> Iterator[slice]:
    size = max(1, _BLOCK_VALUES // max(columns, 1))
    return (slice(start, min(start + size, rows)) for start in range(0, rows, size))


def _ranks_of_embeddings(images, captions, owner, score) -> tuple[Ranks, Ranks]:
    """The ranks of both directions; a score is always compared with those of its own product."""
    of_images = ((rows, score(images[rows], captions)) for rows in _blocks(len(images), len(owner)))
    of_captions = (
        (rows, score(images, captions[rows]).T) for rows in _blocks(len(owner), len(images))
    )
    return _ranks_of_images(of_images, owner, len(images)), _ranks_of_captions(of_captions, owner)


def _ranks_of_images(blocks, owner: np.ndarray, count: int) -> Ranks:
    """Ranks of the best own caption of each image; a block holds whole rows."""
    order = np.argsort(owner, kind="stable")
    bounds = np.searchsorted(owner[order], np.arange(count + 1))
    found = np.zeros([3, count], np.int64)
    for rows, scores in blocks:
        for place, row in enumerate(range(*rows.indices(count))):
            line = scores[place]
            own = line[order[bounds[row] : bounds[row + 1]]]
            best = own.max()
            right = np.count_nonzero(own == best)
            found[:, row] = (
                np.count_nonzero(line > best),
                np.count_nonzero(line == best) - right,
                right,
            )
    return Ranks(*found)


def _ranks_of_captions(blocks, owner: np.ndarray) -> Ranks:
    """Ranks of the own image of each caption; a block [captions, images] holds whole rows."""
    found = np.zeros([2, len(owner)], np.int64)
    for rows, scores in blocks:
        own = np.take_along_axis(scores, owner[rows, None], axis=1)
        found[0, rows] = np.count_nonzero(scores > own, axis=1)
        found[1, rows] = np.count_nonzero(scores == own, axis=1) - 1
    return Ranks(found[0], found[1], np.ones(len(owner), np.int64))


def _mean_over_folds(
    ranks: Callable[[slice, np.ndarray], tuple[Ranks, Ranks]],
    count: int,
    image_of: np.ndarray,
    folds: int,
) -> dict[str, float]:
    if len(image_of) and (image_of.min() < 0 or image_of.max() >= count):
        raise ValueError(f"image_of: the captions are of images in [0, {count})")
    if missing := count - len(np.unique(image_of)):
        raise ValueError(f"{missing} of {count} images have no caption: leave them out")
    if folds < 1 or count % folds:
        raise ValueError(f"{count} images make no {folds} equal folds")
    size = count // folds
    parts = []
    for start in range(0, count, size):
        columns = np.flatnonzero((image_of >= start) & (image_of < start + size))
        parts.append(_metrics(*ranks(slice(start, start + size), columns)))
    return {name: float(np.mean([part[name] for part in parts])) for name in parts[0]}


def _metrics(of_images: Ranks, of_captions: Ranks) -> Mapping[str, float]:
    values = {}
    for name, ranks in (("i2t", of_images), ("t2i", of_captions)):
        for cutoff in CUTOFFS:
            values[f"{name}_r{cutoff}"] = 100 * ranks.recall(cutoff)
        expected = ranks.expected()
        values[f"{name}_median"] = float(np.floor(np.median(expected)) + 1)
        values[f"{name}_mean"] = float(np.mean(expected) + 1)
    recalls = [value for name, value in values.items() if "_r" in name]
    return values | {"rsum": sum(recalls)}
