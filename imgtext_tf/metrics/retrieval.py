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
Columns = slice | np.ndarray
Scorer = Callable[[slice, Columns], np.ndarray]  # rows and columns -> their scores
_BLOCK_VALUES = 32 * 2**20  # scores at a time: 128 MB
_HELD = 2**30  # bytes of scores that are kept for both directions: 5k x 25k are 500 MB
_CACHED = 64  # captions at a time whose differences stay in the processor's cache


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


@dataclasses.dataclass(frozen=True)
class Member:
    """The embeddings of one model: of an ensemble, or the only one.

    Attributes:
        images: [N, D] float.
        captions: [C, D] float.
        measure: "cosine" (inner product, of unit vectors) or "order" (order embeddings).
    """

    images: np.ndarray
    captions: np.ndarray
    measure: str = "cosine"

    def __post_init__(self) -> None:
        """Sees that they fit together.

        Raises:
            ValueError: if not, or a value is not finite.
        """
        for name, values in (("images", self.images), ("captions", self.captions)):
            if values.ndim != 2 or not np.isfinite(values).all():
                raise ValueError(f"{name}: give finite embeddings [N, D], not {values.shape}")
        widths = self.images.shape[1], self.captions.shape[1]
        if widths[0] != widths[1]:
            raise ValueError(f"embeddings of {widths[0]} and {widths[1]} dimensions")
        if self.measure not in MEASURES:
            raise ValueError(f"unknown measure {self.measure!r}: use one of {', '.join(MEASURES)}")

    def scores(self, rows: slice, columns: Columns) -> np.ndarray:
        """[rows, columns] float32."""
        return _SCORES[self.measure](self.images[rows], self.captions[columns])


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
        measure: see `Member`.

    Returns:
        `i2t_r1`, `i2t_r5`, `i2t_r10`, `i2t_median`, `i2t_mean`, the same of `t2i`, and `rsum`, the
        sum of the six recalls. Recalls in percent; ranks count from 1, the median rounded down.

    Raises:
        ValueError: if the shapes do not fit, a value is not finite, or an image has no caption.

    Reference: Liu2019, Section 4 (Karpathy and Fei-Fei 2015, Section 4.2).
    """
    return ensemble_metrics([Member(images, captions, measure)], image_of, folds=folds)


def ensemble_metrics(
    members: Sequence[Member], image_of: np.ndarray, *, folds: int = 1
) -> dict[str, float]:
    """As `retrieval_metrics`, for the mean of several models' scores, computed in blocks.

    Raises:
        ValueError: if there is no member, or they have other numbers of images or captions.
    """
    shapes = [(len(one.images), len(one.captions)) for one in members]
    return _metrics_of(shapes, [one.scores for one in members], np.asarray(image_of), folds)


def retrieval_metrics_of_scores(
    scores: np.ndarray | Sequence[np.ndarray], image_of: np.ndarray, *, folds: int = 1
) -> dict[str, float]:
    """As `retrieval_metrics`, for a matrix of scores [N, C], or the mean of several.

    Matrices may be memory-mapped files: only a block of each is read at a time.

    Raises:
        ValueError: as `ensemble_metrics`, or if a score is not finite.
    """
    matrices = [scores] if isinstance(scores, np.ndarray) else list(scores)
    for one in matrices:
        if one.ndim != 2 or not all(np.isfinite(one[rows]).all() for rows in _blocks(*one.shape)):
            raise ValueError(f"scores: give finite ones [N, {len(image_of)}], not {one.shape}")

    scorers = [lambda rows, columns, one=one: one[rows][:, columns] for one in matrices]
    return _metrics_of([one.shape for one in matrices], scorers, np.asarray(image_of), folds)


def similarity(images: np.ndarray, captions: np.ndarray, *, measure: str = "cosine") -> np.ndarray:
    """The matrix of scores: [N, D], [C, D] float -> [N, C] float32.

    Raises:
        ValueError: as `Member`.
    """
    member = Member(images, captions, measure)
    return _whole([member.scores], slice(0, len(images)), np.arange(len(captions)))


def _cosine(queries: np.ndarray, answers: np.ndarray) -> np.ndarray:
    return np.asarray(queries, np.float32) @ np.asarray(answers, np.float32).T


def _order(images: np.ndarray, captions: np.ndarray) -> np.ndarray:
    """No product of matrices gives these: 5k x 25k x 1024 take about 50 s of one core."""
    images, captions = np.asarray(images, np.float32), np.asarray(captions, np.float32)
    scores = np.empty([len(images), len(captions)], np.float32)
    for start in range(0, len(captions), _CACHED):
        part = captions[start : start + _CACHED]
        excess = np.empty_like(part)
        for row, image in enumerate(images):
            # max(0, c - i) = max(c, i) - i: NumPy compares slowly with one number.
            np.subtract(np.maximum(part, image, out=excess), image, out=excess)
            scores[row, start : start + _CACHED] = -np.einsum("cd,cd->c", excess, excess)
    return scores


_SCORES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "cosine": _cosine,
    "order": _order,
}


def _blocks(rows: int, columns: int) -> Iterator[slice]:
    size = max(1, _BLOCK_VALUES // max(columns, 1))
    return (slice(start, min(start + size, rows)) for start in range(0, rows, size))


def _mean_scores(scorers: Sequence[Scorer], rows: slice, columns: Columns) -> np.ndarray:
    first = scorers[0](rows, columns)
    if len(scorers) == 1:
        return first
    total = np.array(first, np.float32)
    for scorer in scorers[1:]:
        total += scorer(rows, columns)
    total /= len(scorers)
    return total


def _whole(scorers: Sequence[Scorer], rows: slice, columns: np.ndarray) -> np.ndarray:
    """The mean scores of all rows and columns, filled in blocks: [rows, columns] float32."""
    scores = np.empty([rows.stop - rows.start, len(columns)], np.float32)
    for part in _blocks(*scores.shape):
        scores[part] = _mean_scores(scorers, _inside(rows, part), _view(columns))
    return scores


def _ranks(
    scorers: Sequence[Scorer], rows: slice, columns: np.ndarray, owner: np.ndarray
) -> tuple[Ranks, Ranks]:
    """The ranks of both directions; a score is always compared with those of its own product."""
    count = rows.stop - rows.start
    by_image, by_caption = _blocks(count, len(columns)), _blocks(len(columns), count)
    if 4 * count * len(columns) <= _HELD:
        scores = _whole(scorers, rows, columns)
        of_images = ((part, scores[part]) for part in by_image)
        of_captions = ((part, scores[:, part].T) for part in by_caption)
    else:  # Twice the arithmetic, a block at a time.
        of_images = (
            (part, _mean_scores(scorers, _inside(rows, part), _view(columns))) for part in by_image
        )
        of_captions = (
            (part, _mean_scores(scorers, rows, _view(columns[part])).T) for part in by_caption
        )
    return _ranks_of_images(of_images, owner, count), _ranks_of_captions(of_captions, owner)


def _inside(rows: slice, part: slice) -> slice:
    return slice(rows.start + part.start, rows.start + part.stop)


def _view(places: np.ndarray) -> Columns:
    """Rising places as a slice, if there are no gaps: nothing is then copied."""
    first, last = int(places[0]), int(places[-1])
    return slice(first, last + 1) if last - first + 1 == len(places) else places


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


def _metrics_of(
    shapes: Sequence[tuple[int, ...]], scorers: Sequence[Scorer], image_of: np.ndarray, folds: int
) -> dict[str, float]:
    """The metrics of mean scores, and their mean over folds."""
    if len(set(shapes)) != 1 or shapes[0][1] != len(image_of):
        raise ValueError(
            f"scores of shapes {sorted(set(shapes))} for {len(image_of)} captions cannot be "
            "averaged: all models must have seen the same images and captions"
        )
    count = shapes[0][0]
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
        rows = slice(start, start + size)
        parts.append(_metrics(*_ranks(scorers, rows, columns, image_of[columns] - start)))
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
