"""A trained classifier of relations on new pairs of an image and a text.

from imgtext_tf import predict
classifier = predict.load("runs/classic")
print(classifier("photo.jpg", "A dog runs on the beach."))
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from imgtext_tf import evaluation, relations, runs, untrusted
from imgtext_tf.data import images, language, pairs, pipeline, word_ids
from imgtext_tf.data.shard_files import BadRecord
from imgtext_tf.data.text import UNKNOWN, Vocabulary
from imgtext_tf.metrics import calibration

_LARGEST_SIDE = 4096  # of what a model sees


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a classifier says of a pair.

    Attributes:
        id: of the pair.
        label: the class; "" where the classifier abstains.
        probability: of the most probable class, calibrated as all others are.
        probabilities: class -> probability.
        metrics: "cmi", "sc" and "stat" of the class, or the one metric that the classifier is of;
            empty where it abstains, and for classes of the user's own.
        marginals: metric -> value -> probability, summed over the classes that have the value. The
            most probable value need not be that of the most probable class.
        warnings: what makes the answer doubtful.
    """

    id: str
    label: str
    probability: float
    probabilities: dict[str, float]
    metrics: dict[str, int | str]
    marginals: dict[str, dict[str, float]]
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """JSON values; probabilities have six digits."""

        def rounded(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: rounded(one) for key, one in value.items()}
            return round(value, 6) if isinstance(value, float) else value

        return rounded(dataclasses.asdict(self)) | {"warnings": list(self.warnings)}


@dataclasses.dataclass(frozen=True)
class Ready:
    """A pair that was read and decoded.

    Attributes:
        id: of the pair.
        image: [H, W, 3] float32 in [0, 1]; None for a model of texts only.
        sentences: of the text; none for a model of images only.
    """

    id: str
    image: np.ndarray | None
    sentences: tuple[str, ...]


def load(
    run_dir: str | os.PathLike,
    *,
    which: str = "best",
    abstain_below: float = 0.0,
    batch_size: int = 32,
) -> Classifier:
    """The classifier of a run directory.

    Args:
        run_dir: of `experiments.train_classic` or `experiments.train_metric`.
        which: the "best" model, or the "last" one, whose probabilities are not calibrated.
        abstain_below: give no class where the most probable one has less than this.
        batch_size: pairs that are predicted at once.

    Raises:
        runs.RunError: if a file is missing.
    """
    return Classifier(runs.load(run_dir, which), abstain_below=abstain_below, batch_size=batch_size)


def _check(run: runs.Run) -> None:
    """Sees that a run's files fit together: its model, labels and preprocessing.

    Raises:
        runs.RunError: naming the file that does not fit.
    """
    inputs, outputs = run.model.input, run.model.output
    logits = outputs.get("logits") if isinstance(outputs, dict) else outputs
    if not isinstance(inputs, dict) or not hasattr(logits, "shape"):
        raise runs.RunError("model_best.keras: is no classifier of pairs; use a run of "
                            "train_classic or train_metric")  # fmt: skip
    run.need_backbone()
    if logits.shape[-1] != len(run.labels):
        raise runs.RunError(f"labels.json: {len(run.labels)} labels for a model of "
                            f"{logits.shape[-1]} classes")  # fmt: skip
    how = run.preprocessing
    try:
        untrusted.need(run.settings, {"target": str}, "settings.json")
        if "image" in inputs:
            kinds = {"image_size": (int, list), "central_fraction": (int, float)}
            untrusted.need(how, kinds, "preprocessing.json")
            size, fraction = how["image_size"], how["central_fraction"]
            sides = tuple(size) if isinstance(size, list) else (size, size)
            seen = inputs["image"].shape[1:3]
            fit = len(sides) == 2 and all(
                side == (own or side) and 0 < side <= _LARGEST_SIDE
                for side, own in zip(sides, seen, strict=True)
            )
            if not fit or not 0 < fraction <= 1:
                raise ValueError("preprocessing.json: its images are not those of the model")
        if "word_ids" in inputs:
            kinds = {"max_sentences": int, "max_words": int, "ngrams": object}
            untrusted.need(how, kinds, "preprocessing.json")
    except ValueError as error:
        raise runs.RunError(f"{error}: copy the run again from where it was trained") from None


class Classifier:
    """A run's model with all that lies between it and files of images and texts.

    Attributes:
        run: the loaded run.
        labels: the class names, in label order.
        uses_images: whether the model sees images; else none is opened.
        uses_texts: whether the model sees texts; else none is looked at.
    """

    def __init__(self, run: runs.Run, *, abstain_below: float = 0.0, batch_size: int = 32) -> None:
        """See `load`.

        Raises:
            ValueError: if an argument is out of range.
        """
        if not 0 <= abstain_below <= 1 or batch_size < 1:
            raise ValueError("abstain_below must be in [0, 1], and batch_size 1 or more")
        _check(run)
        self.run = run
        self.labels = run.labels
        self.uses_images = "image" in run.model.input
        self.uses_texts = "word_ids" in run.model.input
        self._logits_of = evaluation.forward(run.model)
        self._abstain_below = abstain_below
        self._batch_size = batch_size
        self._vocabulary = Vocabulary(run.words)
        self._language = language.Expected(run.vocabulary)

    def __call__(
        self, image: str | os.PathLike | bytes, text: str | Sequence[str], *, id: str = "pair"
    ) -> Prediction:
        """Predicts one pair.

        Args:
            image: the path of an image file, or its bytes.
            text: a text, which is split into sentences, or its sentences.
            id: a name for the pair.

        Raises:
            ValueError: if the image or the text cannot be used.
        """
        (prediction,) = self.many([pairs.Pair(id, image, text)])
        if isinstance(prediction, BadRecord):
            raise ValueError(f"{prediction.id}: {prediction.reason}")
        return prediction

    def many(self, items: Iterable[pairs.Item]) -> Iterator[Prediction | BadRecord]:
        """Predicts pairs, in their order; holds no more than two batches at a time.

        Args:
            items: such as `data.pairs.read` gives.

        Returns:
            A prediction for each pair, and a bad record for each that cannot be used.
        """
        stream, waiting = iter(items), collections.deque()
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            while batch := list(itertools.islice(stream, self._batch_size)):
                # Decoded while the batch before it is predicted.
                waiting.append([pool.submit(self.prepare, item) for item in batch])
                if len(waiting) > 1:
                    yield from self._predict([one.result() for one in waiting.popleft()])
            while waiting:
                yield from self._predict([one.result() for one in waiting.popleft()])

    def prepare(self, item: pairs.Item) -> Ready | BadRecord:
        """Reads and decodes what the model wants of a pair."""
        if isinstance(item, BadRecord):
            return item
        try:
            image, sentences = None, ()
            if self.uses_images:
                data = item.image
                if not isinstance(data, bytes):
                    data = images.read_file(data)
                pixels = tf.constant(images.upright(images.checked_pixels(data), data))
                how = self.run.preprocessing
                image = images.eval_crop(pixels, how["image_size"], how["central_fraction"]).numpy()
            if self.uses_texts:
                sentences = pairs.clean_sentences(item.text)
            return Ready(item.id, image, sentences)
        except (OSError, tf.errors.OpError, TypeError, ValueError) as error:
            place = "" if isinstance(item.image, bytes) else f" (image {os.fspath(item.image)})"
            return BadRecord(item.id, f"{error}{place}")

    def inputs(self, batch: Sequence[Ready]) -> dict[str, tf.Tensor]:
        """The model's inputs for a batch."""
        inputs = {}
        if self.uses_images:
            inputs["image"] = tf.stack([pair.image for pair in batch])
        if self.uses_texts:
            how = self.run.preprocessing
            texts = [list(pair.sentences) for pair in batch]
            inputs |= pipeline.text_inputs(
                tf.ragged.constant(texts, tf.string, ragged_rank=1),
                self._vocabulary,
                **{name: how[name] for name in ("max_sentences", "max_words", "ngrams")},
            )
        return inputs

    def _predict(self, batch: Sequence[Ready | BadRecord]) -> Iterator[Prediction | BadRecord]:
        ready = [pair for pair in batch if isinstance(pair, Ready)]
        found = iter(())
        if ready:
            inputs = self.inputs(ready)
            shares = calibration.softmax(self._logits_of(inputs), self.run.temperature)
            strange = longest = np.zeros(len(ready), int)
            if self.uses_texts:
                limit = self.run.preprocessing["max_sentences"]
                longest = word_ids.longest_sentences([p.sentences[:limit] for p in ready])
            # Unknown words have no meaning of their own but by their n-grams.
            if self.uses_texts and not self.run.preprocessing["ngrams"]:
                strange = (inputs["word_ids"].numpy() <= UNKNOWN).all(axis=(1, 2))
            found = zip(shares, strange, longest, strict=True)
        for pair in batch:
            yield pair if isinstance(pair, BadRecord) else self._prediction(pair, *next(found))

    def _prediction(
        self, pair: Ready, probabilities: np.ndarray, strange: bool, longest: int
    ) -> Prediction:
        best = int(probabilities.argmax())
        label = self.labels[best] if probabilities[best] >= self._abstain_below else ""
        metrics: dict[str, int | str] = {}
        shares: dict[str, np.ndarray] = {}
        target = self.run.settings["target"]
        if self.labels == relations.RELATIONS:
            shares = relations.marginals(probabilities)
            if label:
                values = relations.METRICS_OF_RELATION[label]
                metrics = dict(zip(relations.METRIC_VALUES, values, strict=True))
        elif target in relations.METRIC_VALUES:
            shares = {target: probabilities}
            if label:
                metrics = {target: relations.METRIC_VALUES[target][best]}
        return Prediction(
            id=pair.id,
            label=label,
            probability=float(probabilities[best]),
            probabilities=dict(zip(self.labels, probabilities.tolist(), strict=True)),
            metrics=metrics,
            marginals={
                metric: dict(
                    zip(map(str, relations.METRIC_VALUES[metric]), of_metric.tolist(), strict=True)
                )
                for metric, of_metric in shares.items()
            },
            warnings=tuple(self._warnings(pair.sentences, strange, longest)),
        )

    def _warnings(self, sentences: Sequence[str], strange: bool, longest: int) -> Iterator[str]:
        if not self.uses_texts:
            return
        if strange:
            yield "the model knows no word of the text"
        if doubt := self._language.doubt(sentences):
            yield doubt
        limit = self.run.preprocessing["max_sentences"]
        if len(sentences) > limit:
            yield f"the text has {len(sentences)} sentences: those after the first {limit} were cut"
        limit = self.run.preprocessing["max_words"]
        if longest > limit:
            yield f"a sentence has more than {limit} words: the others were cut"
