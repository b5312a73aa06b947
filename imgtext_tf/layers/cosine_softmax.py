"""A softmax over cosines with millions of classes, of which a training step touches a sample."""

from __future__ import annotations

import math

import keras
import numpy as np
import tensorflow as tf

from imgtext_tf.layers import replicas

SAMPLERS = ("log_uniform", "uniform", "in_batch", "mixed", "full")

# Beyond this many elements of one variable some operations on GPUs fail.
_MAX_ELEMENTS = 2**31 - 1
_MAX_SCALE = 100.0
_HIT = -1e9
# Draws (with repetition) a distinct sample may cost.
_MOST_DRAWS = 16


@keras.saving.register_keras_serializable(package="imgtext_tf")
class CosineSoftmax(keras.layers.Layer):
    """Logits s cos(w_c, x) of all classes, or of the true class and a sample of the others.

    With the cosine distance d = 1 - cos, softmax(s cos) is softmax(-s d): Eq. 1 with a scale s
    (Deviation 1), without which a softmax over many classes cannot become sharp.

    `layer(x)`: [B, D] -> [B, num_classes]. `layer(x, labels)`: labels [B] int -> the candidates
    [B, 1 + S] float32: column 0 the true class, then the S distinct classes of the sample, shared
    by the batch. Their cross entropy with label 0 is the sampled softmax loss. From each logit
    log Q is subtracted, the logarithm of the chance that the class is in the sample; columns that
    show a row's own class again are masked.

    A step gathers the rows it needs from the raw variable: its cost does not grow with the number
    of classes, if the optimiser is one of `imgtext_tf.optimizers`. Classes are numbered by falling
    frequency where the sampler is "log_uniform". No part of this compiles with XLA.

    Args:
        num_classes: N.
        sampler: "log_uniform" (Zipf's law over the ids), "uniform", "in_batch" (the labels of the
            batch), "mixed" (uniform and the batch), or "full" (every class: no sampling).
        num_sampled: classes drawn, on average; not used by "in_batch" and "full".
        scale: s, or its first value.
        learn_scale: learn s, up to 100.
        correct: subtract log Q.
        remove_hits: mask a sampled class that is the row's own.
        seed: of the sample, which is a function of it and of the number of calls before.
        max_elements: of one variable; a larger table goes into several, cut by rows.
        **kwargs: of `keras.layers.Layer`.

    Reference: Shah2019, Eq. 1.
    """

    def __init__(
        self,
        num_classes,
        *,
        sampler="log_uniform",
        num_sampled=4096,
        scale=20.0,
        learn_scale=False,
        correct=True,
        remove_hits=True,
        seed=None,
        max_elements=_MAX_ELEMENTS,
        **kwargs,
    ):
        """Stores the settings; see the class."""
        super().__init__(**kwargs)
        if sampler not in SAMPLERS:
            raise ValueError(f"unknown sampler {sampler!r}: use one of {', '.join(SAMPLERS)}")
        if sampler in ("log_uniform", "uniform", "mixed") and not 0 < num_sampled < num_classes:
            raise ValueError(
                f"num_sampled is {num_sampled} of {num_classes} classes: sample fewer than all, or "
                "use sampler='full'"
            )
        self.supports_jit = False  # tf.unique has no XLA form.
        self.num_classes, self.sampler, self.num_sampled = num_classes, sampler, num_sampled
        self.scale, self.learn_scale = scale, learn_scale
        self.correct, self.remove_hits = correct, remove_hits
        self.seed, self.max_elements = seed, max_elements
        self.one_draw = True  # All replicas take the same sample.
        self.draws = 0 if sampler in ("in_batch", "full") else self._number_of_draws()
        self.seed_generator = keras.random.SeedGenerator(seed)

    def build(self, inputs_shape, labels_shape=None):
        """Makes the table, in as many variables as it takes."""
        dim = inputs_shape[-1]
        parts = -(-self.num_classes * dim // self.max_elements)
        rows = [len(part) for part in np.array_split(np.empty(self.num_classes, bool), parts)]
        # The lengths of rows are 1 on average, as if normalised: a learning rate then means the
        # same in any dimension. No autocast: it would copy the table in every step.
        initializer = keras.initializers.RandomNormal(stddev=dim**-0.5, seed=self.seed)
        self.tables = [
            self.add_weight(
                (count, dim),
                initializer=initializer if len(rows) == 1 else initializer.clone(),
                autocast=False,
                name=f"table_{number}",
            )
            for number, count in enumerate(rows)
        ]
        for table in self.tables:
            table.rows_only = True  # Nothing that happens in every step may read the whole of it.
        if self.learn_scale:
            first = keras.initializers.Constant(math.log(self.scale))
            self.log_scale = self.add_weight((), initializer=first, autocast=False, name="scale")
        if self.sampler in ("in_batch", "mixed"):
            # Until `set_frequencies` says better: Zipf's law.
            self.log_frequency = self.add_weight(
                (self.num_classes,), initializer="zeros", trainable=False, autocast=False,
                name="log_frequency",
            )  # fmt: skip
            self.set_frequencies(np.diff(np.log(np.arange(1, self.num_classes + 2))))

    def set_frequencies(self, counts):
        """Tells "in_batch" and "mixed" how often each class occurs: [num_classes] numbers > 0."""
        counts = np.asarray(counts, np.float64)
        if counts.shape != (self.num_classes,) or counts.min() <= 0:
            raise ValueError(f"counts {counts.shape}: give {self.num_classes} positive numbers")
        self.log_frequency.assign(np.log(counts / counts.sum()))

    def call(self, inputs, labels=None):
        """See the class."""
        unit = _unit(tf.cast(inputs, self.compute_dtype))
        scale = self._scale()
        if labels is None:
            rows = tf.concat([table.value for table in self.tables], 0)
            return tf.cast(scale, unit.dtype) * tf.matmul(unit, self._units(rows), transpose_b=True)
        labels = tf.cast(labels, tf.int64)
        drawn, log_q = self._sample(labels)
        if drawn is None:
            true = self._units(self._rows(labels))
            others = self._units(tf.concat([table.value for table in self.tables], 0))
            drawn = tf.range(self.num_classes, dtype=tf.int64)
        else:
            rows = self._units(self._rows(tf.concat([labels, drawn], 0)))
            true, others = rows[: tf.shape(labels)[0]], rows[tf.shape(labels)[0] :]
        # Deviation 1: a scale, which Eq. 1 has not.
        true = scale * tf.cast(tf.reduce_sum(unit * true, 1), tf.float32)
        others = scale * tf.cast(tf.matmul(unit, others, transpose_b=True), tf.float32)
        if self.correct and log_q is not None:
            true -= log_q(labels)
            others -= log_q(drawn)
        if self.remove_hits or self.sampler == "full":
            others = tf.where(drawn == labels[:, None], _HIT, others)
        return tf.concat([true[:, None], others], 1)

    def get_config(self):
        """The arguments of the constructor."""
        names = (
            *("num_classes", "sampler", "num_sampled", "scale", "learn_scale", "correct"),
            *("remove_hits", "seed", "max_elements"),
        )
        return super().get_config() | {name: getattr(self, name) for name in names}

    def _scale(self):
        if not self.learn_scale:
            return tf.constant(self.scale, tf.float32)
        return tf.minimum(tf.exp(tf.convert_to_tensor(self.log_scale.value)), _MAX_SCALE)

    def _rows(self, ids):
        # The raw variables: TensorFlow copies a table that is read through Keras' own.
        if len(self.tables) == 1:
            return tf.gather(self.tables[0].value, ids)
        return tf.nn.embedding_lookup([table.value for table in self.tables], ids)

    def _units(self, rows):
        return tf.cast(_unit(rows), self.compute_dtype)

    def _sample(self, labels):
        """The distinct classes [S] of the sample, and ids -> log of their chance to be in it."""
        if self.sampler == "full":
            return None, None
        drawn, misses = [], []
        if self.sampler in ("in_batch", "mixed"):
            drawn.append(replicas.gather(labels))
            size = tf.cast(tf.shape(drawn[0])[0], tf.float32)
            misses.append((size, lambda ids: tf.gather(self.log_frequency.value, ids)))
        if self.sampler != "in_batch":
            drawn.append(self._draw())
            misses.append((float(self.draws), self._log_probability))

        def log_q(ids):
            # 1 - (1 - P)^n, without a power of a number near 1.
            never = sum(n * tf.math.log1p(-tf.exp(log_p(ids))) for n, log_p in misses)
            return tf.math.log(-tf.math.expm1(never))

        return tf.unique(tf.concat(drawn, 0))[0], log_q

    def _draw(self):
        seed = tf.cast(self.seed_generator.next(), tf.int64)
        if self.sampler != "log_uniform":
            return tf.random.stateless_uniform([self.draws], seed, 0, self.num_classes, tf.int64)
        # 64 bits: 32 could not tell ids beyond 2**24 apart.
        uniform = tf.random.stateless_uniform([self.draws], seed, dtype=tf.float64)
        ids = tf.cast(tf.exp(uniform * math.log1p(self.num_classes)), tf.int64) - 1
        return tf.clip_by_value(ids, 0, self.num_classes - 1)

    def _log_probability(self, ids):
        """The logarithm of the chance of each id in one draw."""
        if self.sampler != "log_uniform":
            return tf.fill(tf.shape(ids), -math.log(self.num_classes))
        rank = tf.cast(ids, tf.float32) + 1
        return tf.math.log(tf.math.log1p(1 / rank)) - math.log(math.log1p(self.num_classes))

    def _number_of_draws(self):
        """How many draws give `num_sampled` distinct classes on average."""
        if self.sampler != "log_uniform":
            share = self.num_sampled / self.num_classes
            draws = math.log1p(-share) / math.log1p(-1 / self.num_classes)
        else:
            # Ids in stretches of like chances: exact for the frequent, close for the rare ones.
            cuts = np.unique(np.geomspace(1, self.num_classes + 1, 5000).round())
            widths, chances = np.diff(cuts), np.diff(np.log(cuts)) / math.log1p(self.num_classes)
            chances /= widths
            low, high = float(self.num_sampled), float(_MOST_DRAWS * self.num_sampled)
            for _ in range(40):
                draws = (low + high) / 2
                distinct = -widths @ np.expm1(draws * np.log1p(-chances))
                low, high = (draws, high) if distinct < self.num_sampled else (low, draws)
        return math.ceil(min(draws, _MOST_DRAWS * self.num_sampled))


def _unit(vectors):
    return tf.math.l2_normalize(vectors, -1)
