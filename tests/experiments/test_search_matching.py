"""Searching one's own photos and sentences, with a model that knows colours."""

import copy
import dataclasses
import io
import pathlib
import types

import numpy as np
import PIL.Image
import pytest
from absl import flags

from experiments import search_matching, settings_flags
from experiments.search_matching import Settings
from imgtext_tf.data.captions import words_of
from imgtext_tf.data.text import Vocabulary

COLOURS = ("red", "green", "blue")


class Colours:
    """Embeds a photo by the mean colour of its left half, a sentence by its word of colour."""

    digest = "one"
    model = types.SimpleNamespace(measure="cosine")

    def __init__(self, run_dir):
        self.read = []
        type(self).last = self

    def embed_photos(self, paths):
        self.read += [path.name for path in paths]
        pixels = [search_matching._decoded(path) for path in paths]
        means = np.stack([one[:, : one.shape[1] // 2].mean(axis=(0, 1)) for one in pixels])
        return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype("float32")

    def embed_sentences(self, sentences):
        return np.array([[c in one for c in COLOURS] for one in sentences], "float32")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(search_matching, "Searcher", Colours)
    photos = tmp_path / "photos"
    (photos / "more").mkdir(parents=True)
    for place, name in enumerate(("a.png", "more/b.jpg", "c.png")):
        pixels = np.full((40, 60, 3), 20, np.uint8)
        pixels[..., place] = 230
        PIL.Image.fromarray(pixels).save(photos / name)
    (photos / "broken.jpg").write_bytes(b"\xff\xd8 no photo")
    (photos / "notes.txt").write_text("no photo either")
    return tmp_path


def ask(folder, **values):
    return Settings(run_dir="", photos=str(folder / "photos"), sentence="a green field", **values)


def test_a_sentence_finds_its_photo_and_a_broken_file_stops_nothing(folder, caplog):
    found = search_matching.run(ask(folder, top=2))
    assert [pathlib.Path(name).name for name, _ in found][0] == "b.jpg"
    assert len(found) == 2 and found[0][1] > 0.9 > found[1][1]
    assert "broken.jpg" in caplog.text


def test_a_photo_finds_its_sentence(folder):
    lines = folder / "lines.txt"
    lines.write_text("a red car\n\n the blue sea \na green field\n")
    settings = Settings(
        run_dir="", photo=str(folder / "photos" / "c.png"), sentences=str(lines), top=1,
        output=str(folder / "sheet.png"),
    )  # fmt: skip
    assert [name for name, _ in search_matching.run(settings)] == ["the blue sea"]
    sheet = np.asarray(PIL.Image.open(folder / "sheet.png").convert("RGB")).astype(int)
    blue = sheet[..., 2] - sheet[..., :2].max(axis=-1) > 150
    # The photo fills a good part of the left, the sentence stands on the right.
    assert blue[:, : blue.shape[1] // 2].mean() > 0.2 and not blue[:, blue.shape[1] // 2 :].any()
    assert (sheet[:, sheet.shape[1] // 2 :].max(axis=-1) < 60).any()
    with pytest.raises(ValueError, match="broken.jpg"):
        search_matching.run(
            dataclasses.replace(settings, photo=str(folder / "photos" / "broken.jpg"))
        )


def test_photos_stand_on_the_sheet_in_their_order(folder):
    search_matching.run(ask(folder, output=str(folder / "sheet.png")))
    sheet = np.asarray(PIL.Image.open(folder / "sheet.png").convert("RGB")).astype(int)
    middle = sheet[sheet.shape[0] * 2 // 3]
    columns = [np.flatnonzero(middle[:, c] - np.delete(middle, c, 1).max(1) > 150) for c in (1, 0)]
    assert len(columns[0]) > 20 and columns[0].max() < columns[1].min()  # green before red


def test_only_new_photos_are_embedded(folder):
    settings = ask(folder, cache=str(folder / "cache.npz"))
    first = search_matching.run(settings)
    assert len(Colours.last.read) == 3
    assert search_matching.run(settings) == first and not Colours.last.read
    PIL.Image.new("RGB", (9, 9), (1, 250, 1)).save(folder / "photos" / "a.png")
    found = search_matching.run(settings)
    assert Colours.last.read == ["a.png"] and pathlib.Path(found[0][0]).name == "a.png"


def test_photos_are_seen_as_the_camera_was_held(folder):
    pixels = np.zeros((40, 20, 3), np.uint8)
    pixels[:20, :, 1], pixels[20:, :, 0] = 255, 255  # stored: green above red
    exif = PIL.Image.Exif()
    exif[0x0112] = 8  # to be turned to the left: green on the left
    data = io.BytesIO()
    PIL.Image.fromarray(pixels).save(data, "jpeg", exif=exif)
    path = folder / "turned.jpg"
    path.write_bytes(data.getvalue())
    assert search_matching._decoded(path).shape == (20, 40, 3)
    assert Colours("").embed_photos([path])[0].argmax() == 1


def test_a_search_without_a_picture_needs_no_output():
    values = flags.FlagValues()
    for flag in flags.FLAGS.flags_by_module_dict()["experiments.common_flags"]:
        values[flag.name] = copy.deepcopy(flag)
    for name in ("photos", "sentence", "sentences", "photo", "cache"):
        flags.DEFINE_string(name, "", "", flag_values=values)
    flags.DEFINE_integer("top", 10, "", flag_values=values)
    values(["script", "--run_dir=x", "--photos=y", "--sentence=a dog"])
    found = settings_flags.read(Settings, values)
    assert found == Settings("x", photos="y", sentence="a dog")


def test_unknown_words_are_named(caplog):
    vocabulary = Vocabulary(("<start>", "<end>", "dog", "runs"))
    search_matching.warn_of_unknown(words_of(["A dog runs.", "zebra"]), vocabulary)
    assert "2 words are unknown to this run, all alike to it: a, zebra" in caplog.text
    assert "1 of 2 sentences have no word that this run knows" in caplog.text
    caplog.clear()
    search_matching.warn_of_unknown(words_of(["dog runs"]), vocabulary)
    assert not caplog.text
    search_matching.warn_of_unknown(words_of(["dog runs", "!!!"]), vocabulary)
    assert "1 of 2 sentences have no word that this run knows" in caplog.text
    with pytest.raises(ValueError, match="no word to search for: give --sentence"):
        search_matching.warn_of_unknown(words_of(["!!!"]), vocabulary)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"photos": ""}, "--sentence and --photos"),
        ({"photo": "x.png", "sentences": "y.txt"}, "--sentence and --photos"),
        ({"photos": "more"}, "has no photo"),
    ],
)
def test_what_cannot_be_searched_is_named(folder, change, message):
    if change == {"photos": "more"}:
        (folder / "empty").mkdir()
        change = {"photos": str(folder / "empty")}
    with pytest.raises(ValueError, match=message):
        search_matching.run(dataclasses.replace(ask(folder), **change))
