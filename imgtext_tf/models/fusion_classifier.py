"""Shah2019's classifier of visual features and the text of generated phrases (Section 3.5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras

from imgtext_tf import layers, losses

# Name -> its inputs: the ablations of Sections 4.2 to 4.4.
VARIANTS: dict[str, tuple[str, ...]] = {
    "visual": ("visual",),
    "text": ("text",),
    "multimodal": ("visual", "text"),
    "bottleneck": ("visual", "phrase"),
    "everything": ("visual", "text", "phrase"),
}
FUSIONS = ("concat", "mlb", "mutan")


def fusion_classifier(
    *,
    num_labels: int,
    dims: Mapping[str, int],
    variant: str = "multimodal",
    fusion: str = "concat",
    fc_units: Sequence[int] = (1024, 512),
    dropout: float = 0.3,
    normalize: bool = True,
    seed: int | None = None,
) -> keras.Model:
    """A fully connected network over the embeddings of an image.

    Inputs, a dict, as the variant says: `visual` [B, C] bottleneck features of a backbone, `text`
    [B, 200] mean embedding of the three best phrases, `phrase` [B, 64] bottleneck of the phrase
    generator. Output: {"logits": [B, num_labels] float32}, for a softmax (one label an image) or
    sigmoids (several, `losses.VerifiedCrossEntropy`).

    The variants differ in their input layer only, as in Section 4.2.

    Args:
        num_labels: size of the taxonomy.
        dims: input -> its length.
        variant: a key of `VARIANTS`.
        fusion: "concat" as in the paper; "mlb" and "mutan" multiply the visual features with the
            other inputs, which the paper proposes; where there is only one input it goes on alone.
        fc_units: sizes of the layers before the logits.
        dropout: rate before each of them.
        normalize: standardise each input over the batches (batch normalisation without scale), so
            that no embedding outweighs the others by its length (Deviation 4).
        seed: of the dropout.

    Raises:
        ValueError: if variant or fusion is unknown, or `dims` lacks an input.

    Reference: Shah2019, Section 3.5.
    """
    if variant not in VARIANTS or fusion not in FUSIONS:
        raise ValueError(
            f"variant {variant!r}, fusion {fusion!r}: use {', '.join(VARIANTS)} and "
            f"{', '.join(FUSIONS)}"
        )
    names = VARIANTS[variant]
    if missing := [name for name in names if name not in dims]:
        raise ValueError(f"variant {variant!r} needs the length of {', '.join(missing)} in dims")
    inputs = {name: keras.Input((dims[name],), name=name) for name in names}
    parts = list(inputs.values())
    if normalize:
        # Deviation 4: visual features are some ten times longer than text embeddings.
        parts = [
            keras.layers.BatchNormalization(center=False, scale=False, name=f"{name}_normal")(part)
            for name, part in inputs.items()
        ]
    hidden = _fused(parts, fusion, fc_units[0] if fc_units else num_labels)
    for number, units in enumerate(fc_units, 1):
        drop = keras.layers.Dropout(
            dropout, seed=None if seed is None else seed + number, name=f"fc{number}_dropout"
        )
        hidden = keras.layers.Dense(units, activation="relu", name=f"fc{number}")(drop(hidden))
    hidden = keras.layers.Dropout(dropout, seed=seed, name="logits_dropout")(hidden)
    logits = keras.layers.Dense(num_labels, dtype="float32", name="logits")(hidden)
    return keras.Model(inputs, {"logits": logits}, name="fusion_classifier")


def compile_classifier(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    *,
    several_labels: bool,
    **kwargs,
) -> keras.Model:
    """Compiles a classifier and returns it.

    Args:
        model: of `fusion_classifier`.
        optimizer: of Keras.
        several_labels: labels [B, C] in {1, 0, -1} and sigmoids, else labels [B] and a softmax.
        **kwargs: of `keras.Model.compile`.
    """
    loss = (
        losses.VerifiedCrossEntropy()
        if several_labels
        else keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    model.compile(optimizer=optimizer, loss={"logits": loss}, **kwargs)
    return model


def _fused(parts: list, fusion: str, units: int):
    if len(parts) == 1:
        return parts[0]
    if fusion == "concat":
        return keras.layers.Concatenate(name="concat")(parts)
    others = parts[1] if len(parts) == 2 else keras.layers.Concatenate(name="others")(parts[1:])
    make = layers.Mlb if fusion == "mlb" else layers.Mutan
    return make(units, name=fusion)(parts[0], others)
