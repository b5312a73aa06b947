"""Shah2019's phrase generator (Section 3.2): pixels -> 64 numbers -> a softmax over queries."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from imgtext_tf import layers

_EMBEDDING, _HEAD = "embedding", "queries"


def phrase_generator(
    *,
    num_queries: int,
    feature_shape: Sequence[int | None],
    embedding_dim: int = 64,
    hidden_units: Sequence[int] = (),
    dropout: float = 0.0,
    sampler: str = "log_uniform",
    num_sampled: int = 4096,
    scale: float = 20.0,
    learn_scale: bool = False,
    log_q: bool = True,
    seed: int | None = None,
) -> keras.Model:
    """The model that is trained on query-image pairs.

    Inputs, a dict: `image_features` [B, h, w, C] float32, a backbone's last feature map, and
    `query` [B] int64, the query's number. Outputs: `embedding` [B, D] float32, x, and `candidates`
    [B, 1 + S] float32: the logits of the query and of the sampled ones; train them with cross
    entropy to label 0 (`compile_generator`).

    x = W mean(F) + b;   candidates = s cos(w_c, x) for the query c and a sample

    Args:
        num_queries: classes, numbered by falling frequency.
        feature_shape: (h, w, C).
        embedding_dim: of the bottleneck x.
        hidden_units: layers with ReLU before the bottleneck (Deviation 2), for a frozen backbone.
        dropout: rate before the bottleneck (Deviation 2).
        sampler: see `layers.CosineSoftmax`.
        num_sampled: see `layers.CosineSoftmax`.
        scale: s, see `layers.CosineSoftmax`.
        learn_scale: see `layers.CosineSoftmax`.
        log_q: whether to correct for how often the sampler draws a query.
        seed: of dropout and sampling.

    Reference: Shah2019, Eq. 1.
    """
    features = keras.Input(tuple(feature_shape), name="image_features")
    query = keras.Input((), dtype="int64", name="query")
    hidden = keras.layers.GlobalAveragePooling2D(name="image_mean")(features)
    # Deviation 2: dropout, and layers where the backbone is frozen; none by default.
    for number, units in enumerate(hidden_units, 1):
        hidden = keras.layers.Dense(units, activation="relu", name=f"fc{number}")(hidden)
    hidden = keras.layers.Dropout(dropout, seed=seed, name="dropout")(hidden)
    bottleneck = keras.layers.Dense(embedding_dim, dtype="float32", name=_EMBEDDING)(hidden)
    head = layers.CosineSoftmax(
        num_queries,
        sampler=sampler,
        num_sampled=num_sampled,
        scale=scale,
        learn_scale=learn_scale,
        correct=log_q,
        seed=seed,
        dtype="float32",
        name=_HEAD,
    )
    return keras.Model(
        {"image_features": features, "query": query},
        {"candidates": head(bottleneck, query), "embedding": bottleneck},
        name="phrase_generator",
    )


def compile_generator(
    generator: keras.Model, optimizer: keras.optimizers.Optimizer, **kwargs
) -> keras.Model:
    """Compiles a generator for batches (inputs, {"candidates": zeros [B]}) and returns it.

    Args:
        generator: of `phrase_generator` or `with_backbone`.
        optimizer: one of `imgtext_tf.optimizers`, or steps take longer the more queries there are.
        **kwargs: of `keras.Model.compile`.
    """
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    generator.compile(optimizer=optimizer, loss={"candidates": loss}, **kwargs)
    return generator


def embedder(generator: keras.Model) -> keras.Model:
    """The generator's image side: {`image_features` or `image`} -> {"embedding": [B, D]}.

    It shares the weights. The embedding is what the bottleneck gives; cosines need no more.
    """
    inputs = {name: value for name, value in generator.input.items() if name != "query"}
    return keras.Model(inputs, {"embedding": generator.output["embedding"]}, name="embedder")


def query_weights(generator: keras.Model) -> np.ndarray:
    """The trained w_c of Eq. 1, in the order of the queries: [N, D] float32."""
    return np.concatenate([table.numpy() for table in generator.get_layer(_HEAD).tables])


def with_backbone(generator: keras.Model, encoder: keras.Model) -> keras.Model:
    """The generator on images: `image` [B, H, W, 3] float32 in [0, 1] for `image_features`.

    Args:
        generator: of `phrase_generator`.
        encoder: of `encoders.image_encoder`, with feature maps of the generator's depth.

    Returns:
        A model that shares both models' weights.

    Raises:
        ValueError: if the feature maps have another depth.
    """
    expected, found = generator.input["image_features"].shape[-1], encoder.output_shape[-1]
    if expected != found:
        raise ValueError(f"the backbone's features have {found} channels, not {expected}")
    image = keras.Input(encoder.input_shape[1:], name="image")
    query = keras.Input((), dtype="int64", name="query")
    embedding = embedder(generator)({"image_features": encoder(image)})["embedding"]
    return keras.Model(
        {"image": image, "query": query},
        {
            "candidates": generator.get_layer(_HEAD)(embedding, query),
            "embedding": embedding,
        },
        name="phrase_generator_live",
    )
