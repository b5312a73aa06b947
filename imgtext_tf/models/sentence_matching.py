"""Liu2019's joint embedding of images and sentences, and the game against a modality classifier.

The paper's text gives no sizes: they are those of VSE++, on which it builds; docs/papers/liu2019.md
lists every such reading.
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from imgtext_tf import layers, losses
from imgtext_tf.branches import FEATURES, image_branch, modality_classifier, text_branch
from imgtext_tf.layers import replicas
from imgtext_tf.stages import Stage

__all__ = [
    "SentenceMatching",
    "image_branch",
    "modality_classifier",
    "text_branch",
    "with_backbone",
]


_LOGGED = ("triplet_loss", "modality_loss", "classifier_accuracy", "strength", "score_spread")


@keras.saving.register_keras_serializable(package="imgtext_tf")
class SentenceMatching(keras.Model):
    """Both branches, the classifier and their training in stages.

    Inputs, a dict: `image_features` (or `image`, with a backbone), `caption_ids` [B, W] int32 and,
    for training, `image_row` [B] int32, the same number for captions of one image. Output:
    {"image_embedding" [B, D], "text_embedding" [B, D], "modality_logits" [2 B], images first}.

    Args:
        image_branch: of `image_branch`.
        text_branch: of `text_branch`.
        classifier: of `modality_classifier`.
        backbone: image [B, H, W, 3] to features; it runs in inference mode also where it is
            trained, so that the statistics of batch normalisation stay.
        measure: "cosine" or "order".
        **kwargs: of `keras.Model`.

    Reference: Liu2019, Section 3.
    """

    def __init__(
        self, image_branch, text_branch, classifier, *, backbone=None, measure="cosine", **kwargs
    ):
        """Stores the parts; see the class."""
        super().__init__(**kwargs)
        self.image_branch = image_branch
        self.text_branch = text_branch
        self.classifier = classifier
        self.backbone = backbone
        self.measure = measure
        self.reversal = layers.GradientReversal(name="reversal")
        self.stage = None
        self.classifier_optimizer = None
        self.averages = [keras.metrics.Mean(name=name) for name in _LOGGED]
        self.built = True  # its parts are
        for part in self._parts().values():
            # XLA, Keras' default, would compile anew for each length of captions.
            part.jit_compile = False

    def build(self, input_shape=None):
        """Nothing to do: the parts are built."""

    def call(self, inputs, training=None):
        """See the class."""
        images, texts = self.embed_images(inputs), self.embed_texts(inputs)
        logits = self.classifier(ops.concatenate([images, texts], axis=0))
        return {"image_embedding": images, "text_embedding": texts, "modality_logits": logits}

    def embed_images(self, inputs, training=False):
        """The embeddings [B, D] of a batch's images."""
        if self.backbone is None:
            return self.image_branch({FEATURES: inputs[FEATURES]}, training=training)
        features = self.backbone(inputs["image"], training=False)
        return self.image_branch({FEATURES: features}, training=training)

    def embed_texts(self, inputs, training=False):
        """The embeddings [B, D] of a batch's captions."""
        return self.text_branch({"caption_ids": inputs["caption_ids"]}, training=training)

    def predict_images(self, inputs) -> np.ndarray:
        """The embeddings [B, D] of a batch's images, outside of any graph."""
        features = inputs.get(FEATURES)
        if self.backbone is not None:
            features = self.backbone.predict_on_batch(inputs["image"])
        return self.image_branch.predict_on_batch({FEATURES: features})

    def predict_texts(self, inputs) -> np.ndarray:
        """The embeddings [B, D] of a batch's captions, outside of any graph."""
        return self.text_branch.predict_on_batch({"caption_ids": inputs["caption_ids"]})

    def predict_modality(self, embeddings: np.ndarray) -> np.ndarray:
        """The classifier's logits [N] of embeddings [N, D], outside of any graph."""
        return self.classifier.predict_on_batch(embeddings)

    def scores(self, images, texts):
        """[B, D], [C, D] -> [B, C], by the model's measure."""
        measure = losses.order_scores if self.measure == "order" else losses.cosine_scores
        return measure(images, texts)

    def begin_stage(self, stage: Stage) -> None:
        """Sets what trains, makes new optimisers and compiles; weights stay.

        Raises:
            ValueError: if the stage trains a CNN that the model has not, or a frozen one.
        """
        if "cnn" in stage.train and self.backbone is None:
            raise ValueError(f"stage {stage.name} trains the CNN, but training is on cached "
                             "features: use live pixels")  # fmt: skip
        self.stage = stage
        for part, model in self._parts().items():
            model.trainable = part in stage.train
        if "cnn" in stage.train and not _can_train(self.backbone):
            raise ValueError(f"stage {stage.name} trains the CNN, but it is frozen: build it with "
                             "image_encoder(..., trainable=True)")  # fmt: skip
        encoders = self._encoder_variables()
        optimizer = stage.adam(stage.learning_rate) if encoders else None
        if optimizer is not None:
            optimizer.build(encoders)
        self.classifier_optimizer = None
        if "classifier" in stage.train:
            self.classifier_optimizer = stage.adam(stage.classifier_learning_rate)
            self.classifier_optimizer.build(self.classifier.trainable_variables)
        self.reversal.strength.assign(0.0 if stage.ramp else stage.strength)
        self.compile(
            optimizer=optimizer or self.classifier_optimizer,
            auto_scale_loss=False,
            jit_compile=False,
        )

    def train_step(self, data):
        """One step of the current stage.

        Where several replicas train together, each embeds its own rows and computes the losses of
        all of them.
        """
        inputs, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        stage = self.stage
        step = self.optimizer.iterations
        adversarial = "adversarial" in stage.losses
        strength = ops.cast(stage.strength, "float32")
        if stage.ramp:
            progress = ops.cast(step, "float32") / stage.steps
            strength = strength * layers.dann_ramp(progress)
        self.reversal.strength.assign(strength)
        encoders = self._encoder_variables()
        with tf.GradientTape(persistent=True) as tape:
            parts = set(stage.train)
            images = self.embed_images(inputs, training="image" in parts)
            texts = self.embed_texts(inputs, training="text" in parts)
            images, texts = replicas.gather(images), replicas.gather(texts)
            batch = ops.shape(images)[0]
            is_image = ops.concatenate([ops.ones([batch]), ops.zeros([batch])], axis=0)
            both, loss = ops.concatenate([images, texts], axis=0), 0.0
            if "triplet" in stage.losses:
                loss = self._triplet(images, texts, inputs, step)
            if stage.mode == "reversal" or not adversarial:
                seen = self.reversal(both) if adversarial else ops.stop_gradient(both)
                logits = self.classifier(seen, training="classifier" in parts)
                modality = losses.modality_loss(logits, is_image)
                if "modality" in stage.losses:
                    loss = loss + modality
                loss = loss / replicas.count()
        if adversarial and stage.mode == "alternating":
            gradients = self._alternate(tape, both, loss, is_image, encoders, strength)
        else:
            self._log_modality(logits, modality, is_image)
            variables = encoders + self.classifier.trainable_variables
            gradients = _whole(tape.gradient(loss, variables))
            if self.classifier_optimizer is not None:
                self.classifier_optimizer.apply(
                    gradients[len(encoders) :], self.classifier.trainable_variables
                )
        if encoders:
            self.optimizer.apply(gradients[: len(encoders)], encoders)
        self.averages[3].update_state(strength if adversarial else 0.0)
        return {average.name: average.result() for average in self.averages}

    def _alternate(self, tape, both, loss, is_image, encoders, strength):
        """The classifier's steps on the embeddings as they are, then the encoders' gradients."""
        fixed = ops.stop_gradient(both)
        for _ in range(self.stage.classifier_steps if self.classifier_optimizer else 1):
            with tf.GradientTape() as own_tape:
                logits = self.classifier(fixed, training=self.classifier_optimizer is not None)
                modality = losses.modality_loss(logits, is_image)
                share = modality / replicas.count()
            variables = self.classifier.trainable_variables
            if self.classifier_optimizer is not None:
                gradients = own_tape.gradient(share, variables)
                self.classifier_optimizer.apply(gradients, variables)
        self._log_modality(logits, modality, is_image)
        with tape:
            logits = self.classifier(both, training=False)
            against = losses.adversarial_loss(logits, is_image, target=self.stage.target)
            loss = (loss + strength * against) / replicas.count()
        return _whole(tape.gradient(loss, encoders))

    def _triplet(self, images, texts, inputs, step):
        stage, same = self.stage, None
        if stage.mask_same_image:
            rows = replicas.gather(inputs["image_row"])
            same = ops.equal(rows[:, None], rows[None, :])
        scores = self.scores(images, texts)
        settings = {"margin": stage.margin, "same_image": same}
        loss = losses.bidirectional_hinge(scores, mining=stage.mining, **settings)
        if stage.all_negatives_steps and stage.mining != "all":
            # Deviation 4: the hardest negatives come later.
            every = losses.bidirectional_hinge(scores, mining="all", **settings)
            loss = ops.where(step < stage.all_negatives_steps, every, loss)
        self.averages[0].update_state(loss)
        self.averages[4].update_state(ops.std(scores))
        return loss

    def _log_modality(self, logits, loss, is_image):
        right = ops.equal(logits > 0, is_image > 0.5)
        self.averages[1].update_state(loss)
        self.averages[2].update_state(ops.mean(ops.cast(right, "float32")))

    def _parts(self):
        parts = {
            "image": self.image_branch,
            "text": self.text_branch,
            "classifier": self.classifier,
            "cnn": self.backbone,
        }
        return {name: part for name, part in parts.items() if part is not None}

    def _encoder_variables(self):
        parts = self._parts()
        names = [name for name in ("image", "text", "cnn") if name in parts]
        return [variable for name in names for variable in parts[name].trainable_variables]

    def get_config(self):
        """The parts, serialised."""
        parts = {
            "image_branch": self.image_branch,
            "text_branch": self.text_branch,
            "classifier": self.classifier,
            "backbone": self.backbone,
        }
        config = {
            name: None if part is None else keras.saving.serialize_keras_object(part)
            for name, part in parts.items()
        }
        return {"name": self.name, "measure": self.measure} | config

    @classmethod
    def from_config(cls, config):
        """Rebuilds the parts too."""
        names = ("image_branch", "text_branch", "classifier", "backbone")
        parts = {
            name: None if (part := config.pop(name)) is None
            else keras.saving.deserialize_keras_object(part)
            for name in names
        }  # fmt: skip
        return cls(**parts, **config)


def _whole(gradients):
    """Gradients of word vectors, one a word of the batch, as one of the table.

    Keras would take the norm over the single ones, which is another clipping.
    """
    return [None if one is None else tf.convert_to_tensor(one) for one in gradients]


def _can_train(backbone: keras.Model) -> bool:
    """Whether its weights can change, and are then in the checkpoints."""
    variables = backbone.trainable_variables
    return bool(variables) and not any(getattr(one, "constant", False) for one in variables)


def with_backbone(model: SentenceMatching, encoder: keras.Model) -> SentenceMatching:
    """The model on images: `image` [B, H, W, 3] float32 in [0, 1] for `image_features`.

    Args:
        model: trained on cached features.
        encoder: what made them, as `encoders.image_encoder`.

    Returns:
        A model that shares both models' weights.
    """
    return SentenceMatching(
        model.image_branch,
        model.text_branch,
        model.classifier,
        backbone=encoder,
        measure=model.measure,
    )
