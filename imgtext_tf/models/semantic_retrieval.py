"""Gordo2017's embeddings: phi of an image by R-MAC, and theta of its text by a linear map.

The model takes region vectors (`layers.RegionMaxPool` of a feature map), for with a frozen backbone
they are computed once; `with_backbone` puts the backbone before it.
"""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from imgtext_tf import layers, losses, triplet_batches
from imgtext_tf.layers import replicas
from imgtext_tf.sparse_gradients import added, merged

# What each way of training minimises: weights of Eq. 1, 2 and 3.
EMBEDDINGS: dict[str, dict[str, float]] = {
    "visual": {"visual": 1.0},
    "joint": {"visual": 1.0, "image_to_text": 1.0, "text_to_image": 1.0},
    "wsabie": {"image_to_text": 1.0},
}


@keras.saving.register_keras_serializable(package="imgtext_tf")
class TripletModel(keras.Model):
    """A functional model that is trained on triplets.

    A training batch of B triplets is a dict of inputs of 3B rows: B queries, then B relevant, then
    B irrelevant images, all through the same weights ("six streams" with texts); and [B] weights of
    the triplets. The loss is the mean over the triplets.

    A model on images takes, in place of `image`: `rows` [3B] int32, places among the batch's
    distinct images; `pixels` [n] uint8, all of them one after the other; and `chunks` [K, 4] int32:
    where in `pixels` some images of one shape begin, how many they are, their height and width. So
    images of many shapes are trained together, and memory holds one chunk of them.
    """

    # No gradient has a row twice, also where it is summed over replicas.
    merges_rows = True

    def compile(
        self,
        optimizer: keras.optimizers.Optimizer,
        *,
        weights: Mapping[str, float],
        margin: float,
        micro_batches: int = 1,
    ) -> None:
        """Says how to train.

        Args:
            optimizer: of all weights.
            weights: of the losses, such as `EMBEDDINGS["joint"]`.
            margin: m of Eq. 1 to 3.
            micro_batches: parts of a batch that run one after the other; their gradients add up to
                the batch's, with the memory of a part.

        Raises:
            ValueError: if a loss is unknown or needs texts that the model has not.
        """
        if unknown := set(weights) - set(EMBEDDINGS["joint"]):
            raise ValueError(
                f"unknown loss {sorted(unknown)}: use {', '.join(EMBEDDINGS['joint'])}"
            )
        if set(weights) - {"visual"} and "theta" not in self.output:
            raise ValueError("losses of texts need a model with vocabulary_size")
        super().compile(optimizer=optimizer)
        # Past Keras' tracking: a model must not be a part of itself.
        texts = text_part(self) if "theta" in self.output else None
        self.__dict__["_parts"] = image_part(self), texts
        self.loss_weights = dict(weights)
        self.margin = margin
        self.micro_batches = micro_batches

    def triplet_losses(self, outputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The weighted sum of the losses of each triplet: outputs of 3B rows -> [B] float32.

        Reference: Gordo2017, Section 5.2.
        """
        phi = tf.split(outputs["phi"], 3)
        theta = tf.split(outputs["theta"], 3) if "theta" in outputs else [None] * 3
        parts = {
            "visual": (losses.visual_loss, phi[0], phi),
            "image_to_text": (losses.image_to_text_loss, phi[0], theta),
            "text_to_image": (losses.text_to_image_loss, theta[0], phi),
        }
        total = 0.0
        for name, weight in self.loss_weights.items():
            loss, query, (_, positive, negative) = parts[name]
            total += weight * loss(query, positive, negative, margin=self.margin)
        return total

    def train_step(self, data):
        """One update; see the class."""
        inputs, weights = data
        step = self._step_on_images if "pixels" in inputs else self._step_on_regions
        loss, gradients = step(inputs, weights)
        variables = self.trainable_variables
        gradients = [merged(gradient) for gradient in gradients]
        self.optimizer.apply_gradients(zip(gradients, variables, strict=True))
        self._loss_tracker.update_state(replicas.total(loss))
        return {"loss": self._loss_tracker.result()}

    def _mean_loss(self, outputs, weights, triplets):
        """The share of some triplets in the batch's mean loss, and what gradients are taken of."""
        loss = tf.reduce_sum(self.triplet_losses(outputs) * weights) / triplets
        return loss, self.optimizer.scale_loss(loss)

    def _step_on_regions(self, inputs, weights):
        """Loss and gradients, part by part."""
        triplets = tf.shape(weights)[0]
        all_triplets = replicas.total(tf.cast(triplets, tf.float32))
        total, gradients = 0.0, None
        for part in range(self.micro_batches):
            start = triplets * part // self.micro_batches
            stop = triplets * (part + 1) // self.micro_batches
            some = triplet_batches.part_of(inputs, start, stop, triplets)
            with tf.GradientTape() as tape:
                outputs = self(some, training=True)
                loss, scaled = self._mean_loss(outputs, weights[start:stop], all_triplets)
            found = tape.gradient(scaled, self.trainable_variables, unconnected_gradients="zero")
            if gradients is not None:
                found = [added(*pair) for pair in zip(gradients, found, strict=True)]
            total, gradients = total + loss, found
        return total, gradients

    def _step_on_images(self, inputs, weights):
        """Loss and gradients with the memory of one chunk of images: each is embedded twice.

        First all images are embedded, and the loss gives the gradient of each embedding; then each
        chunk is embedded again, and its embeddings pass that gradient on. The sum is the gradient
        of the whole batch, for no layer looks at more than one image.
        """
        (encode, of_text), chunks = self._parts, inputs["chunks"]
        count, dimensions = tf.shape(chunks)[0], self.output["phi"].shape[-1]

        def phi_of(number):
            images = triplet_batches.images_of(inputs, number)
            return encode({"image": images}, training=False)["phi"]

        found = tf.TensorArray(
            tf.float32, count, element_shape=[None, dimensions], infer_shape=False
        )
        _, found = tf.while_loop(
            lambda number, _: number < count,
            lambda number, array: (number + 1, array.write(number, phi_of(number))),
            (0, found),
            parallel_iterations=1,
        )
        distinct = found.concat()
        triplets = replicas.total(tf.cast(tf.shape(weights)[0], tf.float32))
        with tf.GradientTape() as tape:
            tape.watch(distinct)
            outputs = {"phi": tf.gather(distinct, inputs["rows"])}
            if "tfidf" in inputs:
                outputs |= of_text({"tfidf": inputs["tfidf"]}, training=True)
            loss, scaled = self._mean_loss(outputs, weights, triplets)
        text_variables = of_text.trainable_variables if of_text is not None else []
        passed, *text_gradients = tape.gradient(scaled, [distinct, *text_variables])
        passed = tf.convert_to_tensor(passed)
        sizes = chunks[:, 1]
        starts = tf.cumsum(sizes, exclusive=True)
        image_variables = encode.trainable_variables

        def add(number, *gradients):
            with tf.GradientTape() as tape:
                phi = phi_of(number)
                some = passed[starts[number] : starts[number] + sizes[number]]
                value = tf.reduce_sum(phi * some)
            more = tape.gradient(value, image_variables, unconnected_gradients="zero")
            return number + 1, *(one + other for one, other in zip(gradients, more, strict=True))

        zeros = [tf.zeros_like(variable) for variable in image_variables]
        _, *image_gradients = tf.while_loop(
            lambda number, *_: number < count, add, (0, *zeros), parallel_iterations=1
        )
        variables = (*image_variables, *text_variables)
        gradients = (*image_gradients, *text_gradients)
        by_path = {v.path: gradient for v, gradient in zip(variables, gradients, strict=True)}
        return loss, [by_path[variable.path] for variable in self.trainable_variables]


def semantic_retrieval(
    channels: int, *, dimensions: int | None = None, vocabulary_size: int | None = None
) -> TripletModel:
    """The embeddings of images and, with a vocabulary, of texts.

    Inputs, a dict: `regions` [B, R, channels] float32, maxima of the feature map over R-MAC's
    regions, zeros for padding; `tfidf` [B, V] float32, sparse, l2-normalised. Outputs: `phi` and
    `theta` [B, D] float32 of length 1.

    phi = l2(sum_r l2(l2(x_r) P + b));  theta(t) = W^T t / |W^T t|

    Args:
        channels: depth of the feature map.
        dimensions: D; None for `channels`.
        vocabulary_size: V; None for a model of images only.

    Reference: Gordo2017, Sections 5.1 and 5.2.
    """
    dimensions = dimensions or channels
    inputs = {"regions": keras.Input((None, channels), name="regions")}
    whitened = layers.WhitenedSum(dimensions, name="whitened_sum")(inputs["regions"])
    outputs = {"phi": keras.layers.Activation("linear", dtype="float32", name="phi")(whitened)}
    if vocabulary_size is not None:
        inputs["tfidf"] = keras.Input((vocabulary_size,), sparse=True, name="tfidf")
        projected = keras.layers.Dense(dimensions, use_bias=False, name="text_projection")(
            inputs["tfidf"]
        )
        outputs["theta"] = layers.L2Normalize(dtype="float32", name="theta")(projected)
    return TripletModel(inputs, outputs, name="semantic_retrieval")


def set_whitening(model: keras.Model, mean: np.ndarray, projection: np.ndarray) -> None:
    """Gives a model its PCA whitening; see `layers.WhitenedSum.set_whitening`."""
    model.get_layer("whitened_sum").set_whitening(mean, projection)


def image_part(model: keras.Model) -> keras.Model:
    """The part of a model that needs no text, with the same weights."""
    inputs = {name: value for name, value in model.input.items() if name != "tfidf"}
    return keras.Model(inputs, {"phi": model.output["phi"]}, name="image_part")


def text_part(model: keras.Model) -> keras.Model:
    """The part of a joint model that needs no image, with the same weights.

    Raises:
        ValueError: if the model was trained without texts.
    """
    if "theta" not in model.output:
        raise ValueError(
            "the model was trained without texts, so it cannot read any: train one with "
            "--embedding=joint"
        )
    inputs = {"tfidf": model.input["tfidf"]}
    return keras.Model(inputs, {"theta": model.output["theta"]}, name="text_part")


def region_encoder(encoder: keras.Model, *, levels: int = 2) -> keras.Model:
    """Images to region vectors: a backbone and max pooling over R-MAC's grid.

    Args:
        encoder: of `encoders.image_encoder`, image [B, H, W, 3] -> map [B, h, w, C].
        levels: of the grid.

    Reference: Gordo2017, Sections 3 and 6.1 ("two scales").
    """
    image = keras.Input(encoder.input_shape[1:], name="image")
    regions = layers.RegionMaxPool(levels, dtype="float32", name="regions")(encoder(image))
    return keras.Model(image, regions, name="region_encoder")


def freeze_batch_norm(model: keras.Model) -> None:
    """Keeps statistics, scale and shift of every batch normalisation of a model as they are.

    Reference: Gordo2017, Section 5.1 (Gordo et al. 2016, whose network has them fixed).
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
        elif isinstance(layer, keras.Model):
            freeze_batch_norm(layer)


def with_backbone(model: keras.Model, encoder: keras.Model) -> TripletModel:
    """The model on images: `image` [B, H, W, 3] float32 in [0, 1] takes the place of `regions`.

    Args:
        model: of `semantic_retrieval`.
        encoder: of `region_encoder`.

    Returns:
        A model that shares both models' weights.

    Raises:
        ValueError: if the encoder's channels are not the model's.
    """
    found, wanted = encoder.output_shape[-1], model.input["regions"].shape[-1]
    if found != wanted:
        raise ValueError(f"the backbone gives {found} channels and the model takes {wanted}")
    inputs = {"image": keras.Input(encoder.input_shape[1:], name="image")}
    outputs = dict(image_part(model)({"regions": encoder(inputs["image"])}))
    if "tfidf" in model.input:
        size = model.input["tfidf"].shape[-1]
        inputs["tfidf"] = keras.Input((size,), sparse=True, name="tfidf")
        outputs |= text_part(model)({"tfidf": inputs["tfidf"]})
    return TripletModel(inputs, outputs, name="semantic_retrieval_live")


def sparse_tensor(rows) -> tf.SparseTensor:
    """A SciPy CSR matrix as the `tfidf` input: [B, V] float32."""
    rows = rows.tocsr()
    owners = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    indices = np.stack([owners, rows.indices], axis=1).astype(np.int64)
    return tf.SparseTensor(indices, rows.data.astype(np.float32), rows.shape)
