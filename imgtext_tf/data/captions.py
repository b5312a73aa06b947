"""Images with their captions, one split.

Texts are small and stay in memory; which image a caption belongs to is said by number, never by
"five captions an image".
"""

from __future__ import annotations

import collections
import dataclasses
import re
import unicodedata
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from nltk.tokenize import NLTKWordTokenizer
from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

from imgtext_tf import untrusted
from imgtext_tf.data.shards import ShardError, ShardReader
from imgtext_tf.data.text import Vocabulary, tokenize

START, END = "<start>", "<end>"
TOKENS = ("words", "nltk")
# NLTK's English model of sentences is a download; of what it learnt, captions hold little more.
_ABBREVIATIONS = frozenset("a.m dr e.g etc i.e jr mr mrs ms no p.m sr st u.k u.s vs".split())
_CHUNK = 65536


class CaptionError(untrusted.ShortError, ValueError):
    """Captions and images that do not fit together."""


@dataclasses.dataclass(frozen=True)
class Captions:
    """The captions of one split.

    Attributes:
        texts: [C] the captions.
        image_of: [C] int32, the place of each caption's image.
        image_ids: [N] the images' names, in the order of the source.
    """

    texts: tuple[str, ...]
    image_of: np.ndarray
    image_ids: tuple[str, ...]

    def __post_init__(self) -> None:
        """Sees that the captions are of these images.

        Raises:
            CaptionError: if not.
        """
        if len(self.texts) != len(self.image_of) or not self.texts:
            raise CaptionError(f"{len(self.texts)} captions of {len(self.image_of)} images")
        if self.image_of.min() < 0 or self.image_of.max() >= len(self.image_ids):
            raise CaptionError(f"a caption is of an image outside of [0, {len(self.image_ids)})")

    @classmethod
    def of_shards(cls, reader: ShardReader, *, per_image: int = 0) -> Captions:
        """The captions of a split of shards of kind "image_captions".

        Args:
            reader: of the split.
            per_image: the first so many captions of an image; 0: all.

        Raises:
            ShardError: if the records are of another kind, or of an older build.
        """
        if reader.record_kind != "image_captions" or reader.texts is None:
            raise ShardError(
                f"{reader.directory}: holds {reader.record_kind!r} records without captions in "
                "their index; build it with tfrecords_tools.build_captions"
            )
        ids = tuple(one.decode("utf-8") for one in reader.index["id"].tolist())
        kept = [texts[: per_image or None] for texts in reader.texts]
        return cls(
            tuple(text for texts in kept for text in texts),
            np.repeat(np.arange(len(kept), dtype=np.int32), [len(texts) for texts in kept]),
            ids,
        )

    @classmethod
    def joined(cls, parts: Sequence[Captions]) -> Captions:
        """Several splits as one, such as train and val; images are numbered on."""
        starts = np.cumsum([0, *(len(part.image_ids) for part in parts)])
        numbers = [part.image_of + start for part, start in zip(parts, starts, strict=False)]
        return cls(
            tuple(text for part in parts for text in part.texts),
            np.concatenate(numbers).astype(np.int32),
            tuple(name for part in parts for name in part.image_ids),
        )

    def first(self, count: int) -> Captions:
        """The first so many captions of each image; 0: all."""
        seen: collections.Counter[int] = collections.Counter()
        kept = []
        for place, image in enumerate(self.image_of.tolist()):
            seen[image] += 1
            if not count or seen[image] <= count:
                kept.append(place)
        return self._at(kept)

    def _at(self, kept: Sequence[int]) -> Captions:
        """The captions at these places; all images stay."""
        texts = tuple(self.texts[place] for place in kept)
        return Captions(texts, self.image_of[kept], self.image_ids)

    def without(self, others: Captions) -> Captions:
        """Those whose text no other caption has, but for case, space and punctuation."""
        held_out = {_plain(text) for text in others.texts}
        kept = [place for place, text in enumerate(self.texts) if _plain(text) not in held_out]
        return self._at(kept)

    def words(self, tokens: str = "words") -> tf.RaggedTensor:
        """The words of the captions, see `words_of`: [C, (W)] string."""
        return words_of(self.texts, tokens)


def _plain(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.findall(r"\w+", folded))


def words_of(texts: Sequence[str], tokens: str = "words") -> tf.RaggedTensor:
    """The words of some texts, in lower case.

    Args:
        texts: [C] strings.
        tokens: "words" (`text.tokenize`, without punctuation) or "nltk" (NLTK's word tokeniser over
            each sentence, as vsepp and SCAN have it, with punctuation).

    Returns:
        [C, (W)] string.

    Raises:
        ValueError: if `tokens` is neither.
    """
    if tokens not in TOKENS:
        raise ValueError(f"unknown tokens {tokens!r}: use one of {', '.join(TOKENS)}")
    if tokens == "nltk":
        return tf.ragged.constant(_nltk_words(texts), tf.string, ragged_rank=1)
    chunks = [
        tokenize(tf.constant(texts[start : start + _CHUNK]))
        for start in range(0, len(texts), _CHUNK)
    ]
    return tf.concat(chunks, axis=0)


def _nltk_words(texts: Sequence[str]) -> list[list[str]]:
    """As `nltk.word_tokenize`: a period is a word of its own at the end of each sentence."""
    parameters = PunktParameters()
    parameters.abbrev_types = set(_ABBREVIATIONS)
    sentences, words = PunktSentenceTokenizer(parameters), NLTKWordTokenizer()
    return [
        [word for one in sentences.tokenize(text.lower()) for word in words.tokenize(one)]
        for text in texts
    ]


def vocabulary_of(captions: Captions, *, min_count: int = 4, tokens: str = "words") -> Vocabulary:
    """The words of (train) captions that occur `min_count` times, behind "<start>" and "<end>"."""
    counts = collections.Counter(captions.words(tokens).flat_values.numpy().tolist())
    named = {word.decode("utf-8"): count for word, count in counts.items()}
    return with_boundaries(Vocabulary.from_counts(named, min_count=min_count))


def with_boundaries(vocabulary: Vocabulary) -> Vocabulary:
    """The vocabulary with "<start>" and "<end>" as its first two words."""
    return Vocabulary((START, END, *vocabulary.words))


@dataclasses.dataclass(frozen=True)
class WordIds:
    """The word ids of captions, ragged: caption c is `flat[splits[c] : splits[c + 1]]`.

    Attributes:
        flat: [all] int32.
        splits: [C + 1] int64.
    """

    flat: np.ndarray
    splits: np.ndarray

    @classmethod
    def of(
        cls,
        captions: Captions | tf.RaggedTensor,
        vocabulary: Vocabulary,
        *,
        max_words: int = 50,
        tokens: str = "words",
    ) -> WordIds:
        """Looks words up, between "<start>" and "<end>" if the vocabulary has these.

        Args:
            captions: the captions, or their words [C, (W)] string.
            vocabulary: gives the ids; a word without one is the unknown word.
            max_words: further words of a caption are cut off.
            tokens: see `words_of`.
        """
        words = captions.words(tokens) if isinstance(captions, Captions) else captions
        ids = vocabulary.ids(words[:, :max_words])
        if vocabulary.words[:2] == (START, END):
            ends = tf.ones([ids.nrows(), 1], tf.int32)
            start, end = vocabulary.id_of(START), vocabulary.id_of(END)
            ids = tf.concat([start * ends, ids, end * ends], axis=1)
        return cls(ids.flat_values.numpy(), ids.row_splits.numpy())

    @property
    def lengths(self) -> np.ndarray:
        """[C] int64, ids of each caption."""
        return np.diff(self.splits)

    def padded(self, rows: np.ndarray) -> np.ndarray:
        """The captions at these places, padded with 0 to their longest: [B, W] int32, W >= 1."""
        lengths = self.lengths[rows]
        places = np.arange(max(1, lengths.max(initial=1)))
        real = places < lengths[:, None]
        padded = np.zeros(real.shape, np.int32)
        padded[real] = self.flat[(self.splits[rows][:, None] + places)[real]]
        return padded
