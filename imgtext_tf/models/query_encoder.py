"""Shah2019's text encoder (Section 3.3): a bag of unigrams and bigrams -> 200 numbers."""

from __future__ import annotations

import keras

from imgtext_tf import layers

POOLING = ("attention", "mean", "sqrtn")


def query_encoder(
    *,
    buckets: int = 2**18,
    dim: int = 200,
    gram_dim: int = 200,
    attention_units: int | None = None,
    pooling: str = "attention",
    dropout: float = 0.0,
    seed: int | None = None,
) -> keras.Model:
    """One side of the dual encoder; both sides are this one model.

    Input, a dict: `gram_ids` [B, G] int32 (0 = padding) of `data.grams.gram_ids`. Output:
    {"embedding": [B, dim] float32} of length 1; zeros for a text without words.

    e_n = table[gram n];   a = softmax_n(v^T tanh(W e_n + b));   y = P (sum_n a_n e_n)

    The attention is within a text (Deviation 3): attention across a pair, as in the cited works,
    would leave a text alone without an embedding.

    Args:
        buckets: of the hash; the table has one row more, for padding.
        dim: of the embedding.
        gram_dim: of a table's row.
        attention_units: length of v; None for `gram_dim`.
        pooling: "attention", or the baselines "mean" and "sqrtn" (sum by root of the number).
        dropout: rate on the pooled bag.
        seed: of the dropout.

    Raises:
        ValueError: if the pooling is unknown.

    Reference: Shah2019, Section 3.3.
    """
    if pooling not in POOLING:
        raise ValueError(f"unknown pooling {pooling!r}: use one of {', '.join(POOLING)}")
    ids = keras.Input((None,), dtype="int32", name="gram_ids")
    grams = layers.RowEmbedding(1 + buckets, gram_dim, name="grams")(ids)
    real = keras.ops.not_equal(ids, 0)
    if pooling == "attention":
        # Deviation 3: within the text, not across a pair.
        bag = layers.AttentionPooling(attention_units or gram_dim, name="attention")(grams, real)
    else:
        bag = layers.BagPooling(root=pooling == "sqrtn", name="bag")(grams, real)
    bag = keras.layers.Dropout(dropout, seed=seed, name="bag_dropout")(bag)
    # No bias: a text without words stays at zero.
    vector = keras.layers.Dense(dim, use_bias=False, dtype="float32", name="project")(bag)
    unit = keras.layers.UnitNormalization(dtype="float32", name="unit")(vector)
    return keras.Model({"gram_ids": ids}, {"embedding": unit}, name="query_encoder")


def dual_encoder(
    encoder: keras.Model, *, scale: float = 20.0, learn_scale: bool = False
) -> keras.Model:
    """The model that is trained on associated texts: each must find its partner in the batch.

    Inputs, a dict: `first` and `second` [B, G] int32, the gram ids of two associated texts,
    `group` [B] int64: texts of one group are associated, too, and not held against each other, and
    `first_id`, `second_id` [B] int64, numbers of the texts: nor are pairs with a text in common.
    Outputs: `scores` [B, B] from the first texts to the second ones, `reverse` [B, B] back; train
    both with cross entropy to the place of the partner (`compile_dual`).

    Args:
        encoder: of `query_encoder`; its weights are shared.
        scale: of the cosines.
        learn_scale: learn it.

    Reference: Shah2019, Section 3.3.
    """
    first = keras.Input((None,), dtype="int32", name="first")
    second = keras.Input((None,), dtype="int32", name="second")
    group, first_id, second_id = (
        keras.Input((), dtype="int64", name=name) for name in ("group", "first_id", "second_id")
    )
    a = encoder({"gram_ids": first})["embedding"]
    b = encoder({"gram_ids": second})["embedding"]
    scores = layers.PairScores(
        scale=scale, learn_scale=learn_scale, dtype="float32", name="pair_scores"
    )(a, b, group, first_id, second_id)
    return keras.Model(
        {
            "first": first,
            "second": second,
            "group": group,
            "first_id": first_id,
            "second_id": second_id,
        },
        {
            "scores": layers.OwnRows(dtype="float32", name="own_scores")(scores, group),
            "reverse": layers.OwnRows(dtype="float32", name="own_reverse")(
                keras.ops.transpose(scores), group
            ),
        },
        name="dual_encoder",
    )


def compile_dual(
    model: keras.Model, optimizer: keras.optimizers.Optimizer, **kwargs
) -> keras.Model:
    """Compiles a dual encoder for labels {"scores": 0..B-1, "reverse": 0..B-1} and returns it."""
    loss = keras.losses.SparseCategoricalCrossentropy
    model.compile(
        optimizer=optimizer,
        loss={name: loss(from_logits=True) for name in ("scores", "reverse")},
        **kwargs,
    )
    return model


def encoder_of(model: keras.Model) -> keras.Model:
    """The encoder inside a dual encoder."""
    return model.get_layer("query_encoder")


def with_backbone(model: keras.Model, encoder: keras.Model) -> keras.Model:
    """No image is encoded here.

    Raises:
        ValueError: always.
    """
    raise ValueError("the query encoder takes texts only: its run has no backbone")
