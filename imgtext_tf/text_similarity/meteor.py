"""METEOR between sentences, and the match kernel over the captions of two images."""

from __future__ import annotations

import functools
import pathlib
import shutil
import subprocess
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf
from nltk.corpus import wordnet
from nltk.translate import meteor_score

from imgtext_tf.data.text import tokenize

# (hypothesis, reference) -> score in [0, 1].
Meteor = Callable[[str, str], float]


class _NoWordNet:
    """Stands in for WordNet, which needs a download: no word has a synonym."""

    @staticmethod
    def synsets(word: str) -> list:
        """Nothing."""
        del word
        return []


@functools.lru_cache(maxsize=1 << 16)
def _words(sentence: str) -> tuple[str, ...]:
    return tuple(word.decode("utf-8") for word in tokenize(tf.constant(sentence)).numpy())


def find_wordnet() -> object | None:
    """NLTK's WordNet reader, for `nltk_meteor`; None where its corpus is not installed."""
    try:
        wordnet.ensure_loaded()
    except (LookupError, OSError):
        return None
    return wordnet


def nltk_meteor(synonyms: object | None = None) -> Meteor:
    """NLTK's METEOR (2007: alpha 0.9, beta 3, gamma 0.5), remembered for each pair of sentences.

    It knows exact and stem matches; synonyms with NLTK's WordNet reader only. Two equal sentences
    of n words score 1 - 0.5 / n^3, less than 1.

    Args:
        synonyms: of `find_wordnet`; None for the mode without synonyms.
    """
    source = _NoWordNet if synonyms is None else synonyms

    @functools.lru_cache(maxsize=1 << 20)
    def score(hypothesis: str, reference: str) -> float:
        words = _words(hypothesis), _words(reference)
        if not all(words):
            return 0.0
        return meteor_score.single_meteor_score(words[1], words[0], wordnet=source)

    return score


class JavaMeteor:
    """METEOR 1.5, the paper's, in the Java program that `pycocoevalcap` brings.

    Needs `pip install pycocoevalcap` and a Java runtime. Use it as a context manager: a process
    stays open.
    """

    def __init__(self, jar: str | pathlib.Path | None = None):
        """Names the program.

        Args:
            jar: `meteor-1.5.jar`, with its folder `data` beside it; None for pycocoevalcap's.

        Raises:
            FileNotFoundError: if it is not there, or there is no Java.
        """
        if jar is None:
            import importlib.util

            found = importlib.util.find_spec("pycocoevalcap")
            if found is None:
                raise FileNotFoundError("METEOR 1.5 needs `pip install pycocoevalcap`")
            jar = pathlib.Path(found.submodule_search_locations[0], "meteor", "meteor-1.5.jar")
        if shutil.which("java") is None:
            raise FileNotFoundError("METEOR 1.5 needs a Java runtime, and there is no `java`")
        command = ["java", "-Xmx2G", "-jar", str(jar), "-", "-", "-stdio", "-l", "en", "-norm"]
        if not pathlib.Path(jar).exists():
            raise FileNotFoundError(f"{jar}: no such file")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL, **pipes)
        self._known: dict[tuple[str, str], float] = {}

    def __enter__(self) -> JavaMeteor:
        """Gives itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the process."""
        self._process.terminate()
        self._process.wait()

    def __call__(self, hypothesis: str, reference: str) -> float:
        """The score of a pair of sentences."""
        key = (hypothesis, reference)
        if key not in self._known:
            hypothesis, reference = (text.replace("|||", " ") for text in key)
            statistics = self._ask(f"SCORE ||| {reference} ||| {hypothesis}")
            self._known[key] = float(self._ask(f"EVAL ||| {statistics}"))
            self._process.stdout.readline()  # the same again, as the mean of one sentence
        return self._known[key]

    def _ask(self, line: str) -> str:
        self._process.stdin.write(" ".join(line.split()) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().strip()
        if not answer:
            raise RuntimeError("METEOR's Java process gave no answer: does `java -version` work?")
        return answer


def match_kernel(first: Sequence[str], second: Sequence[str], meteor: Meteor) -> float:
    """K(X, Y) = (sum_x max_y M(x, y) + sum_y max_x M(x, y)) / (|X| + |Y|).

    METEOR is not symmetric, and the paper does not say which side is the hypothesis: here it is
    the sentence for which the maximum is taken, so that K(X, Y) = K(Y, X).

    Args:
        first: X, the sentences of one image.
        second: Y, those of the other.
        meteor: M(hypothesis, reference).

    Returns:
        A value in [0, 1]; 0 if an image has no sentence.

    Reference: Gordo2017, Section 4.
    """
    if not first or not second:
        return 0.0
    forth = np.array([[meteor(x, y) for y in second] for x in first])
    back = np.array([[meteor(y, x) for x in first] for y in second])
    return float((forth.max(axis=1).sum() + back.max(axis=1).sum()) / (len(first) + len(second)))
