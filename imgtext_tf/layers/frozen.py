"""Whole models as layers of another model."""

from __future__ import annotations

import keras


@keras.saving.register_keras_serializable(package="imgtext_tf")
class Frozen(keras.layers.Layer):
    """Runs a model that is never trained, always in inference mode.

    `model(x, training=False)` in a functional model does not do that: a call of the outer model
    with training=True wins over it (Keras 3.15), and dropout inside the model comes alive.

    Args:
        model: a keras.Model of one input.
        **kwargs: of `keras.layers.Layer`.
    """

    def __init__(self, model, **kwargs):
        """Stores the model; see the class."""
        kwargs["trainable"] = False
        super().__init__(**kwargs)
        model.trainable = False
        self.model = model

    def build(self, input_shape):
        """Nothing to do: the model is built."""

    def call(self, inputs):
        """See the class."""
        return self.model(inputs, training=False)

    def get_config(self):
        """The model, serialised."""
        return super().get_config() | {"model": keras.saving.serialize_keras_object(self.model)}

    @classmethod
    def from_config(cls, config):
        """Rebuilds the model too."""
        return cls(keras.saving.deserialize_keras_object(config.pop("model")), **config)


@keras.saving.register_keras_serializable(package="imgtext_tf")
class HubImage(keras.layers.Layer):
    """An image model of TF-Hub: image [B, H, W, 3] -> its features, [B, C] or [B, h, w, C] float32.

    hub.KerasLayer does not work in Keras 3, hence this layer. The model's weights stay where the
    handle leads: they are neither trained nor saved with the Keras model.

    Args:
        handle: a TF-Hub handle, or the path of a SavedModel.
        **kwargs: of `keras.layers.Layer`.
    """

    def __init__(self, handle, **kwargs):
        """Loads the model; see the class."""
        import tensorflow_hub  # Slow, and it needs setuptools<82: only where it is used.

        kwargs["trainable"] = False
        super().__init__(**kwargs)
        self.handle = handle
        self.loaded = tensorflow_hub.load(tensorflow_hub.resolve(handle))

    def call(self, image):
        """See the class."""
        image = keras.ops.cast(image, "float32")
        if callable(self.loaded):
            return self.loaded(image)
        return next(iter(self.loaded.signatures["serving_default"](image).values()))

    def get_config(self):
        """The handle."""
        return super().get_config() | {"handle": self.handle}
