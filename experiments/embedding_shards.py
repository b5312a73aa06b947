"""The embeddings of one shard by a trained run: what a process or a worker of a cluster does."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from imgtext_tf import runs, untrusted
from imgtext_tf.data import captions, embeddings, examples, features, shape_batches, shards
from imgtext_tf.data.text import Vocabulary
from imgtext_tf.models import phrase_generator, semantic_retrieval, sentence_matching
from imgtext_tf.text_similarity import TfIdf

SIDES = ("image", "text")
# Rows (ids, vectors) of a shard, given its rows in the reader.
Embed = Callable[[shards.ShardReader, np.ndarray], tuple[list[str], np.ndarray]]


@dataclasses.dataclass(frozen=True)
class EmbeddingTask:
    """What a worker needs to embed one shard.

    Attributes:
        path: of the `.npy` to write.
        run_dir: of the run; workers must see it.
        which: "best" or "last".
        side: "image" or "text".
        data_dir: of the shards; workers must see it.
        split: of them.
        shard: number of the shard in its split.
        batch_size: images or texts a step.
    """

    path: str
    run_dir: str
    which: str
    side: str
    data_dir: str
    split: str
    shard: int
    batch_size: int


def write_shard(task: EmbeddingTask) -> embeddings.EmbeddingInfo:
    """Embeds the records of a shard, in their order.

    Raises:
        RunError: if the run is not finished.
        ValueError: if the run has no embeddings of this side.
        ShardError: if a file cannot be read or written.
    """
    reader = open_reader(task.data_dir, task.split)
    embed = open_embedder(task.run_dir, task.which, task.side, task.batch_size)
    ids, vectors = embed(reader, np.flatnonzero(reader.index["shard"] == task.shard))
    return embeddings.write_shard(task.path, ids, vectors)


def finished(task: EmbeddingTask) -> embeddings.EmbeddingInfo | None:
    """The info of a shard that is whole."""
    return embeddings.read_info(task.path)


@functools.lru_cache(maxsize=1)
def open_reader(data_dir: str, split: str) -> shards.ShardReader:
    """A split, opened once a process."""
    return shards.ShardReader(data_dir, split)


@functools.lru_cache(maxsize=1)
def open_embedder(run_dir: str, which: str, side: str, batch_size: int) -> Embed:
    """A run's encoder of one side, loaded once a process.

    Raises:
        RunError: if the run is not finished.
        ValueError: if the run has no embeddings of this side.
    """
    run = runs.load(run_dir, which)
    makers = {
        (phrase_generator.__name__, "image"): _phrase_images,
        (sentence_matching.__name__, "image"): _matching_images,
        (sentence_matching.__name__, "text"): _matching_texts,
        (semantic_retrieval.__name__, "image"): _retrieval_images,
        (semantic_retrieval.__name__, "text"): _retrieval_texts,
    }
    module = runs.read_json(runs.RunDirectory(run_dir).settings_file)["module"]
    if (module, side) not in makers:
        known = ", ".join(f"{name.rpartition('.')[2]} ({one})" for name, one in makers)
        raise ValueError(
            f"{run_dir}: a run of {module.rpartition('.')[2]} has no embeddings of side {side!r}; "
            f"there are those of {known}"
        )
    return makers[module, side](run, batch_size)


# Images ------------------------------------------------------------------------------------------


def _phrase_images(run: runs.Run, batch_size: int) -> Embed:
    embedder = phrase_generator.embedder(run.model)
    return _square_images(
        run, batch_size, lambda batch: embedder.predict_on_batch({"image": batch})["embedding"]
    )


def _matching_images(run: runs.Run, batch_size: int) -> Embed:
    if run.model.backbone is None:
        raise ValueError("the run was trained on precomputed features: it cannot embed images")
    return _square_images(run, batch_size, lambda batch: run.model.predict_images({"image": batch}))


def _square_images(
    run: runs.Run, batch_size: int, predict: Callable[[tf.Tensor], np.ndarray]
) -> Embed:
    """Images with the evaluation's crop, one row a record."""
    kinds = {"image_size": (int, list), "central_fraction": (int, float)}
    untrusted.need(run.preprocessing, kinds, "preprocessing.json")
    view = {
        "size": run.preprocessing["image_size"],
        "fraction": run.preprocessing["central_fraction"],
        "batch_size": batch_size,
    }

    def embed(reader: shards.ShardReader, rows: np.ndarray) -> tuple[list[str], np.ndarray]:
        ids = _ids(reader, rows)
        work = [(name, 0, int(row)) for name, row in zip(ids, rows, strict=True)]
        found = [predict(batch) for _, batch in features.image_batches([reader], work, **view)]
        return ids, np.concatenate(found)

    return embed


def _retrieval_images(run: runs.Run, batch_size: int) -> Embed:
    """Images of their own shapes; those of one shape share a batch."""
    untrusted.need(run.preprocessing, {"longest_side": int}, "preprocessing.json")
    part = semantic_retrieval.image_part(run.model)
    phi = tf.function(lambda image: part({"image": image}, training=False)["phi"],
                      reduce_retracing=True)  # fmt: skip

    def embed(reader: shards.ShardReader, rows: np.ndarray) -> tuple[list[str], np.ndarray]:
        vectors = np.zeros([len(rows), run.model.output["phi"].shape[-1]], np.float32)
        window = 16 * batch_size  # held in memory at once; shapes are sorted inside of it
        for start in range(0, len(rows), window):
            part_rows = [(0, int(row)) for row in rows[start : start + window]]
            batches = shape_batches.image_batches(
                [reader],
                part_rows,
                longest_side=run.preprocessing["longest_side"],
                batch_size=batch_size,
            )
            for places, batch in batches:
                vectors[start + np.array(places)] = phi(batch).numpy()
        return _ids(reader, rows), vectors

    return embed


# Texts -------------------------------------------------------------------------------------------


def _matching_texts(run: runs.Run, batch_size: int) -> Embed:
    """One row a sentence: id of its own where the records have them, else record#number."""
    vocabulary, limits = Vocabulary(run.words), run.preprocessing
    untrusted.need(limits, {"tokens": str, "max_words": int}, "preprocessing.json")

    def embed(reader: shards.ShardReader, rows: np.ndarray) -> tuple[list[str], np.ndarray]:
        ids, texts = [], []
        for record in _records(reader, rows):
            given = record.get("sentence_ids") or ()
            for number, text in enumerate(record["sentences"]):
                ids.append(given[number] if number < len(given) else f"{record['id']}#{number}")
                texts.append(text)
        words = captions.words_of(texts, limits["tokens"])
        words = captions.WordIds.of(
            words, vocabulary, max_words=limits["max_words"], tokens=limits["tokens"]
        )
        found = [
            run.model.predict_texts({"caption_ids": words.padded(np.arange(start, stop))})
            for start, stop in _spans(len(texts), batch_size)
        ]
        return ids, np.concatenate(found)

    return embed


def _retrieval_texts(run: runs.Run, batch_size: int) -> Embed:
    """One row a record: theta of all its sentences."""
    untrusted.need(run.preprocessing, {"tfidf": dict}, "preprocessing.json")
    vectorizer = TfIdf.from_config({"terms": run.vocabulary, **run.preprocessing["tfidf"]})
    part = semantic_retrieval.text_part(run.model)

    def embed(reader: shards.ShardReader, rows: np.ndarray) -> tuple[list[str], np.ndarray]:
        tfidf = vectorizer.transform([one["sentences"] for one in _records(reader, rows)])
        found = [
            part({"tfidf": semantic_retrieval.sparse_tensor(tfidf[start:stop])})["theta"].numpy()
            for start, stop in _spans(len(rows), batch_size)
        ]
        return _ids(reader, rows), np.concatenate(found)

    return embed


def _ids(reader: shards.ShardReader, rows: np.ndarray) -> list[str]:
    return [name.decode("utf-8") for name in reader.index["id"][rows].tolist()]


def _records(reader: shards.ShardReader, rows: np.ndarray) -> list[dict[str, Any]]:
    """The records without their images."""
    found = []
    for start, stop in _spans(len(rows), 256):
        for data in reader.read(rows[start:stop]):
            record = examples.from_bytes(reader.record_kind, data)
            record.pop("image", None)
            found.append(record)
    return found


def _spans(count: int, size: int) -> list[tuple[int, int]]:
    return [(start, min(start + size, count)) for start in range(0, count, size)]
