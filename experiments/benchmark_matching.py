r"""Measures training steps of the matching baseline, variants in turn, in one run.

    python -m experiments.benchmark_matching --data_dir=flickr8k_captions --output=speed.md

The model is VSE++'s on random features of 1280 numbers, the captions are those of the train split.
Variants: Keras' GRU on batches padded to their longest caption; the same with captions of like
lengths; our GRU; our GRU computing in bfloat16; and, where PyTorch is installed, its GRU on packed
sequences. Every variant takes the same number of steps in a round, so that a slow moment of the
machine meets all of them.
"""

from __future__ import annotations

import dataclasses
import pathlib
import time
from collections.abc import Callable, Iterator

import keras
import numpy as np
from absl import flags, logging

from experiments import common_flags
from imgtext_tf import branches, runs, training
from imgtext_tf.data import caption_batches, captions, shards
from imgtext_tf.data.caption_batches import Features
from imgtext_tf.data.captions import Captions, WordIds
from imgtext_tf.models.sentence_matching import SentenceMatching
from imgtext_tf.stages import Stage

FEATURES = 1280

flags.adopt_module_key_flags(common_flags)


@dataclasses.dataclass(frozen=True)
class Settings:
    """One field for each flag; the flags' help says what they mean."""

    data_dir: str
    output: str = ""
    batch_size: int = 128
    rounds: int = 5
    steps: int = 5
    units: int = 1024


def run(settings: Settings) -> str:
    """Measures and returns a table in Markdown, which is written where `output` says."""
    split = Captions.of_shards(shards.ShardReader(settings.data_dir, "train"), per_image=5)
    vocabulary = captions.vocabulary_of(split)
    word_ids = WordIds.of(split, vocabulary)
    count = len(vocabulary)
    ours = _step(settings, lambda: _model(settings, count))
    variants = {
        "Keras GRU": (_step(settings, lambda: _model(settings, count, keras_gru=True)), False),
        "Keras GRU, by length": (
            _step(settings, lambda: _model(settings, count, keras_gru=True)),
            True,
        ),
        "MaskedGRU, by length": (ours, True),
        "MaskedGRU, by length, bfloat16": (
            _step(settings, lambda: _model(settings, count), mixed=True),
            True,
        ),
    }
    if (torch_step := _torch_step(settings, count)) is not None:
        variants["PyTorch GRU, packed"] = (torch_step, False)
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    streams = {
        name: _batches(settings, split, word_ids, by_length)
        for name, (_, by_length) in variants.items()
    }
    # The first round builds graphs and is no measure of speed.
    for number in range(settings.rounds + 1):
        for name, (step, _) in variants.items():
            batches = [next(streams[name]) for _ in range(settings.steps)]
            start = time.perf_counter()
            for batch in batches:
                step(batch)
            if number:
                seconds[name].append((time.perf_counter() - start) / settings.steps)
            logging.info("round %d: %s", number, name)
    page = table(seconds)
    if settings.output:
        with runs.atomic_path(settings.output) as temporary:
            pathlib.Path(temporary).write_text(page, encoding="utf-8")
    return page


def table(seconds: dict[str, list[float]]) -> str:
    """Median, range and ratio to the first variant, round by round."""
    first = np.array(next(iter(seconds.values())))
    lines = ["| training step | median, ms | range, ms | times as fast as the first |",
             "|---|---|---|---|"]  # fmt: skip
    for name, values in seconds.items():
        low, middle, high = 1000 * np.quantile(values, [0, 0.5, 1])
        ratio = np.median(first / np.array(values))
        lines.append(f"| {name} | {middle:.0f} | {low:.0f} to {high:.0f} | {ratio:.2f} |")
    return "\n".join(lines) + "\n"


def _batches(
    settings: Settings, split: Captions, word_ids: WordIds, by_length: bool
) -> Iterator[dict[str, np.ndarray]]:
    features = np.random.default_rng(0).random((len(split.image_ids), FEATURES), np.float32)
    steps = (settings.rounds + 1) * settings.steps
    dataset = caption_batches.training_batches(
        split,
        word_ids,
        Features((FEATURES,), lambda places: features[places]),
        batch_size=settings.batch_size,
        seed=0,
        start_step=0,
        num_steps=steps,
        by_length=by_length,
    )
    return dataset.as_numpy_iterator()


def _model(settings: Settings, count: int, *, keras_gru: bool = False) -> SentenceMatching:
    units = settings.units
    images = branches.image_branch((FEATURES,), embed_dim=units)
    texts = branches.text_branch(count, embed_dim=units)
    if keras_gru:
        ids = keras.Input((None,), dtype="int32", name="caption_ids")
        words = texts.get_layer("embedding")(ids)
        state = keras.layers.GRU(units)(words, mask=keras.ops.not_equal(ids, 0))
        texts = keras.Model({"caption_ids": ids}, texts.get_layer("unit")(state))
    return SentenceMatching(images, texts, branches.modality_classifier(units))


def _step(settings: Settings, build: Callable[[], SentenceMatching], *, mixed: bool = False):
    training.set_precision(mixed)
    training.set_seed(0)
    model = build()
    model.begin_stage(Stage("S1", steps=1000))
    training.set_precision(False)
    return lambda batch: model.train_on_batch(batch, return_dict=True)


def _torch_step(settings: Settings, count: int):
    """A training step of the same model in PyTorch; None where it is not installed."""
    try:
        import torch
    except ImportError:
        logging.info("PyTorch is not installed: left out")
        return None
    functional = torch.nn.functional
    embed = torch.nn.Embedding(count, 300)
    gru = torch.nn.GRU(300, settings.units, batch_first=True)
    linear = torch.nn.Linear(FEATURES, settings.units)
    weights = [*embed.parameters(), *gru.parameters(), *linear.parameters()]
    optimizer = torch.optim.Adam(weights, 2e-4)

    def step(batch):
        ids = torch.from_numpy(batch["caption_ids"]).long()
        lengths, order = (ids != 0).sum(1).sort(descending=True)
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            embed(ids[order]), lengths, batch_first=True
        )
        texts = functional.normalize(gru(packed)[1][0])
        features = torch.from_numpy(batch["image_features"])[order]
        images = functional.normalize(linear(functional.normalize(features)))
        scores = images @ texts.T
        own = scores.diag()
        off = ~torch.eye(len(scores), dtype=torch.bool)
        of_images = ((0.2 + scores - own[:, None]).clamp(min=0) * off).max(1).values
        of_texts = ((0.2 + scores - own[None, :]).clamp(min=0) * off).max(0).values
        optimizer.zero_grad()
        (of_images.sum() + of_texts.sum()).backward()
        torch.nn.utils.clip_grad_norm_(weights, 2.0)
        optimizer.step()

    return step


def define_flags() -> None:
    """Defines the script's own flags, when it is started: other scripts have some of the names."""
    flags.DEFINE_integer("rounds", 5, "How often each variant is measured.", lower_bound=2)
    flags.DEFINE_integer("steps", 5, "Training steps of one measurement.", lower_bound=1)


def main(argv: list[str]) -> None:
    """Fills the settings from the flags, measures and prints the table."""
    common_flags.reject_positional(argv)
    values = {name: flags.FLAGS[name].value for name in ("data_dir", "output", "rounds", "steps")}
    if flags.FLAGS["batch_size"].present:
        values["batch_size"] = flags.FLAGS.batch_size
    print(run(Settings(**values)))


if __name__ == "__main__":
    define_flags()
    flags.mark_flags_as_required(["data_dir"])
    common_flags.run_main(main)
