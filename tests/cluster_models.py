"""Small trainings for real clusters: `python cluster_models.py NAMES STRATEGY FOLDER`.

Every process writes what it saw to FOLDER/NAME/<worker>.npz: the logs of all steps, the weights.
"""

import pathlib
import sys

import keras
import numpy as np
import tensorflow as tf

from imgtext_tf import clusters, distribution, optimizers, runs, training, triplet_batches
from imgtext_tf.models import (
    phrase_generator,
    query_encoder,
    relation_classifier,
    semantic_retrieval,
    sentence_matching,
)
from imgtext_tf.stages import Stage

STEPS = 6
ROWS = 9  # Two replicas cannot share them evenly.


def dataset(make, start, count):
    """Batches that depend on their step only."""
    return tf.data.Dataset.range(start, start + count).map(
        lambda step: make(tf.stack([step, tf.constant(7, tf.int64)]))
    )


def integers(seed, shape, high, low=0):
    return tf.random.stateless_uniform(shape, seed, low, high, tf.int32)


def relations():
    """The classic classifier: word and sentence recurrences, clipped Adam, class weights."""
    model = relation_classifier.relation_classifier(
        num_classes=8, feature_shape=(2, 2, 6), vocabulary_size=20, word_dim=5, gru_units=4,
        fc_units=(8,), image_dropout=0.0, text_dropout=0.0, word_dropout=0.0, seed=1,
    )  # fmt: skip
    model.compile(
        keras.optimizers.Adam(0.01, epsilon=1e-8, global_clipnorm=0.5),
        loss={"logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True)},
        metrics={"logits": [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]},
        jit_compile=False,
    )

    def batch(seed):
        inputs = {
            "image_features": tf.random.stateless_normal((ROWS, 2, 2, 6), seed),
            "word_ids": integers(seed, (ROWS, 3, 4), 20, 2),
        }
        label = integers(seed + 1, (ROWS,), 8)
        return inputs, label, 0.5 + tf.cast(label, tf.float32) / 8

    return model, batch, {}


def matching():
    """Liu2019's adversarial stage: hardest negatives of the batch, two clipped optimisers."""
    sizes = {"embed_dim": 6, "seed": 1}
    model = sentence_matching.SentenceMatching(
        sentence_matching.image_branch((5,), dropout=0.0, **sizes),
        sentence_matching.text_branch(20, word_dim=4, dropout=0.0, **sizes),
        sentence_matching.modality_classifier(6, units=(5,), dropout=0.0, seed=1),
    )
    model.begin_stage(
        Stage(
            name="adversarial",
            train=("image", "text", "classifier"),
            steps=STEPS,
            clip=0.5,
            losses=("triplet", "modality", "adversarial"),
            mode="alternating",
            target="flip",
            learning_rate=0.01,
            classifier_learning_rate=0.01,
            mask_same_image=True,
            ramp=False,
        )  # fmt: skip
    )

    def batch(seed):
        return {
            "image_features": tf.random.stateless_normal((ROWS, 5), seed),
            "caption_ids": integers(seed, (ROWS, 6), 20, 2),
            "image_row": integers(seed, (ROWS,), 6),
        }

    return model, batch, {}


def phrases(sampler="mixed"):
    """The phrase generator: a table with a row-sparse optimiser, and a shared sample."""
    model = phrase_generator.phrase_generator(
        num_queries=200, feature_shape=(1, 1, 6), embedding_dim=4, sampler=sampler, num_sampled=20,
        learn_scale=True, seed=1,
    )  # fmt: skip
    phrase_generator.compile_generator(model, optimizers.SparseAdagrad(0.1, row_wise=True))

    def batch(seed):
        inputs = {
            "image_features": tf.random.stateless_normal((ROWS, 1, 1, 6), seed),
            # Few queries, so that both replicas have some of the same rows.
            "query": tf.cast(integers(seed, (ROWS,), 5), tf.int64),
        }
        return inputs, {"candidates": tf.zeros(ROWS, tf.int64)}

    return model, batch, {}


def texts():
    """The dual encoder: each text against all partners of the batch; LazyAdam on its table."""
    encoder = query_encoder.query_encoder(buckets=50, dim=4, gram_dim=4, attention_units=3, seed=1)
    model = query_encoder.dual_encoder(encoder, learn_scale=True)
    query_encoder.compile_dual(model, optimizers.LazyAdam(0.01))

    def batch(seed):
        numbers = {
            name: tf.cast(integers(seed + place, (ROWS,), 7), tf.int64)
            for place, name in enumerate(("group", "first_id", "second_id"))
        }
        ids = {
            name: integers(seed + n, (ROWS, 5), 51) for n, name in enumerate(("first", "second"))
        }
        places = tf.range(ROWS)
        return ids | numbers, {"scores": places, "reverse": places}

    return model, batch, {}


def retrieval():
    """Triplets of region vectors and sparse texts, in parts."""
    model = semantic_retrieval.semantic_retrieval(4, vocabulary_size=12)
    model.compile(
        keras.optimizers.Adam(0.01),
        weights=semantic_retrieval.EMBEDDINGS["joint"], margin=0.5, micro_batches=2,
    )  # fmt: skip

    def batch(seed):
        tfidf = tf.random.stateless_uniform((3 * ROWS, 12), seed)
        inputs = {
            "regions": tf.random.stateless_normal((3 * ROWS, 3, 4), seed),
            "tfidf": tf.sparse.from_dense(tf.where(tfidf > 0.7, tfidf, 0.0)),
        }
        return inputs, tf.random.stateless_uniform((ROWS,), seed)

    return model, batch, {"cut": triplet_batches.cut_triplets}


def normalised():
    """Batch normalisation, dropout of a rate that changes nothing, averaged weights."""
    inputs = keras.Input((4,), name="x")
    hidden = keras.layers.BatchNormalization()(inputs)
    hidden = keras.layers.Dropout(1e-9, seed=2)(hidden)
    model = keras.Model({"x": inputs}, {"logits": keras.layers.Dense(3, name="logits")(hidden)})
    model.compile(
        keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9, weight_decay=0.1),
        loss={"logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True)},
        jit_compile=False,
    )

    def batch(seed):
        x = tf.random.stateless_normal((ROWS, 4), seed)
        return {"x": x}, tf.argmax(x[:, :3], axis=-1)

    return model, batch, {}


MODELS = {
    function.__name__: function
    for function in (relations, matching, phrases, texts, retrieval, normalised)
}


class Losses(keras.callbacks.Callback):
    """Keeps the logs of every step."""

    def __init__(self):
        super().__init__()
        self.rows = []

    def on_train_batch_end(self, batch, logs=None):
        self.rows.append([float(logs[name]) for name in sorted(logs)])


def train(name, folder, *, max_steps=STEPS, callbacks=()):
    """Trains a model and writes its logs and weights: the outcome of `training.fit`."""
    folder = pathlib.Path(folder)
    number, _ = distribution.worker()
    training.set_seed(0)
    with distribution.scope():
        model, batch, options = MODELS[name]()
    seen = Losses()
    outcome = training.fit(
        model,
        lambda start, count: dataset(batch, start, count),
        run=runs.RunDirectory(folder / f"run{number}"), max_steps=max_steps, checkpoint_every=4,
        # The last checkpoint falls between two logs, where no worker may ask others for its means.
        seed=0, log_every=4, callbacks=[seen, *callbacks], **options,
    )  # fmt: skip
    variables = [variable.numpy() for variable in model.variables]
    arrays = {f"v{place:03d}": value for place, value in enumerate(variables)}
    np.savez(folder / f"{number}.npz", logs=np.array(seen.rows), **arrays)
    return outcome


if __name__ == "__main__":
    tf.config.threading.set_intra_op_parallelism_threads(1)

    if sys.argv[2] == "mirrored":
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(
            cpu, [tf.config.LogicalDeviceConfiguration()] * 2
        )
    of_workers = clusters.from_environment() if sys.argv[2] == "multi_worker" else None
    with distribution.started(sys.argv[2], of_workers):
        for one in sys.argv[1].split(","):
            train(one, pathlib.Path(sys.argv[3]) / one)
