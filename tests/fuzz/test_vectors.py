"""Damaged files of word vectors: gensim would hang on some, and take all memory for others."""

import gzip
import struct
import tempfile

import numpy as np
import pytest

from imgtext_tf.data import fasttext, vector_files
from tests.fuzz.damage import damaged
from tests.fuzz.test_readers import run

VEC = b"3 2\ndog 0.5 1\ncat 1 0.25\nthe -1 2e-1\n"


@pytest.fixture(scope="module")
def binary(tmp_path_factory):
    path = tmp_path_factory.mktemp("vectors") / "v.bin"
    fasttext.train_vectors([["dog", "cat"], ["the", "dog"]], path, dim=2, buckets=4, epochs=1)
    return path.read_bytes()


@pytest.mark.parametrize(
    "examples", [pytest.param(15, id="few"), pytest.param(1500, id="many", marks=pytest.mark.heavy)]
)
@pytest.mark.parametrize("name", ["v.vec", "v.vec.gz", "v.bin"])
def test_damaged_vectors_are_named_or_finite(name, examples, binary):
    whole = {"v.vec": VEC, "v.vec.gz": gzip.compress(VEC), "v.bin": binary}[name]

    def survives(data):
        with tempfile.TemporaryDirectory() as folder:
            with open(f"{folder}/{name}", "wb") as file:
                file.write(data)
            try:
                found = fasttext.load_vectors(f"{folder}/{name}")
                assert all(np.isfinite(found.vector(word)).all() for word in found.words)
            except ValueError as error:
                assert folder in str(error)

    run(examples, survives, data=damaged(name, whole))


def test_a_binary_that_ends_in_a_word_ends(binary, tmp_path):
    start = binary.index(b"dog\0")
    (tmp_path / "v.bin").write_bytes(binary[: start + 2])
    with pytest.raises(ValueError, match="v.bin is damaged or truncated.*words is cut short"):
        fasttext.load_vectors(tmp_path / "v.bin")


def test_what_is_announced_must_be_there(binary, tmp_path):
    words = binary.index(b"dog\0") - 28
    for place, number in ((words, 2**30), (8, 2**20), (8 + 4 * 8, 2**30)):
        data = binary[:place] + struct.pack("<i", number) + binary[place + 4 :]
        (tmp_path / "v.bin").write_bytes(data)
        with pytest.raises(ValueError, match="it announces|it has"):
            vector_files.check_binary(tmp_path / "v.bin")
    (tmp_path / "v.vec").write_bytes(VEC.replace(b"3 2", b"900000000 300"))
    with pytest.raises(ValueError, match="announces 900000000 words and has 3"):
        fasttext.load_vectors(tmp_path / "v.vec")
    with gzip.open(tmp_path / "v.vec.gz", "wb") as file:
        file.write(b"dog " + b"1" * 3_000_000)
    with pytest.raises(ValueError, match="a line has more than"):
        fasttext.load_vectors(tmp_path / "v.vec.gz")
