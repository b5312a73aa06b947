r"""Searches one's own photos by a sentence, or one's own sentences by a photo, with a trained run.

    python -m experiments.search_matching --run_dir=runs/baseline --photos=holiday \
        --sentence="two dogs run through snow" --output=found.png
    python -m experiments.search_matching --run_dir=runs/baseline --photo=dog.jpg \
        --sentences=sentences.txt --output=found.png

Prints the best answers with their scores, and writes a contact sheet (PNG). Embeddings of a photo
folder are kept in `--cache` (one file), and computed again for photos that changed only.

Reference: Liu2019, Section 1.
"""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib

import keras
import numpy as np
import tensorflow as tf
from absl import flags, logging

from experiments import common_flags, settings_flags
from imgtext_tf import embedding_figures, figures, filesystem, runs, untrusted
from imgtext_tf.data import images
from imgtext_tf.data.captions import TOKENS, WordIds, words_of
from imgtext_tf.data.pairs import printable
from imgtext_tf.data.text import Vocabulary
from imgtext_tf.metrics import retrieval

_SUFFIXES = {".jpg", ".jpeg", ".png", ".gif", ".bmp"}
_BATCH = 32

flags.adopt_module_key_flags(common_flags)


@dataclasses.dataclass(frozen=True)
class Settings:
    """One field for each flag; the flags' help says what they mean."""

    run_dir: str
    photos: str = ""
    sentence: str = ""
    sentences: str = ""
    photo: str = ""
    top: int = 10
    output: str = ""
    cache: str = ""


class Searcher:
    """A trained run that takes photo files and sentences."""

    def __init__(self, run_dir: str) -> None:
        """Loads the run.

        Args:
            run_dir: of `train_matching`, trained on pixels or on cached features.

        Raises:
            runs.RunError: if a file is missing.
            ValueError: if the run has no backbone: it was trained on precomputed features.
        """
        run = runs.load(run_dir)
        if run.model.backbone is None:
            raise ValueError(
                f"{run_dir}: was trained on precomputed features, whose backbone is unknown; "
                "only a run on images can search photos"
            )
        self.model = run.model
        self._vocabulary = Vocabulary(run.words)
        self._preprocessing = run.preprocessing
        kinds = {"tokens": str, "max_words": int, "image_size": (int, list)}
        kinds["central_fraction"] = (int, float)
        untrusted.need(self._preprocessing, kinds, f"{run_dir}: preprocessing.json")
        tokens = self._preprocessing["tokens"]
        if tokens not in TOKENS:
            raise runs.RunError(
                f"{run_dir}: preprocessing.json has tokens {tokens!r:.80}, which no run of ours "
                "has: copy it again from where the run was trained"
            )
        self.digest = filesystem.sha256_of(runs.RunDirectory(run_dir).model_file("best"))

    def embed_sentences(self, sentences: list[str]) -> np.ndarray:
        """The embeddings [N, D] of sentences.

        Raises:
            ValueError: if none of them has a word.
        """
        words = words_of(sentences, self._preprocessing["tokens"])
        warn_of_unknown(words, self._vocabulary)
        ids = WordIds.of(words, self._vocabulary, max_words=self._preprocessing["max_words"])
        rows = np.arange(len(sentences))
        return np.concatenate(
            [
                self.model.predict_texts({"caption_ids": ids.padded(rows[start : start + 128])})
                for start in range(0, len(rows), 128)
            ]
        )

    def embed_photos(self, paths: list[pathlib.Path]) -> np.ndarray:
        """The embeddings [N, D] of photo files.

        Raises:
            images.ImageError: naming the file that cannot be decoded.
        """
        size, fraction = (self._preprocessing[k] for k in ("image_size", "central_fraction"))
        found = []
        for start in range(0, len(paths), _BATCH):
            batch = [
                images.eval_crop(tf.constant(_decoded(path)), size, fraction)
                for path in paths[start : start + _BATCH]
            ]
            found.append(self.model.predict_images({"image": np.stack(batch)}))
        return np.concatenate(found)


def warn_of_unknown(words: tf.RaggedTensor, vocabulary: Vocabulary) -> None:
    """Warns of words [N, (W)] that a run has never seen: to it they are all one.

    Raises:
        ValueError: if there is no word at all: such sentences are all one, too.
    """
    found = [[word.decode("utf-8") for word in one] for one in words.to_list()]
    if not any(found):
        raise ValueError("there is no word to search for: give --sentence or --sentences words, "
                         "not only punctuation")  # fmt: skip
    asked, known = set().union(*found), set(vocabulary.words)
    if empty := sum(known.isdisjoint(one) for one in found):
        logging.warning("%d of %d sentences have no word that this run knows: their scores say "
                        "nothing", empty, len(found))  # fmt: skip
    if strange := sorted(asked - known):
        shown = ", ".join(printable(word) for word in strange[:10])
        logging.warning("%d words are unknown to this run, all alike to it: %s%s", len(strange),
                        shown, ", ..." * (len(strange) > 10))  # fmt: skip


def run(settings: Settings) -> list[tuple[str, float]]:
    """Searches, and writes the contact sheet.

    Returns:
        (photo or sentence, score), the best first.

    Raises:
        ValueError: if neither or both kinds of search are asked for, or there is nothing to search.
    """
    filesystem.must_be_local(settings.output, "figures are drawn here")
    by_sentence = bool(settings.sentence and settings.photos)
    if by_sentence == bool(settings.photo and settings.sentences):
        raise ValueError("give --sentence and --photos, or --photo and --sentences")
    searcher = Searcher(settings.run_dir)
    if by_sentence:
        filesystem.must_be_local(settings.photos, "photos are compared file by file; copy them")
        paths = sorted(
            path for path in pathlib.Path(settings.photos).rglob("*")
            if path.suffix.lower() in _SUFFIXES and path.is_file()
        )  # fmt: skip
        if not paths:
            raise ValueError(f"--photos={settings.photos}: has no photo ({', '.join(_SUFFIXES)})")
        paths, photos = _cached(searcher, paths, settings.cache)
        captions = searcher.embed_sentences([settings.sentence])
        scores = retrieval.similarity(photos, captions, measure=searcher.model.measure)[:, 0]
        names, title = [str(path) for path in paths], settings.sentence
    else:
        try:
            text = untrusted.read_bytes(settings.sentences).decode("utf-8-sig")
        except ValueError as error:
            raise ValueError(f"--sentences={settings.sentences}: {error}") from error
        names = [line.strip() for line in text.splitlines() if line.strip()]
        if not names:
            raise ValueError(f"--sentences={settings.sentences}: has no sentence")
        photo = searcher.embed_photos([pathlib.Path(settings.photo)])
        captions = searcher.embed_sentences(names)
        scores = retrieval.similarity(photo, captions, measure=searcher.model.measure)[0]
        title = settings.photo
    best = np.argsort(-scores, kind="stable")[: settings.top]
    found = [(names[place], float(scores[place])) for place in best]
    if settings.output:
        _draw(settings, found, title, by_sentence)
    return found


def _draw(settings: Settings, found: list, title: str, by_sentence: bool) -> None:
    def picture(path: str) -> np.ndarray:
        return figures.thinned(_decoded(pathlib.Path(path)))

    if by_sentence:
        labels = [f"{score:.3f} {printable(pathlib.Path(name).name)}" for name, score in found]
        figure = embedding_figures.contact_sheet(
            [picture(name) for name, _ in found], labels, title=title
        )
    else:
        answers = [f"{score:.3f}  {name}" for name, score in found]
        figure = embedding_figures.answer_sheet(picture(title), answers, title=printable(title))
    figures.save(figure, pathlib.Path(settings.output))
    logging.info("contact sheet in %s", settings.output)


def _decoded(path: pathlib.Path) -> np.ndarray:
    data = images.read_file(path)
    try:
        return images.upright(images.checked_pixels(data), data)
    except images.ImageError as error:
        raise images.ImageError(f"{path}: {error}") from error


def _readable(path: pathlib.Path) -> bool:
    """Whether a photo can be decoded; a folder of many may well have one that cannot."""
    try:
        _decoded(path)
    except images.ImageError as error:
        logging.warning("left out: %s", error)
        return False
    return True


def _is_cache(data: dict[str, np.ndarray]) -> bool:
    if not {"model", "keys", "embeddings"} <= set(data):
        return False
    keys, embeddings = data["keys"], data["embeddings"]
    shaped = keys.ndim == 1 and embeddings.ndim == 2 and len(keys) == len(embeddings)
    return shaped and embeddings.dtype == np.float32 and bool(np.isfinite(embeddings).all())


def _cached(
    searcher: Searcher, paths: list[pathlib.Path], cache: str
) -> tuple[list[pathlib.Path], np.ndarray]:
    """The photos that can be read and their embeddings, unchanged ones' from the cache file.

    Raises:
        ValueError: if no photo can be read.
    """
    keys = [hashlib.sha256(images.read_file(path)).hexdigest() for path in paths]
    known: dict[str, np.ndarray] = {}
    if cache and pathlib.Path(cache).exists():
        data = untrusted.load_npz(cache)
        if not _is_cache(data):
            raise ValueError(f"--cache={cache}: is no cache of this script; delete it")
        if str(data["model"]) == searcher.digest:
            known = dict(zip(data["keys"].tolist(), data["embeddings"], strict=True))
    first = {key: place for place, key in reversed(list(enumerate(keys)))}
    new = [place for key, place in first.items() if key not in known and _readable(paths[place])]
    if new:
        found = searcher.embed_photos([paths[place] for place in new])
        known |= {keys[place]: value for place, value in zip(new, found, strict=True)}
        logging.info("%d of %d photos were new", len(new), len(paths))
        if cache:
            with runs.atomic_path(cache) as temporary, open(temporary, "wb") as file:
                np.savez(
                    file,
                    model=np.array(searcher.digest),
                    keys=np.array(list(known)),
                    embeddings=np.stack(list(known.values())),
                )
    read = [place for place, key in enumerate(keys) if key in known]
    if not read:
        raise ValueError("--photos: none of the photos can be read")
    return [paths[place] for place in read], np.stack([known[keys[place]] for place in read])


def define_flags() -> None:
    """Defines the script's own flags, when it is started: other scripts have some of the names."""
    flags.DEFINE_string("photos", "", "Folder of photos to search, with its sub-folders.")
    flags.DEFINE_string("sentence", "", "The sentence to search for in --photos.")
    flags.DEFINE_string("sentences", "", "Text file of sentences to search, one a line.")
    flags.DEFINE_string("photo", "", "The photo to search for in --sentences.")
    flags.DEFINE_integer("top", 10, "Answers to show.", lower_bound=1)
    flags.DEFINE_string("cache", "", "File (.npz) of the photos' embeddings; empty: none.")


def main(argv: list[str]) -> None:
    """Fills the settings from the flags, searches and prints."""
    common_flags.reject_positional(argv)
    for name, score in run(settings_flags.read(Settings)):
        print(f"{score:.4f}\t{printable(name)}")


if __name__ == "__main__":
    define_flags()
    keras.utils.disable_interactive_logging()
    flags.mark_flags_as_required(["run_dir"])
    common_flags.run_main(main)
