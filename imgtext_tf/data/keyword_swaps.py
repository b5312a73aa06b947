"""Keyword swaps: texts that contradict their picture.

The negative classes (Contrasting, Bad Illustration, Bad Anchorage) are made from the positive ones
by swapping keywords for their opposites: "tall man standing in front of a green car" becomes "small
woman standing behind a red car".

Reference: Otto2020, Section 4.1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from imgtext_tf.data.antonyms import PRONOUN, Antonym, AntonymList

_WORD = re.compile(r"\w+")
_ARTICLE = re.compile(r"(?<!\w)(an?)(\s+)\Z", re.IGNORECASE)
# Spelled with a vowel but spoken with a consonant, and the other way round.
_TAKES_A = re.compile(r"(?:eu|ewe|on(?:e|ce)(?![a-z])|u(?:ni(?!n)|s[aeu]|k|rine|tens|tili|tah))")
_TAKES_AN = re.compile(r"(?:[aeiou]|heir|hon(?:est|or|our)|hour)")

# (sentence, start, old, new): `new` replaces `old` at the character `start` of the old sentence.
Swap = tuple[int, int, str, str]


def swap(
    sentences: Sequence[str],
    antonyms: AntonymList,
    rng: np.random.Generator,
    *,
    mend_articles: bool = True,
) -> tuple[list[str], list[Swap]]:
    """Swaps all keywords of a text for opposites, all at once.

    The longest keyword wins at each place, keywords are whole words, capitals are kept, and what
    was put in is not swapped again. A keyword that comes twice gets the same opposite twice, and
    two keywords get two different opposites where they can.

    Args:
        sentences: the sentences of one text.
        antonyms: the keywords.
        rng: chooses among several opposites, each equally likely.
        mend_articles: write "a" or "an" as the new word wants it; the article then belongs to the
            recorded swap ("an old" -> "a young").

    Returns:
        The new sentences, and the swaps (sentence, start, old, new) by rising place: `new` replaces
        `old` at the character `start` of the *old* sentence. A text without keyword comes back
        unchanged with no swaps, and gives no negative; so does a sentence that the swap would only
        reorder ("a man and a woman"), and a text whose only keywords are pronouns.

    Reference: Otto2020, Section 4.1.
    """
    hits = [antonyms.find(sentence) for sentence in sentences]
    chosen: dict[str, str] = {}
    new_sentences = []
    swaps: list[Swap] = []
    kinds = set()
    if any(entry.kind != PRONOUN for found in hits for _, _, entry in found):
        for entry in (entry for found in hits for _, _, entry in found):
            if entry.keyword not in chosen:
                chosen[entry.keyword] = _choose(entry.opposites, set(chosen.values()), rng)
    for index, (sentence, found) in enumerate(zip(sentences, hits, strict=True)):
        new_sentence = sentence
        replaced = _replacements(sentence, found if chosen else [], chosen, mend_articles)
        for start, old, new in reversed(replaced):
            new_sentence = new_sentence[:start] + new + new_sentence[start + len(old) :]
        if _sorted_words(new_sentence) == _sorted_words(sentence):
            new_sentence, replaced = sentence, []
        new_sentences.append(new_sentence)
        swaps += [(index, *replacement) for replacement in replaced]
        kinds |= {entry.kind for _, _, entry in found if replaced}
    if kinds <= {PRONOUN}:  # what was left after the sentences that would only be reordered
        return list(sentences), []
    return new_sentences, swaps


def _replacements(
    sentence: str,
    hits: Sequence[tuple[int, str, Antonym]],
    chosen: Mapping[str, str],
    mend_articles: bool,
) -> list[tuple[int, str, str]]:
    """(start, old, new) of each hit, with the article before it where that changes."""
    replacements = []
    for start, old, entry in hits:
        new = _written_like(old, chosen[entry.keyword])
        article = _ARTICLE.search(sentence, 0, start) if mend_articles else None
        if article and _article_for(new) != article.group(1).lower():
            mended = _written_like(article.group(1), _article_for(new))
            old = article.group() + old
            new = mended + article.group(2) + new
            start = article.start()
        replacements.append((start, old, new))
    return replacements


def _sorted_words(sentence: str) -> list[str]:
    return sorted(_WORD.findall(sentence.lower()))


def _choose(opposites: Sequence[str], taken: set[str], rng: np.random.Generator) -> str:
    # "red and blue" shall not become "black and black".
    free = [opposite for opposite in opposites if opposite not in taken] or opposites
    return free[int(rng.integers(len(free)))]


def _article_for(word: str) -> str:
    word = word.lower()
    return "an" if _TAKES_AN.match(word) and not _TAKES_A.match(word) else "a"


def _written_like(old: str, new: str) -> str:
    """Gives `new` the capitals and hyphens of `old`."""
    if "-" in old and " " not in old:
        new = new.replace(" ", "-")
    if old.isupper() and len(old) > 1:
        return new.upper()
    words = re.findall(r"[^\W\d_]+", old)
    if len(words) > 1 and all(word[0].isupper() for word in words):
        return re.sub(r"(?<![\w'])[^\W\d_]", lambda match: match.group().upper(), new)
    return new[0].upper() + new[1:] if old[0].isupper() else new
