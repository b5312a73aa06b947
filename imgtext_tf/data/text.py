"""Text to words to ids: sentence splitting, tokenisation, vocabulary and padding.

Sentences are split once, in Python, when a data set is built (and by exports on the user's text);
the records hold the list. Everything after that runs in the TensorFlow graph on string tensors:
`tokenize`, `Vocabulary.ids`, `pad_text`.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Mapping

import tensorflow as tf
import tensorflow_text as tf_text

from imgtext_tf import filesystem
from imgtext_tf.data.files import write_file

PAD = 0
UNKNOWN = 1
_FIRST_WORD = 2

# Never end a sentence: a name, a number or an explanation follows.
_JOINING = frozenset(
    "adm approx brig ca capt cf cmdr col cpl dr eg e.g fr gen gov hon ie i.e lt maj messrs mlle "
    "mme mr mrs ms mt mx pfc pres prof pvt rep rev sen sgt st supt v viz vs".split()
)
# Do not end a sentence before a number: "No. 5", "Fig. 3", "Jan. 1".
_NUMBERED = frozenset(
    "apr art aug ch chap dec eq eqn feb fig figs jan jul jun mar no nos nov oct p pp pt sec sep "
    "sept tab vol".split()
)
# End a sentence only where the next word has a capital.
_OPEN_ENDED = frozenset(
    "a.d a.m ad al ave b.c blvd bros co corp cm dept dist ed est etc ft inc jr kg km lb lbs ltd "
    "m.a m.d mi mm ph.d p.m resp sp spp sq sr syn univ var".split()
)
# After initials ("U.S.", "J."), only these capitalised words begin a new sentence.
_STARTERS = frozenset(
    "a after all an and as at but by each for from he her here his how i if in it its many most my "
    "on one our she so some that the their then there these they this those to we what when where "
    "while who why you your".split()
)

_LINE_BREAKS = re.compile(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+|(?<=[。！？])")
_TOKEN = re.compile(r"\S+")
_ENDING = re.compile(r"([.!?;…。！？]+)([\"'”’»)\]}]*)\Z")
_ENTITY = re.compile(r"&#?\w+;\Z")
_INITIALS = re.compile(r"(?:[^\W\d_]\.)*[^\W\d_]\Z")
_OPENING = "\"'“‘«([{¿¡"


def as_text(text: str | bytes) -> str:
    """Decodes UTF-8 strictly, so that damaged text is named where it is read.

    Raises:
        ValueError: if bytes are no UTF-8, or a str holds what no UTF-8 can (lone surrogates, the
            trace of a lenient decoder).
    """
    try:
        if isinstance(text, bytes):
            return text.decode("utf-8")
        text.encode("utf-8")
        return text
    except UnicodeError as error:
        raise ValueError(
            f"text is not UTF-8: {error}; convert the source to UTF-8 (text starts {text[:40]!r})"
        ) from error


def split_sentences(text: str | bytes) -> list[str]:
    r"""Splits a text after ``. ! ? ;`` and at line breaks, in time linear in its length.

    Abbreviations ("Dr. Ray", "e.g. dogs"), initials ("J. F. Kennedy"), decimals ("3.5"), list
    numbers ("1. Open"), trailing-off dots ("so ... he left") and quoted exclamations ('"Stop!" he
    said') do not split. Pieces without a letter or digit are dropped, so an empty text gives `[]`.

    Returns:
        The sentences in order, stripped, with their punctuation.

    Raises:
        ValueError: if the text is not UTF-8.
    """
    sentences = []
    for line in _LINE_BREAKS.split(as_text(text)):
        tokens = list(_TOKEN.finditer(line))
        start = 0
        first = True
        for token, following in itertools.zip_longest(tokens, tokens[1:]):
            next_word = following.group() if following else ""
            if following is None or _ends_sentence(token.group(), next_word, first=first):
                sentences.append(line[start : token.end()].strip())
                start = token.end()
                first = True
            else:
                first = False
    return [sentence for sentence in sentences if any(c.isalnum() for c in sentence)]


def _ends_sentence(token: str, next_token: str, *, first: bool) -> bool:
    """Whether a sentence ends after `token`; `first`: the token is the sentence's first one."""
    ending = _ENDING.search(token)
    if not ending or _ENTITY.search(token):
        return False
    marks, closing = ending.groups()
    next_word = next_token.lstrip(_OPENING)
    next_is_capital = next_word[:1].isupper()
    if not any(c.isalnum() for c in next_token) and _ENDING.fullmatch(next_token):
        return False  # '? !' or '. "': the next token still belongs to this sentence.
    if set(marks) & set("!?;。！？"):
        return next_is_capital or not closing or next_word[:1].isdigit()
    if marks != ".":  # dots that trail off
        return next_is_capital
    word = token[: ending.start()].lstrip(_OPENING)
    lower = word.lower()
    if lower in _JOINING:
        return False
    if lower in _NUMBERED and next_word[:1].isdigit():
        return False
    if first and word.isdigit():  # "1. Open the door."
        return False
    if lower in _OPEN_ENDED:
        return next_is_capital
    if _INITIALS.match(word) and word != "I" and (len(word) > 1 or word.isupper()):
        return next_is_capital and next_word.lower() in _STARTERS
    return next_is_capital or not closing or not next_word[:1].islower()


def tokenize(sentences: tf.Tensor | tf.RaggedTensor, *, lower: bool = True) -> tf.RaggedTensor:
    """Splits strings into words in the graph.

    NFKC, lower case, then words are runs of letters, marks and digits with inner apostrophes
    ("don't"); any other character separates, so "red-haired" gives two words.

    Args:
        sentences: [...] string, valid UTF-8, a tensor or RaggedTensor of any rank.
        lower: whether to write words in lower case.

    Returns:
        [..., (W)] string, with one more, ragged dimension.
    """
    if isinstance(sentences, tf.RaggedTensor):
        return sentences.with_flat_values(tokenize(sentences.flat_values, lower=lower))
    sentences = tf.convert_to_tensor(sentences, dtype=tf.string)
    if sentences.shape.rank is None:
        raise ValueError("tokenize needs strings of a known rank")
    if sentences.shape.rank == 0:
        return tokenize(sentences[tf.newaxis], lower=lower)[0]
    if sentences.shape.rank > 1:
        ragged = tf.RaggedTensor.from_tensor(sentences, ragged_rank=sentences.shape.rank - 1)
        return tokenize(ragged, lower=lower)
    text = tf_text.normalize_utf8(sentences, "NFKC")
    if lower:
        text = tf.strings.lower(text, encoding="utf-8")
    text = tf.strings.regex_replace(text, "[’ʼ]", "'")
    # RE2 has no look-around, so what is no inner apostrophe is blanked step by step.
    text = tf.strings.regex_replace(text, r"[^\p{L}\p{M}\p{N}']+|''+", " ")
    text = tf.strings.regex_replace(text, r"(^|\s)'+", " ")
    text = tf.strings.regex_replace(text, r"'+(\s|$)", " ")
    return tf_text.WhitespaceTokenizer().tokenize(text)


class Vocabulary:
    """The words of the train split and their ids: 0 is padding, 1 any unknown word, 2.. the words.

    Attributes:
        words: the words, without the two special entries; `words[i]` has the id `i + 2`.
    """

    def __init__(self, words: Iterable[str]) -> None:
        """Numbers the words in their order.

        Args:
            words: distinct words without white space.

        Raises:
            ValueError: if a word is empty, holds white space, or comes twice.
        """
        self.words: tuple[str, ...] = tuple(words)
        self._ids = {word: index + _FIRST_WORD for index, word in enumerate(self.words)}
        self._table: tf.lookup.StaticHashTable | None = None
        if len(self._ids) != len(self.words):
            seen: set[str] = set()
            twice = next(word for word in self.words if word in seen or seen.add(word))
            raise ValueError(f"the word {twice!r} comes twice in the vocabulary; drop one")
        for word in self.words:
            if word.split() != [word]:
                raise ValueError(f"{word!r} is no word: it is empty or holds white space")

    def __len__(self) -> int:
        """The number of ids, with padding and unknown."""
        return len(self.words) + _FIRST_WORD

    @classmethod
    def from_counts(
        cls,
        counts: str | os.PathLike | Mapping[str, int],
        *,
        min_count: int = 1,
        max_size: int | None = None,
    ) -> Vocabulary:
        """Takes the frequent words, by falling count, then by word.

        Args:
            counts: word -> count, or the path of a `word<TAB>count` file (`words-train.tsv`).
            min_count: rarer words are left out.
            max_size: at most so many words (without padding and unknown); None: all.

        Raises:
            FileNotFoundError: if the file is missing.
            ValueError: if a line of the file is not `word<TAB>count`.
        """
        if not isinstance(counts, Mapping):
            counts = _read_counts(counts)
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        return cls([word for word in ranked if counts[word] >= min_count][:max_size])

    def extended(self, words: Iterable[str]) -> Vocabulary:
        """A vocabulary with the same ids, and the new ones of `words` (once each) behind them."""
        return Vocabulary(dict.fromkeys((*self.words, *words)))

    def save(self, path: str | os.PathLike) -> None:
        """Writes one word a line in UTF-8, atomically."""
        write_file(os.fspath(path), "".join(f"{word}\n" for word in self.words).encode("utf-8"))

    @classmethod
    def load(cls, path: str | os.PathLike) -> Vocabulary:
        """Reads a file of `save`.

        Raises:
            FileNotFoundError: if the file is missing.
            ValueError: if it is no UTF-8 or a line is no single word or comes twice.
        """
        try:
            # Not splitlines(): only "\n" ends a word here.
            return cls(filesystem.read_bytes(path).decode("utf-8").split("\n")[:-1])
        except ValueError as error:
            raise ValueError(f"{path} is no vocabulary file: {error}") from error

    def id_of(self, word: str) -> int:
        """The id of a word; `UNKNOWN` if it has none."""
        return self._ids.get(word, UNKNOWN)

    def ids(self, words: tf.RaggedTensor | tf.Tensor) -> tf.RaggedTensor | tf.Tensor:
        """Looks words up in the graph.

        Args:
            words: [...] string, a tensor or RaggedTensor of any rank.

        Returns:
            [...] int32 of the same shape; words without an id are `UNKNOWN`.
        """
        return tf.ragged.map_flat_values(self.lookup_table().lookup, words)

    def lookup_table(self) -> tf.lookup.StaticHashTable:
        """The table behind `ids`, which an exported model must own."""
        if self._table is None:
            # Outside of any graph under construction, so that all graphs share one table.
            with tf.init_scope():
                keys = tf.constant(self.words, tf.string, shape=[len(self.words)])
                values = tf.range(_FIRST_WORD, len(self), dtype=tf.int32)
                initializer = tf.lookup.KeyValueTensorInitializer(keys, values)
                self._table = tf.lookup.StaticHashTable(initializer, default_value=UNKNOWN)
        return self._table


def _read_counts(path: str | os.PathLike) -> dict[str, int]:
    counts = {}
    for number, line in enumerate(filesystem.read_text(path).split("\n")[:-1], start=1):
        word, tab, count = line.partition("\t")
        if not tab or not count.isdigit():
            raise ValueError(f"{path}, line {number}: expected word<TAB>count, found {line!r}")
        counts[word] = int(count)
    return counts


def pad_text(
    word_ids: tf.RaggedTensor, *, max_sentences: int = 30, max_words: int = 50, fixed: bool = False
) -> tf.Tensor:
    """Cuts texts to the limits and pads them with 0 to the longest of the batch.

    Args:
        word_ids: [B, (S), (W)] int32.
        max_sentences: further sentences of a text are cut off.
        max_words: further words of a sentence are cut off.
        fixed: pad to the limits instead (for compilers that want one shape).

    Returns:
        [B, S, W] int32, S and W at least 1.

    Reference: Otto2020, Section 5.
    """
    if fixed:
        return word_ids.to_tensor(PAD, shape=[None, max_sentences, max_words])
    dense = word_ids[:, :max_sentences, :max_words].to_tensor(PAD)
    missing = tf.maximum(1 - tf.shape(dense), 0)
    return tf.pad(dense, [[0, 0], [0, missing[1]], [0, missing[2]]], constant_values=PAD)
