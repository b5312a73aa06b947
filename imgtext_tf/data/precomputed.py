"""Precomputed image features and captions in the layout of vsepp and SCAN, and their vocabulary."""

from __future__ import annotations

import dataclasses
import os

import numpy as np

from imgtext_tf import filesystem, untrusted
from imgtext_tf.data.captions import END, START, CaptionError, Captions
from imgtext_tf.data.text import Vocabulary


@dataclasses.dataclass(frozen=True)
class Precomputed:
    """One split of the layout of vsepp and SCAN: `{split}_ims.npy` and `{split}_caps.txt`.

    Attributes:
        captions: the captions.
        features: [N, D] or [N, R, D] float, one row a distinct image; read from disk when used.
        path: of the features.
    """

    captions: Captions
    features: np.ndarray
    path: str

    def read(self, rows: np.ndarray) -> np.ndarray:
        """The features of images: [B, ...] float32.

        Raises:
            CaptionError: naming file and row, if a value is not finite.
        """
        found = np.asarray(self.features[rows], np.float32)
        if not np.isfinite(found).all():
            bad = ~np.isfinite(found).reshape(len(found), -1).all(axis=1)
            raise CaptionError(f"{self.path}: image {np.asarray(rows)[bad][0]} has values that are "
                               "not finite; compute the features again")  # fmt: skip
        return found


def read_precomputed(
    directory: str | os.PathLike, split: str, *, captions_per_row: int = 5
) -> Precomputed:
    """Opens a split; the file's name is the official one, "dev" for "val".

    Captions are one a line. There are as many rows of features as captions (caption c is of row c;
    rows that repeat in blocks, as vsepp wrote them, are told by being equal), or a fifth of them
    (caption c is of row c // 5).

    Args:
        directory: such as `f30k_precomp`.
        split: "train", "val" or "test", or another name that files have, such as "testall".
        captions_per_row: how many captions each row has, where there are more captions than rows.
            It is never guessed: a file that lost lines may well have another whole multiple.

    Raises:
        CaptionError: naming the file, if shapes do not fit, a file is missing or a line is empty.
    """
    names = [split, "dev"] if split == "val" else [split]
    name = next(
        (n for n in names if filesystem.exists(os.path.join(directory, f"{n}_ims.npy"))), names[-1]
    )
    path, text_path = (os.path.join(directory, f"{name}_{end}") for end in ("ims.npy", "caps.txt"))
    try:
        features = untrusted.load_npy(path, mmap=True)
        # Not splitlines(): a caption may hold U+2028 and the like.
        lines = filesystem.read_bytes(text_path).decode("utf-8-sig").removesuffix("\n").split("\n")
    except (OSError, ValueError) as error:
        raise CaptionError(f"{path} and {os.path.basename(text_path)}: {error}") from error
    texts = tuple(line.strip() for line in lines)
    shaped = features.ndim in (2, 3) and 0 not in features.shape
    if not shaped or not np.issubdtype(features.dtype, np.floating):
        raise CaptionError(f"{path}: holds {features.dtype} {features.shape}, not [N, D] or "
                           "[N, regions, D] floats")  # fmt: skip
    empty = [number for number, text in enumerate(texts, 1) if not text]
    if empty or not texts:
        raise CaptionError(f"{text_path}: line {empty[0] if empty else 1} is empty")
    one_each = len(texts) == len(features)
    if not one_each and len(texts) != captions_per_row * len(features):
        raise CaptionError(
            f"{text_path}: {len(texts)} captions for {len(features)} rows of "
            f"{os.path.basename(path)}: there must be one or {captions_per_row} a row "
            "(--precomputed_captions says how many)"
        )
    image_of = np.arange(len(texts)) // (1 if one_each else captions_per_row)
    if one_each:
        image_of, features = _distinct(features)
    ids = tuple(f"{name}/{row}" for row in range(image_of[-1] + 1))
    return Precomputed(Captions(texts, image_of.astype(np.int32), ids), features, str(path))


def _distinct(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows that repeat the one before them are one image: (image of each row, distinct rows)."""
    new = np.ones(len(features), bool)
    for start in range(1, len(features), 1024):
        stop = min(start + 1024, len(features))
        same = features[start:stop] == features[start - 1 : stop - 1]
        new[start:stop] = ~same.reshape(stop - start, -1).all(axis=1)
    if new.all():
        return np.arange(len(features)), features
    return np.cumsum(new) - 1, _Rows(features, np.flatnonzero(new))


class _Rows:
    """Some rows of an array on disk, read when asked for."""

    def __init__(self, array: np.ndarray, rows: np.ndarray) -> None:
        self._array, self._rows = array, rows
        self.shape, self.dtype = (len(rows), *array.shape[1:]), array.dtype

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, places: np.ndarray) -> np.ndarray:
        return self._array[self._rows[places]]


def read_scan_vocabulary(path: str | os.PathLike) -> Vocabulary:
    """Reads SCAN's `{name}_precomp_vocab.json`: {"word2idx", "idx2word", "idx"}.

    Its ids are <pad> 0, <start> 1, <end> 2, <unk> 3, then the words; ours are 0 padding, 1 unknown,
    2 <start>, 3 <end>, then the same words with the same ids.

    Raises:
        CaptionError: if the file is no such vocabulary.
    """
    try:
        content = untrusted.read_json(path)
        untrusted.need(content, {"word2idx": dict}, path)
        ids = content["word2idx"]
        untrusted.need(ids, dict.fromkeys(ids, int), "word2idx")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CaptionError(f"{path}: is no vocabulary of SCAN: {error}") from error
    return vocabulary_of_ids(ids, str(path))


def vocabulary_of_ids(ids: dict[str, int], source: str) -> Vocabulary:
    """A vocabulary from vsepp's ids of words, see `read_scan_vocabulary`.

    Raises:
        CaptionError: if the special words have other ids, or the ids have gaps.
    """
    special = {"<pad>": 0, "<start>": 1, "<end>": 2, "<unk>": 3}
    words = sorted(ids, key=ids.get)
    if any(ids.get(word) != number for word, number in special.items()) or [
        ids[word] for word in words
    ] != list(range(len(words))):
        raise CaptionError(f"{source}: ids are not <pad> 0, <start> 1, <end> 2, <unk> 3, then one "
                           "a word without gaps")  # fmt: skip
    try:
        return Vocabulary((START, END, *words[4:]))
    except ValueError as error:
        raise CaptionError(f"{source}: {error}") from error
