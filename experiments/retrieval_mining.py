"""Triplets for training: a callback that mines between updates, and the batches made of them."""

from __future__ import annotations

import math
import pathlib

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from experiments.retrieval_data import Split
from experiments.retrieval_flags import Settings
from imgtext_tf import distribution, mining, runs, untrusted
from imgtext_tf.data import shape_batches
from imgtext_tf.models import semantic_retrieval
from imgtext_tf.models.semantic_retrieval import TripletModel

_AT_ONCE = 256  # images or texts read together
_CHUNK = 16  # images of one shape that run through the backbone together


class TripletFeed(keras.callbacks.Callback):
    """Mines a pool of triplets every `mine_every` updates, with the weights of that moment.

    The triplets of the current pool stand in the run directory, so that a run that is stopped
    between two minings goes on with those it had; at a mining they are computed again.
    """

    def __init__(self, split: Split, settings: Settings, run_dir: runs.RunDirectory):
        """Finds the relevant images of all train images.

        Args:
            split: the train split.
            settings: of the run.
            run_dir: where the current pool is kept.
        """
        super().__init__()
        self._split = split
        self._settings = settings
        self._folder = run_dir.path / "mining"
        self._checkpoints = run_dir.checkpoints
        self._weights = semantic_retrieval.EMBEDDINGS[settings.embedding]
        self._with_text = bool(set(self._weights) - {"visual"})
        self.neighbours = None
        if settings.triplets == "mined":
            logging.info("relevant images of %d images", len(split.ids))
            self.neighbours = mining.nearest_texts(split.tfidf, settings.neighbours)
        self._step = 0
        self._triplets = np.zeros([0, 3], np.int64)

    def make_dataset(self, start: int, steps: int) -> tf.data.Dataset:
        """This worker's slices of the batches of some steps; call `set_model` before.

        Nothing is prefetched: a batch may depend on the weights after the step before it.
        """
        self._step = start
        self._begin(resumed=start % self._settings.mine_every != 0)
        size = self._split.tfidf.shape[1]
        load_images = self._load_pixels if "image" in self.model.input else self._load_regions
        specs = load_images(np.zeros([0], np.int64))
        worker, workers = distribution.worker()

        def make_batch(step: tf.Tensor) -> tuple:
            def load(step: np.ndarray) -> list[np.ndarray]:
                triplets = self._of_step(int(step))
                weights = np.array_split(self._weigh(triplets), workers)[worker]
                triplets = np.array_split(triplets, workers)[worker]
                images = load_images(triplets.T.ravel())
                return [*images.values(), *self._load_texts(triplets), weights]

            types = [value.dtype for value in specs.values()]
            found = tf.numpy_function(load, [step], [*types, tf.int64, tf.float32, tf.float32])
            *images, indices, values, weights = found
            inputs = {
                name: tf.ensure_shape(tensor, [None] * (spec.ndim - 1) + [spec.shape[-1] or None])
                for (name, spec), tensor in zip(specs.items(), images, strict=True)
            }
            weights = tf.ensure_shape(weights, [None])
            if self._with_text:
                shape = tf.stack([3 * tf.shape(weights, tf.int64)[0], size])
                inputs["tfidf"] = tf.SparseTensor(
                    tf.ensure_shape(indices, [None, 2]), tf.ensure_shape(values, [None]), shape
                )
            return inputs, weights

        dataset = tf.data.Dataset.range(start, start + steps).map(make_batch)
        options = tf.data.Options()
        options.experimental_optimization.inject_prefetch = False
        options.experimental_warm_start = False
        return dataset.with_options(options)

    def batch_ids(self, step: int) -> list[str]:
        """Query, relevant and irrelevant image of the triplets of a batch, numbered from 0.

        Raises:
            RunError: if the pool of that batch is no longer kept.
        """
        path = self._pool_file(step // self._settings.mine_every)
        if not path.exists():
            raise runs.RunError(f"{path} is missing: its triplets are no longer known")
        triplets = self._of_pool(untrusted.load_npz(path)["triplets"], step)
        return [" ".join(self._split.ids[row] for row in triplet) for triplet in triplets]

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        """Mines where a pool ends."""
        self._step += 1
        if self._step % self._settings.mine_every == 0 and not self.model.stop_training:
            self._begin(resumed=False)

    def _begin(self, *, resumed: bool) -> None:
        number = self._step // self._settings.mine_every
        path = self._pool_file(number)
        pools = sorted(self._folder.glob("pool-*.npz"))
        for later in pools:  # of a killed process: mined with weights that this run has not
            if later > path:
                later.unlink()
        if not distribution.is_chief():
            self._triplets = distribution.from_chief(self._empty_pool())
            return
        self._triplets = distribution.from_chief(self._open_or_draw(path, number, resumed))
        oldest = self._pool_file(self._oldest_checkpoint() // self._settings.mine_every)
        for old in pools:
            if old < min(oldest, path):
                old.unlink()

    def _open_or_draw(self, path: pathlib.Path, number: int, resumed: bool) -> np.ndarray:
        if resumed:
            if not path.exists():
                raise runs.RunError(
                    f"{path} is missing, and step {self._step} goes on with its triplets: delete "
                    "the run's folder to start anew"
                )
            return untrusted.load_npz(path)["triplets"]
        triplets = np.asarray(self._draw(number), np.int64)
        with runs.atomic_path(path) as temporary:
            np.savez(temporary, triplets=triplets)
        return triplets

    def _empty_pool(self) -> np.ndarray:
        """Of the shape of a pool."""
        return np.zeros([self._settings.mine_every * self._settings.batch_size, 3], np.int64)

    def _pool_file(self, number: int) -> pathlib.Path:
        return self._folder / f"pool-{number:06d}.npz"

    def _oldest_checkpoint(self) -> int:
        """The first step that a killed run may go on from."""
        steps = [int(file.stem.split("-")[1]) for file in self._checkpoints.glob("step-*.npz")]
        return min(steps, default=0)

    def _draw(self, number: int) -> np.ndarray:
        """The triplets of a pool in the order of their use: [mine_every * batch_size, 3]."""
        settings = self._settings
        count = settings.mine_every * settings.batch_size
        if settings.triplets == "ordered":
            return mining.ordered_triplets(
                self._split.tfidf, count, seed=settings.seed, number=number
            )
        pool, positives = mining.draw_pool(
            self.neighbours,
            queries=settings.pool_queries,
            positives=settings.pool_relevant,
            seed=settings.seed,
            number=number,
        )
        phi = embed_images(self.model, self._split, pool, longest_side=settings.longest_side)
        theta = embed_texts(self.model, self._split.tfidf[pool]) if self._with_text else None
        triplets, losses = mining.hardest_triplets(
            mining.pool_scores(phi, theta, settings.pool_queries, self._weights),
            positives,
            mining.may_be_negative(self.neighbours, pool, settings.pool_queries),
            margin=settings.margin,
            keep=settings.keep_hardest,
        )
        if not len(triplets):
            raise ValueError(
                f"no triplet of mining pool {number} violates the margin {settings.margin}: the "
                "training is done, or the margin is too small"
            )
        logging.info(
            "pool %d: %d images, %d triplets, mean loss %.4f",
            number, len(pool), len(triplets), losses.mean(),
        )  # fmt: skip
        rng = np.random.default_rng([settings.seed, number, 2])
        repeats = math.ceil(count / len(triplets))
        order = np.concatenate([rng.permutation(len(triplets)) for _ in range(repeats)])[:count]
        return pool[triplets[order]]

    def _of_step(self, step: int) -> np.ndarray:
        """The triplets of a step: [B, 3] rows."""
        return self._of_pool(self._triplets, step)

    def _of_pool(self, triplets: np.ndarray, step: int) -> np.ndarray:
        size = self._settings.batch_size
        first = step % self._settings.mine_every * size
        return triplets[first : first + size]

    def _load_regions(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        return {"regions": self._split.regions[rows].astype(np.float32)}

    def _load_pixels(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The distinct images of a batch in chunks of one shape; see `TripletModel`."""
        distinct, place_of = np.unique(rows, return_inverse=True)
        pixels, chunks, order, first = [np.zeros([0], np.uint8)], [], [], 0
        for places, images in shape_batches.image_batches(
            [self._split.reader],
            [(0, row) for row in distinct.tolist()],
            longest_side=self._settings.longest_side,
            batch_size=max(1, _CHUNK // self._settings.micro_batches),
        ):
            flat = np.round(images.numpy() * 255).astype(np.uint8).ravel()
            chunks.append((first, *images.shape[:3]))
            first += flat.size
            pixels.append(flat)
            order += places
        new_place = np.empty(len(distinct), np.int32)
        new_place[order] = np.arange(len(distinct))
        return {
            "pixels": np.concatenate(pixels),
            "chunks": np.array(chunks, np.int32).reshape(-1, 4),
            "rows": new_place[place_of.ravel()].astype(np.int32),
        }

    def _load_texts(self, triplets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Indices and values of the sparse texts of a batch; none where they are not trained."""
        if not self._with_text:
            return np.zeros([0, 2], np.int64), np.zeros([0], np.float32)
        sparse = semantic_retrieval.sparse_tensor(self._split.tfidf[triplets.T.ravel()])
        return sparse.indices.numpy(), sparse.values.numpy()

    def _weigh(self, triplets: np.ndarray) -> np.ndarray:
        if self._settings.triplet_weight == "none":
            return np.ones(len(triplets), np.float32)
        query, relevant, irrelevant = (self._split.tfidf[triplets[:, i]] for i in range(3))
        difference = query.multiply(relevant - irrelevant).sum(axis=1)
        weights = np.maximum(np.asarray(difference, np.float32).ravel(), 0)
        return weights / max(float(weights.mean()), 1e-12)


def embed_images(
    model: TripletModel, split: Split, rows: np.ndarray | None = None, *, longest_side: int
) -> np.ndarray:
    """Embeds images, by their region vectors or, for a model on images, by their pixels.

    Args:
        model: of `train_retrieval`.
        split: of the images.
        rows: [N] which; None means all.
        longest_side: pixels, for a model on images.

    Returns:
        [N, D] float32.
    """
    rows = np.arange(len(split.ids)) if rows is None else rows
    encode = _compiled(model, "image")
    if "regions" in model.input:
        parts = [rows[start : start + _AT_ONCE] for start in range(0, len(rows), _AT_ONCE)]
        return np.concatenate(
            [encode(split.regions[part].astype(np.float32)).numpy() for part in parts]
        )
    found = np.zeros([len(rows), model.output["phi"].shape[-1]], np.float32)
    for start in range(0, len(rows), _AT_ONCE):
        some = [(0, row) for row in rows[start : start + _AT_ONCE].tolist()]
        for places, images in shape_batches.image_batches(
            [split.reader], some, longest_side=longest_side, batch_size=_CHUNK
        ):
            found[[start + place for place in places]] = encode(images).numpy()
    return found


def embed_texts(model: TripletModel, tfidf) -> np.ndarray:
    """Embeds texts: [N, V] sparse vectors -> [N, D] float32."""
    encode = _compiled(model, "text")
    parts = [
        encode(semantic_retrieval.sparse_tensor(tfidf[start : start + _AT_ONCE])).numpy()
        for start in range(0, tfidf.shape[0], _AT_ONCE)
    ]
    return np.concatenate(parts)


def _compiled(model: TripletModel, part: str):
    """The image or text part of a model as a graph, made once a model."""
    made = model.__dict__.setdefault("_graphs_of_parts", {})
    if part not in made:
        inner = getattr(semantic_retrieval, f"{part}_part")(model)
        (taken,), (name,) = inner.input, inner.output  # the names of its one input and output
        made[part] = tf.function(
            lambda tensor: inner({taken: tensor}, training=False)[name], reduce_retracing=True
        )
    return made[part]
