import collections
import itertools
import json
import re

import numpy as np
import pytest
from PIL import Image

from imgtext_tf.data import antonyms, keyword_swaps
from tfrecords_tools import scene_drawing, scene_texts, scenes
from tfrecords_tools.readers import ads, coco, imagenet, vist
from tfrecords_tools.readers.base import Pair
from tfrecords_tools.scene_drawing import Scene, Thing
from tfrecords_tools.scene_kinds import COLOURS, KINDS, PLACES, SIZES, SUPERCATEGORIES, TIMES

SCENES = 60


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    scenes.write_scenes(folder, scenes=SCENES, seed=2, pixels=48)
    return folder


def files(folder):
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def thing(kind, x, y, colour="red", size="small", radius=0.1):
    return Thing(kind, colour, size, x, y, radius, mirrored=False)


def test_the_readers_of_the_real_sources_read_every_record(raw):
    items = [
        *coco.uncorrelated(raw / "coco"),
        *vist.complementary(raw / "vist", raw / "vist" / "images"),
        *vist.anchorage(raw / "vist", raw / "vist" / "images"),
        *ads.interdependent(raw / "ads", raw / "ads"),
        *imagenet.illustration(raw / "imagenet", raw / "imagenet" / "wikipedia_summaries.jsonl"),
    ]
    # Of a few scenes in a split, not each finds another that shares nothing with it.
    dropped = [item for item in items if not isinstance(item, Pair)]
    assert {item.reason for item in dropped} <= {"caption without an unrelated image"}
    assert len(dropped) <= 8
    items = [item for item in items if isinstance(item, Pair)]
    splits = collections.defaultdict(set)
    for pair in items:
        splits[pair.source].add(pair.split)
        with Image.open(pair.image_path) as picture:
            assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (48, 48))
    official = {"train", "val", "test"}
    # MSCOCO's val and test have two scenes each here.
    assert "train" in splits.pop("coco") <= official
    assert splits == {
        "vist-sis": official,
        "vist-dii": official,
        "ads": {""},
        "imagenet": {""},
    }


def test_sixty_scenes_are_dealt_out_by_the_shares(raw):
    # 30, 40, 10 and 20 % of 60 scenes; VIST's 24 make 4 whole albums of 5.
    counts = collections.Counter(
        name.split("/")[0] for name in files(raw) if name.lower().endswith(("jpg", "jpeg"))
    )
    assert counts == {"coco": 18, "vist": 20, "ads": 6, "imagenet": 12}


def test_same_arguments_same_bytes_whatever_the_number_of_processes(raw, tmp_path):
    scenes.write_scenes(tmp_path / "again", scenes=SCENES, seed=2, pixels=48, processes=2)
    assert files(tmp_path / "again") == files(raw)
    scenes.write_scenes(tmp_path / "other", scenes=SCENES, seed=4, pixels=48)
    other = files(tmp_path / "other")
    assert other.keys() == files(raw).keys() and not set(other.values()) & set(files(raw).values())


def test_a_full_disk_leaves_no_half_file_and_no_annotations(tmp_path, monkeypatch):
    def no_space(*paths):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(scenes.os, "replace", no_space)
    with pytest.raises(OSError, match="No space left"):
        scenes.write_scenes(tmp_path, scenes=SCENES, seed=0, pixels=16)
    assert files(tmp_path) == {}


def test_instances_name_kinds_and_boxes_of_the_picture(raw):
    data = json.loads((raw / "coco/annotations/instances_train2017.json").read_text())
    kinds = {c["id"]: (c["supercategory"], c["name"]) for c in data["categories"]}
    assert len(kinds) == len(KINDS) + len(PLACES)
    assert len({family for family, _ in kinds.values()}) == len(SUPERCATEGORIES) + len(PLACES)
    ids = [annotation["id"] for annotation in data["annotations"]]
    assert len(set(ids)) == len(ids)
    for image in data["images"]:
        own = [a for a in data["annotations"] if a["image_id"] == image["id"]]
        families = {kinds[a["category_id"]][0] for a in own}
        # Two or three things, and the place, which is all over the picture.
        assert 3 <= len(own) == len(families) <= 4
        boxes = {kinds[a["category_id"]][1]: a["bbox"] for a in own}
        (place,) = boxes.keys() & PLACES.keys()
        assert boxes.pop(place) == [0, 0, 48, 48]
        for left, top, width, height in boxes.values():
            # Eval crops keep the middle 87.5 %: 3 to 45 of 48 pixels.
            assert 3 <= left and 3 <= top and left + width <= 45.01 and top + height <= 45.01


def test_too_few_or_too_many_scenes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="at least 50"):
        scenes.write_scenes(tmp_path, scenes=49, seed=0)
    with pytest.raises(ValueError, match="draw fewer"):
        scene_texts.slogans(100_000, np.random.default_rng(0))
    assert files(tmp_path) == {}


def test_things_keep_apart_and_clearly_beside_or_above_each_other():
    rng = np.random.default_rng(0)
    looks = [("car", "red", "large"), ("drum", "blue", "big"), ("key", "tan", "large")]
    for _ in range(30):
        scene = scene_drawing.lay_out(looks, "sea", "at night", rng)
        assert [(t.kind, t.colour, t.size) for t in scene.things] == looks
        for a, b in itertools.combinations(scene.things, 2):
            across, down = abs(a.x - b.x), abs(a.y - b.y)
            assert np.hypot(across, down) > a.radius + b.radius
            assert max(across, down) > 1.3 * min(across, down)


@pytest.mark.parametrize("colour", COLOURS)
def test_a_ball_has_its_colour_where_the_scene_says(colour):
    ball = thing("ball", 0.3, 0.6, colour, "large", 0.2)
    picture = np.asarray(scene_drawing.draw(Scene((ball,), "sea", "at night", seed=1), 100), int)
    # To the lower left of the middle, between two pale wedges: body colour, +-12 by chance.
    assert np.abs(picture[60 + 11, 30 - 11 + 3] - COLOURS[colour]).max() <= 13


def test_each_kind_is_drawn_inside_its_box():
    for kind in KINDS:
        one = thing(kind, 0.5, 0.5, "red", "large", 0.25)
        with_it = np.asarray(scene_drawing.draw(Scene((one,), "sea", "during the day", 7), 64), int)
        without = np.asarray(scene_drawing.draw(Scene((), "sea", "during the day", 7), 64), int)
        rows, columns = np.nonzero(np.abs(with_it - without).max(axis=-1) > 20)
        assert rows.size > 150, kind
        # The box is 16 to 48; one pixel more for anti-aliasing.
        assert min(rows.min(), columns.min()) >= 15 and max(rows.max(), columns.max()) <= 49, kind


def test_mirroring_mirrors():
    for kind in ("car", "ball", "umbrella"):
        flipped = [
            np.asarray(
                scene_drawing.draw(
                    Scene(
                        (Thing(kind, "red", "big", 0.5, 0.5, 0.4, mirrored),), "sea", "at night", 5
                    ),
                    80,
                ),
                int,
            )
            for mirrored in (False, True)
        ]
        plain = np.asarray(scene_drawing.draw(Scene((), "sea", "at night", 5), 80), int)
        shapes = [np.abs(picture - plain).max(axis=-1) > 30 for picture in flipped]
        assert (shapes[0] != shapes[1][:, ::-1]).mean() < 0.02


def test_day_is_brighter_than_night():
    rng = np.random.default_rng(0)
    means = {
        time: [
            np.asarray(
                scene_drawing.draw(Scene((), list(PLACES)[seed % len(PLACES)], time, int(seed)), 32)
            ).mean()
            for seed in rng.integers(1000, size=20)
        ]
        for time in TIMES
    }
    assert min(means["during the day"]) > max(means["at night"]) + 50


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        (0.2, 0.45, {"to the left of"}),
        (0.8, 0.45, {"to the right of"}),
        (0.45, 0.2, {"above", "on top of"}),
        (0.45, 0.8, {"below", "beneath", "under", "underneath"}),
    ],
)
def test_relation_says_where_the_first_thing_is(x, y, expected):
    rng = np.random.default_rng(0)
    pair = thing("car", x, y), thing("tree", 0.5, 0.5)
    assert {scene_texts.relation(*pair, rng) for _ in range(100)} == expected


def test_texts_say_what_the_scene_shows():
    things = (thing("apple", 0.2, 0.5, "orange", "big"), thing("hat", 0.8, 0.5, "blue", "little"))
    scene = Scene(things, "sea", "at night", 0)
    rng = np.random.default_rng(0)
    for text in {scene_texts.caption(scene, rng) for _ in range(200)}:
        words = re.findall(r"[a-z]+", text.lower())
        of_apple, of_hat = (words.index(kind) for kind in ("apple", "hat"))
        side = "left" if of_apple < of_hat else "right"
        assert f"to the {side} of" in text and "day" not in words
        described = {"apple": {"orange", "big"}, "hat": {"blue", "little"}}
        for kind, last in (("apple", of_apple), ("hat", of_hat)):
            said = {*words[max(last - 2, 0) : last]} & {*COLOURS, *SIZES}
            assert said <= described[kind]
        assert len({*words} & {*COLOURS}) == len({*words} & {*SIZES}) == 1
        assert " a orange" not in text.lower() and " a apple" not in text.lower()
    definition = scene_texts.definition("zorb", scene, rng)
    assert "zorb" in definition.lower() and "a big orange apple" in definition
    story = scene_texts.story([scene] * 5, rng)
    assert len(story) == 5 and "big orange apple" in story[0] and "orange apple" in story[4]


def test_frequencies_of_a_small_chain_by_hand(monkeypatch):
    # s -> l or b; l -> s; b -> s or t; t -> b. Flow: pi_s = pi_l + pi_b / 2, pi_l = pi_s / 2,
    # pi_b = pi_s / 2 + pi_t, pi_t = pi_b / 2: pi = (2, 1, 2, 1) / 6.
    entries = {"s": ("l", "b"), "l": ("s",), "b": ("s", "t"), "t": ("b",), "x": ("y",)}
    swaps = antonyms.AntonymList(
        tuple(antonyms.Antonym(word, to, "adjective", "") for word, to in entries.items())
    )
    monkeypatch.setattr(scene_texts, "load_antonyms", lambda: swaps)
    scene_texts.frequencies.cache_clear()
    try:
        np.testing.assert_allclose(
            scene_texts.frequencies(("s", "l", "b", "t")), [2 / 6, 1 / 6, 2 / 6, 1 / 6], atol=1e-9
        )
        with pytest.raises(ValueError, match="lack 'b', an opposite of 's'"):
            scene_texts.frequencies(("s", "l"))
        with pytest.raises(ValueError, match="has no opposite"):
            scene_texts.frequencies(("s", "l", "b", "t", "q"))
    finally:
        scene_texts.frequencies.cache_clear()


def texts_of(maker, count):
    rng = np.random.default_rng(5)
    for number in range(count):
        hero = scene_texts.draw_looks(rng, 1)[0]
        pictures = [
            scene_drawing.lay_out(
                scene_texts.draw_looks(rng, 2, hero),
                list(PLACES)[rng.integers(len(PLACES))],
                list(TIMES)[number % 2],
                rng,
            )
            for _ in range(5 if maker == "story" else 1)
        ]
        if maker == "story":
            yield scene_texts.story(pictures, rng)
        elif maker == "caption":
            yield [scene_texts.caption(pictures[0], rng)]
        else:
            yield [scene_texts.definition("zorb", pictures[0], rng)]


@pytest.mark.parametrize("maker", ["caption", "story", "definition"])
def test_swapped_texts_read_like_the_others(maker):
    """The share of texts with a word, or a pair of neighbouring words, must not tell a swap."""
    swaps = antonyms.load_antonyms()
    expected = {*COLOURS, *SIZES, *TIMES, *sum(scene_texts.HEIGHTS.values(), ())}
    expected |= {*scene_texts.SIDES.values()}
    rng = np.random.default_rng(6)
    shares = [collections.Counter(), collections.Counter()]
    count = 3000
    for text in texts_of(maker, count):
        hits = [hit for sentence in text for hit in swaps.find(sentence)]
        found = [entry.keyword for _, _, entry in hits]
        assert {*found} <= expected, "a keyword that is no attribute of the scene"
        # At most one of each kind of attribute, so at most one way to go wrong.
        for kind in (COLOURS, SIZES, TIMES):
            assert len({*found} & {*kind}) <= 1
        assert {*found} & {*COLOURS}, "a text without colour could not turn wrong"
        for side, sentences in enumerate((text, keyword_swaps.swap(text, swaps, rng)[0])):
            words = re.findall(r"\w+", " ".join(sentences).lower())
            shares[side].update({*words, *itertools.pairwise(words)})
    rare = 60 if maker == "caption" else 30
    for word in shares[0].keys() | shares[1].keys():
        before, after = shares[0][word], shares[1][word]
        # Five standard deviations of the difference of two Poisson counts.
        assert abs(before - after) < 5 * np.sqrt(before + after), (word, before, after)
        assert min(before, after) > 0 or max(before, after) < rare, (word, before, after)


def test_slogans_and_names_are_distinct_and_say_nothing_of_the_picture():
    rng = np.random.default_rng(0)
    slogans, names = scene_texts.slogans(2000, rng), scene_texts.names(2000, rng)
    assert len({*slogans}) == len({*names}) == 2000
    telling = {*KINDS, *COLOURS, *SIZES, *SUPERCATEGORIES}
    words = {word for slogan in slogans for word in re.findall(r"[a-z]+", slogan.lower())}
    assert not words & telling
    assert not {*names} & ({*antonyms.load_antonyms().keywords} | telling)
