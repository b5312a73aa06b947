"""Weights of vsepp checkpoints (PyTorch) in our branches.

A checkpoint's "model" is a pair of state dicts: of the image encoder (`fc.*` behind precomputed
features, with a CNN's `cnn.*` beside) and of the text encoder (`embed.*`, `rnn.*`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

# Their ids <pad> 0, <start> 1, <end> 2, <unk> 3; ours padding 0, unknown 1, <start> 2, <end> 3.
_ROWS = (0, 3, 1, 2)


class CheckpointError(ValueError):
    """A checkpoint that holds another model than ours can be."""


def parts(content: Any, source: str) -> tuple[Sequence[Mapping[str, Any]], dict[str, Any]]:
    """The pair of state dicts (name -> PyTorch tensor) and the options of a checkpoint.

    Args:
        content: what `torch.load` gave.
        source: the file's name, for errors.

    Raises:
        CheckpointError: if it is of another kind.
    """
    states = content.get("model") if isinstance(content, dict) else None
    if (
        not isinstance(states, list | tuple)
        or len(states) != 2
        or not all(isinstance(one, Mapping) for one in states)
    ):
        raise CheckpointError(f"{source}: has no pair of state dicts under 'model'")
    for name, value in (item for one in states for item in one.items()):
        # A tensor of stride 0 can announce more numbers than any memory holds.
        if (
            not isinstance(name, str)
            or not hasattr(value, "untyped_storage")
            or (value.numel() * value.element_size() > value.untyped_storage().nbytes())
        ):
            raise CheckpointError(f"{source}: {name!r:.80} is no tensor")
    options = content.get("opt", {})
    return states, dict(options if isinstance(options, dict) else getattr(options, "__dict__", {}))


def sizes(
    image_state: Mapping[str, np.ndarray], text_state: Mapping[str, np.ndarray]
) -> dict[str, int | bool]:
    """What the branches must be built with.

    Returns:
        `feature_dim`, `embed_dim`, `vocabulary_size`, `word_dim`, `gru_layers`, `bidirectional`.

    Raises:
        CheckpointError: naming the weight that is missing or does not fit.
    """
    kernel, table = _of(image_state, "fc.weight"), _of(text_state, "embed.weight")
    if kernel.ndim != 2 or table.ndim != 2 or 0 in (*kernel.shape, *table.shape):
        raise CheckpointError(f"fc.weight {kernel.shape} and embed.weight {table.shape} are no "
                              "matrices")  # fmt: skip
    layers = sum(name.startswith("rnn.weight_ih_l") for name in text_state)
    two = any(name.endswith("_reverse") for name in text_state)
    hidden = _of(text_state, "rnn.weight_hh_l0").shape
    if hidden != (3 * kernel.shape[0], kernel.shape[0]):
        raise CheckpointError(f"rnn.weight_hh_l0 has shape {hidden}: a GRU of {kernel.shape[0]} "
                              "units, the embedding's, is needed")  # fmt: skip
    return {
        "feature_dim": kernel.shape[1],
        "embed_dim": kernel.shape[0],
        "vocabulary_size": table.shape[0],
        "word_dim": table.shape[1],
        "gru_layers": layers // (2 if two else 1),
        "bidirectional": two,
    }


def assign(
    image_branch: keras.Model,
    text_branch: keras.Model,
    image_state: Mapping[str, np.ndarray],
    text_state: Mapping[str, np.ndarray],
) -> None:
    """Gives both branches the weights of a checkpoint.

    Args:
        image_branch: of `branches.image_branch`, of the checkpoint's sizes.
        text_branch: of `branches.text_branch`, likewise.
        image_state: name -> array.
        text_state: name -> array.

    Raises:
        CheckpointError: naming the weight that is missing.
    """
    linear = image_branch.get_layer("image_linear")
    linear.set_weights([_of(image_state, "fc.weight").T, _of(image_state, "fc.bias")])
    table = _of(text_state, "embed.weight").copy()
    table[: len(_ROWS)] = table[list(_ROWS)]
    embedding = text_branch.get_layer("embedding")
    embedding.table.assign(table)
    embedding.unknown.assign(table[1])
    for layer in text_branch.layers:
        if layer.name.startswith("gru"):
            number = int(layer.name.removeprefix("gru").split("_")[0]) - 1
            suffix = f"l{number}" + ("_reverse" if layer.backward else "")
            layer.set_weights(gru_weights(text_state, suffix))


def gru_weights(state: Mapping[str, np.ndarray], suffix: str = "l0") -> list[np.ndarray]:
    """Kernel, recurrent kernel and bias of `layers.MaskedGRU` from PyTorch's GRU.

    PyTorch stacks its gates r, z, n as rows; ours stand z, r, n as columns.

    Args:
        state: name -> array.
        suffix: of the weights' names, such as "l0".

    Raises:
        CheckpointError: naming the weight that is missing.
    """
    found = [
        _swapped(_of(state, f"rnn.{name}_{suffix}"))
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    ]
    return [found[0].T, found[1].T, np.stack(found[2:])]


def _swapped(rows: np.ndarray) -> np.ndarray:
    reset, update, candidate = np.split(rows, 3)
    return np.concatenate([update, reset, candidate])


def _of(state: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    # Checkpoints of several GPUs prefix names with "module.".
    for key in (name, f"module.{name}"):
        if key in state:
            weights = np.asarray(state[key], np.float32)
            if not np.isfinite(weights).all():
                raise CheckpointError(f"{name} has values that are not finite")
            return weights
    raise CheckpointError(f"the checkpoint has no {name}: is it vsepp's?")
