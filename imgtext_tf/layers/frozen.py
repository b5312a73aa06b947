"""Whole models as layers of another model."""

from __future__ import annotations

import inspect
import os

import keras

_HOSTS = ("https://tfhub.dev/", "https://www.kaggle.com/", "https://kaggle.com/")


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
        for variable in model.variables:
            variable.constant = True  # checkpoints leave it out
        self.model = model

    def build(self, input_shape):
        """Nothing to do: the model is built."""

    def call(self, inputs):
        """See the class."""
        return self.model(inputs, training=False)

    def thawed(self):
        """The model, to be trained from now on; this layer is of no use any more."""
        self.model.trainable = True
        for variable in self.model.variables:
            variable.constant = False
        return self.model

    def get_config(self):
        """The model, serialised."""
        return super().get_config() | {"model": keras.saving.serialize_keras_object(self.model)}

    @classmethod
    def from_config(cls, config):
        """Rebuilds the model too."""
        return cls(keras.saving.deserialize_keras_object(config.pop("model")), **config)


@keras.saving.register_keras_serializable(package="imgtext_tf")
class HubImage(keras.layers.TFSMLayer):
    """An image model of TF-Hub: image [B, H, W, 3] -> its features, [B, C] or [B, h, w, C] float32.

    hub.KerasLayer does not work in Keras 3, hence this layer. The model's graph stays where the
    handle leads, which must still be there when the layer is loaded; the weights are the layer's.

    Args:
        handle: a TF-Hub handle, or the path of a SavedModel.
        trainable: train the model's trainable variables; it then follows `training`, if it can.
        **kwargs: `name` and `dtype` of `keras.layers.Layer`.
    """

    def __init__(self, handle, *, trainable=False, **kwargs):
        """Loads the model; see the class."""
        import tensorflow_hub  # Slow, and it needs setuptools<82: only where it is used.

        path, kwargs = tensorflow_hub.resolve(handle), {"trainable": trainable, **kwargs}
        try:
            super().__init__(path, call_endpoint="__call__", **kwargs)
        except ValueError:  # A SavedModel of signatures only.
            super().__init__(path, call_endpoint="serving_default", **kwargs)
        self.handle = handle
        self.asks = "training" in inspect.signature(self.call_endpoint_fn).parameters

    def call(self, image, training=False):
        """See the class."""
        arguments = {"training": bool(training and self.trainable)} if self.asks else {}
        output = self.call_endpoint_fn(keras.ops.cast(image, "float32"), **arguments)
        return next(iter(output.values())) if isinstance(output, dict) else output

    def get_config(self):
        """The handle, and whether it is trained."""
        config = keras.layers.Layer.get_config(self)
        return config | {"handle": self.handle}

    @classmethod
    def from_config(cls, config, custom_objects=None, safe_mode=None):
        """Loads the model again from where the handle leads.

        Raises:
            ValueError: if that is neither a folder of this machine nor TF-Hub: a SavedModel's graph
                can read and write files, so a file of a model does not choose it freely.
        """
        handle = str(config.get("handle"))
        if not (os.path.isdir(handle) or handle.startswith(_HOSTS)):
            raise ValueError(f"the hub model {handle!r:.200} is neither a folder nor on TF-Hub")
        return cls(**config)
