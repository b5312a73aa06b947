r"""Makes a run directory of a vsepp checkpoint, for evaluation.

    python -m experiments.import_vsepp --checkpoint=model_best.pth.tar \
        --scan_vocabulary=f30k_precomp_vocab.json --run_dir=runs/vsepp
    python -m experiments.evaluate_matching --run_dirs=runs/vsepp --precomputed=f30k_precomp

Needs PyTorch to read the checkpoint. The text encoder and the image encoder's linear layer are
taken; a CNN in the checkpoint is not: its run evaluates precomputed features. vsepp's vocabulary is
a pickle, which can run code; give SCAN's JSON of the same words.

Reference: Liu2019, Section 4 (Faghri et al. 2018).
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping

import numpy as np
from absl import flags, logging

from experiments import common_flags
from experiments.matching_flags import Settings as Trained
from imgtext_tf import branches, runs, vsepp
from imgtext_tf.data.precomputed import read_scan_vocabulary
from imgtext_tf.models import sentence_matching

_MAX_WORDS = 1000  # vsepp cuts no caption

flags.adopt_module_key_flags(common_flags)


def read_checkpoint(path: str) -> tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray], dict]:
    """The states of image and text encoder, and the options of their training.

    Raises:
        ImportError: if PyTorch is missing.
        vsepp.CheckpointError: if it is no checkpoint of vsepp.
    """
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            "reading a checkpoint of vsepp needs PyTorch: pip install torch"
        ) from error
    # The options are an argparse.Namespace; nothing else is let in.
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:  # PyTorch and pickle raise whatever they trip over
        raise vsepp.CheckpointError(
            f"{path}: is no checkpoint, or holds more than weights and options: {error!s:.300}"
        ) from error
    states, options = vsepp.parts(content, path)
    return *({name: value.numpy() for name, value in one.items()} for one in states), options


def run(checkpoint: str, scan_vocabulary: str, run_dir: str) -> sentence_matching.SentenceMatching:
    """Writes the run directory.

    Raises:
        vsepp.CheckpointError: if checkpoint and vocabulary do not fit together.
    """
    image_state, text_state, options = read_checkpoint(checkpoint)
    sizes = vsepp.sizes(image_state, text_state)
    vocabulary = read_scan_vocabulary(scan_vocabulary)
    if len(vocabulary) != sizes["vocabulary_size"]:
        raise vsepp.CheckpointError(
            f"{scan_vocabulary} has {len(vocabulary)} words and {checkpoint} "
            f"{sizes['vocabulary_size']}: use the vocabulary it was trained with"
        )
    measure, absolute = options.get("measure", "cosine"), bool(options.get("use_abs", False))
    unit = not options.get("no_imgnorm", False)
    if measure not in ("cosine", "order"):
        raise vsepp.CheckpointError(f"{checkpoint}: was trained with measure {measure!r:.80}")
    own_cnn = any(name.removeprefix("module.").startswith("cnn.") for name in image_state)
    settings = Trained(
        run_dir=run_dir,
        scan_vocabulary=scan_vocabulary,
        tokens="nltk",
        max_words=_MAX_WORDS,
        measure=measure,
        absolute=absolute,
        unit_images=unit,
        normalize_features=own_cnn,
        **{name: sizes[name] for name in ("embed_dim", "word_dim", "gru_layers", "bidirectional")},
    )
    common = {"embed_dim": sizes["embed_dim"], "absolute": absolute}
    images = branches.image_branch(
        (sizes["feature_dim"],), normalize_input=own_cnn, unit=unit, **common
    )
    texts = branches.text_branch(
        sizes["vocabulary_size"],
        word_dim=sizes["word_dim"],
        gru_layers=sizes["gru_layers"],
        bidirectional=sizes["bidirectional"],
        **common,
    )
    try:
        vsepp.assign(images, texts, image_state, text_state)
    except ValueError as error:
        raise vsepp.CheckpointError(f"{checkpoint}: {error}") from error
    classifier = branches.modality_classifier(sizes["embed_dim"])
    model = sentence_matching.SentenceMatching(images, texts, classifier, measure=measure)
    directory = runs.RunDirectory(run_dir)
    directory.begin(
        dataclasses.asdict(settings),
        script="experiments.train_matching",
        module=sentence_matching.__name__,
    )
    directory.describe_model(
        labels=("text", "image"),
        vocabulary=vocabulary.words,
        preprocessing={"max_words": settings.max_words, "tokens": "nltk", "features": "given"},
    )
    directory.save_model(model, "best")
    logging.info("%s: %s", run_dir, sizes)
    return model


def main(argv: list[str]) -> None:
    """Fills the settings from the flags and imports."""
    common_flags.reject_positional(argv)
    run(flags.FLAGS.checkpoint, flags.FLAGS.scan_vocabulary, flags.FLAGS.run_dir)


if __name__ == "__main__":
    flags.DEFINE_string("checkpoint", None, "File of vsepp, such as model_best.pth.tar.")
    flags.DEFINE_string("scan_vocabulary", None, "SCAN's {name}_precomp_vocab.json.")
    flags.mark_flags_as_required(["checkpoint", "scan_vocabulary", "run_dir"])
    common_flags.run_main(main)
