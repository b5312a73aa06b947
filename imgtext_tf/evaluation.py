"""A model over a data set: arrays joined by id, and from them the metrics as a flat dict."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tqdm

from imgtext_tf.metrics import classification


class EvaluationError(ValueError):
    """The data set and the model cannot be evaluated together."""


def predict(
    model: keras.Model, dataset: Iterable, *, progress: bool = True
) -> dict[str, np.ndarray]:
    """Runs a classifier over every batch of a data set.

    Args:
        model: see `forward`; a batch may hold more than it takes.
        dataset: batches `(inputs, label)` or `(inputs, label, weight)` with `id` [B] string among
            the inputs.
        progress: whether to show a progress bar on stderr.

    Returns:
        Row-aligned arrays in the data set's order: `ids` [N] str, `labels` [N] int32, `logits` and
        `probabilities` [N, C] float32.

    Raises:
        EvaluationError: if the data set is empty, has no ids, or gives an id twice.
    """
    ids, labels, logits = [], [], []
    logits_of = forward(model)
    bar = tqdm.tqdm(
        dataset,
        desc="predict",
        unit="batch",
        disable=not progress,
        # A log file gets a line now and then, a terminal a live bar.
        mininterval=0.2 if sys.stderr.isatty() else 15,
        leave=False,
    )
    for inputs, label, *_ in bar:
        inputs = dict(inputs)
        if "id" not in inputs:
            raise EvaluationError("the batches have no `id`: build the data set for evaluation")
        ids.extend(name.decode() for name in np.asarray(inputs.pop("id")))
        labels.append(np.asarray(label, np.int32))
        logits.append(logits_of(inputs))
    if not ids:
        raise EvaluationError("the data set is empty")
    if len(set(ids)) < len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise EvaluationError(f"the id {twice!r} occurs more than once: predictions join by id")
    scores = np.concatenate(logits).astype(np.float32)
    return {
        "ids": np.array(ids),
        "labels": np.concatenate(labels),
        "logits": scores,
        "probabilities": np.exp(log_softmax(scores)),
    }


def forward(model: keras.Model) -> Callable[[Mapping[str, Any]], np.ndarray]:
    """The model's inference as one graph for batches of any shape: inputs -> logits [B, C].

    `predict_on_batch` would trace the model again for texts of other lengths.

    Args:
        model: a functional one with a dict of inputs; gives logits, alone or as "logits" in a dict.
    """
    signature = {
        name: tf.TensorSpec(tensor.shape, tensor.dtype) for name, tensor in model.input.items()
    }

    @tf.function(input_signature=[signature])
    def logits_of(inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        output = model(inputs, training=False)
        return output["logits"] if isinstance(output, dict) else output

    def run(inputs: Mapping[str, Any]) -> np.ndarray:
        tensors = {name: tf.cast(inputs[name], spec.dtype) for name, spec in signature.items()}
        return logits_of(tensors).numpy()

    return run


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """The logarithm of the softmax over the last axis, safe for large logits."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def evaluate_classifier(
    model: keras.Model, dataset: Iterable, labels: Sequence[str], *, progress: bool = True
) -> tuple[dict[str, float], dict[str, Any]]:
    """Evaluates a classifier on a data set.

    Args:
        model: as in `predict`.
        dataset: as in `predict`.
        labels: the class names, in label order.
        progress: whether to show a progress bar on stderr.

    Returns:
        The flat metrics (`loss`, the mean cross entropy in nats, and those of
        `metrics.classification.classification_metrics`), and the arrays of `predict` with
        `predicted` [N] int64 and `confusion_matrix` [C, C] int64.

    Raises:
        EvaluationError: see `predict`, or if the model's outputs do not match the class names.
    """
    arrays = predict(model, dataset, progress=progress)
    if arrays["logits"].shape[1] != len(labels):
        raise EvaluationError(
            f"the model has {arrays['logits'].shape[1]} outputs for {len(labels)} classes: "
            f"{', '.join(labels)}"
        )
    truth, predicted = arrays["labels"], arrays["logits"].argmax(axis=1)
    rows = np.arange(len(truth))
    metrics = {"loss": float(-log_softmax(arrays["logits"])[rows, truth].mean())}
    metrics |= classification.classification_metrics(truth, predicted, labels)
    arrays["predicted"] = predicted
    arrays["confusion_matrix"] = classification.confusion_matrix(
        truth, predicted, num_classes=len(labels)
    )
    return metrics, arrays


def output_batches(
    model: keras.Model, dataset: Iterable
) -> Iterator[tuple[list[str], dict[str, np.ndarray]]]:
    """The same as `outputs` batch by batch, for what does not fit into memory: (ids, outputs)."""
    for inputs in dataset:
        inputs = dict(inputs)
        ids = [name.decode() for name in np.asarray(inputs.pop("id"))]
        found = model.predict_on_batch(inputs)
        yield ids, {name: np.asarray(value) for name, value in found.items()}


def outputs(model: keras.Model, dataset: Iterable) -> dict[str, np.ndarray]:
    """A model's outputs over every batch of a data set, row-aligned.

    Args:
        model: takes the named inputs of a batch but `id`, and gives a dict of [B, ...] tensors.
        dataset: batches of inputs, with `id` [B] string among them.

    Returns:
        `ids` [N] str and each output, [N, ...].

    Raises:
        EvaluationError: if the data set is empty.
    """
    ids: list[str] = []
    found: dict[str, list[np.ndarray]] = {}
    for names, values in output_batches(model, dataset):
        ids.extend(names)
        for name, value in values.items():
            found.setdefault(name, []).append(value)
    if not ids:
        raise EvaluationError("the data set is empty")
    return {"ids": np.array(ids)} | {name: np.concatenate(rows) for name, rows in found.items()}
