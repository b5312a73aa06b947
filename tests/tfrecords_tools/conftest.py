"""Tiny raw sources in the official layouts; every picture is noise, so no two are equal."""

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tfrecords_tools.readers import base


def write_jpeg(path, seed, size=(8, 9)):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)
    path.write_bytes(tf.io.encode_jpeg(pixels, quality=80).numpy())


def write_json(path, content):
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture
def files():
    """The functions above, for tests that write their own sources."""

    class Files:
        jpeg = staticmethod(write_jpeg)
        json = staticmethod(write_json)

    return Files


NOUNS = "cat boat cup lamp tree road kite wolf drum bell ship mill crow fork gate harp".split()


@pytest.fixture
def raw(tmp_path):
    """A folder with `karpathy.json`, `vist`, `ads`, `imagenet` and `photos`, all classes in it."""
    root = tmp_path / "raw"
    images, stories, descriptions = [], {}, {}
    for number in range(30):
        split = ("train", "val", "test")[number % 3]
        name, noun = f"p{number:02d}", NOUNS[number % 16]
        write_jpeg(root / "photos" / f"{name}.jpg", number)
        captions = [f"A {noun}", f"Two {noun}s"]
        images.append(
            {
                "filename": f"{name}.jpg",
                "split": split,
                "imgid": number,
                "sentences": [
                    {"raw": text, "sentid": 10 * number + i} for i, text in enumerate(captions)
                ],
            }
        )
        common = {"album_id": f"a{number}", "photo_flickr_id": name}
        for order in (3, 0, 4, 1, 2):
            text = f"Part {order} of tale {number} has a black {noun}."
            stories.setdefault(split, []).append(
                [
                    {
                        **common,
                        "original_text": text,
                        "text": text.lower(),
                        "story_id": f"s{number}",
                        "worker_arranged_photo_order": order,
                    }
                ]
            )
        text = f"A small {noun} described as thing{number}"
        descriptions.setdefault(split, []).append(
            [{**common, "original_text": text, "text": text.lower(), "photo_order_in_story": 0}]
        )
    write_json(root / "karpathy.json", {"dataset": "tiny", "images": images})
    for split in stories:
        write_json(
            root / f"vist/sis/{split}.story-in-sequence.json", {"annotations": stories[split]}
        )
        write_json(
            root / f"vist/dii/{split}.description-in-isolation.json",
            {"annotations": descriptions[split]},
        )
    slogans, lines = {}, []
    for number in range(20):
        wnid = f"n{number:08d}"
        write_jpeg(root / "imagenet/train" / wnid / f"{wnid}_1.JPEG", 100 + number)
        slogans[f"{wnid}/{wnid}_1.JPEG"] = [f"Slogan {number // 2} says yes."]
        summary = f"Concept {number} is a large thing. It has no other name."
        lines.append(json.dumps({"wnid": wnid, "title": "T", "summary": summary}))
    write_json(root / "ads/image/Slogans.json", slogans)
    (root / "imagenet/summaries.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


@pytest.fixture
def pair(tmp_path):
    """Makes a pair whose image has the given content."""

    def make(name, image, text, relation="Anchorage", split="", group=None):
        path = tmp_path / f"{name}.jpg"
        path.write_bytes(image.encode())
        return base.Pair(
            id=name,
            image_path=str(path),
            sentences=(text,),
            source="test",
            group=group or name,
            split=split,
            **base.metrics_of(relation),
        )

    return make
