"""A made-up data set for Shah2019: coloured squares, queries, labels, tags and texts."""

import json
import pathlib

import numpy as np
import tensorflow as tf

from tfrecords_tools import build_labels, build_queries

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 40, 220), "grey": (128,) * 3}
# Words of each colour, so that phrases and labels are not the same words.
WORDS = {
    "red": ["red", "tomato", "red tomato"],
    "green": ["green", "grass", "green grass"],
    "blue": ["blue", "sea", "blue sea"],
    "grey": ["grey", "stone", "grey stone"],
}


def photo(path, colour, seed):
    rng = np.random.default_rng(seed)
    pixels = np.clip(np.array(COLOURS[colour]) + rng.normal(0, 12, [32, 32, 3]), 0, 255)
    path.write_bytes(tf.io.encode_png(pixels.astype(np.uint8)).numpy())


def write(root: pathlib.Path) -> None:
    """Writes shards `queries`, `labels` (one a photo) and `tags` (several), and `texts.tsv`."""
    for folder in ("photos", "pairs", "info", "oi"):
        (root / folder).mkdir()
    pairs, train, val = {"train": [], "validation": []}, [], []
    tags = {"train": [], "validation": [], "test": []}
    for number, colour in enumerate(list(COLOURS) * 16):
        name = f"q{number}.png"
        photo(root / "photos" / name, colour, number)
        split = "validation" if number >= 48 else "train"
        own = [WORDS[colour][number % 3], WORDS[colour][(number + 1) % 3]]
        pairs[split] += [f"{word}\t{name}\n" for word in [*own, "photo"]]
    for number, colour in enumerate(list(COLOURS) * 12):
        name = f"l{number}.jpg"
        photo(root / "photos" / name, colour, 1000 + number)
        line = f"{name} {list(COLOURS).index(colour)}\n"
        (val if number >= 32 else train).append(line)
        split = ("train", "train", "validation", "test")[number // 12]
        tags[split] += [
            f"l{number},v,/m/{place},{int(other == colour)}\n"
            for place, other in enumerate(COLOURS)
            if (number + place) % 5
        ]
    for split, lines in pairs.items():
        (root / "pairs" / f"{split}.tsv").write_text("".join(lines))
    (root / "info" / "synsets.txt").write_text(
        "".join(f"n{place} {name}, {WORDS[name][1]} thing\n" for place, name in enumerate(COLOURS))
    )
    (root / "info" / "train_filelist_google.txt").write_text("".join(train))
    (root / "info" / "val_filelist.txt").write_text("".join(val))
    for split, lines in tags.items():
        text = "ImageID,Source,LabelName,Confidence\n" + "".join(lines)
        (root / "oi" / f"{split}-annotations-human-imagelabels.csv").write_text(text)
    names = "".join(f"/m/{place},{name}\n" for place, name in enumerate(COLOURS))
    (root / "oi" / "class-descriptions.csv").write_text(names)
    photos = str(root / "photos")
    captions = {
        "images": [
            {
                "filename": f"q{number}.png",
                "split": "val" if number >= 48 else "train",
                "sentences": [{"raw": WORDS[colour][2], "sentid": number}],
            }
            for number, colour in enumerate(list(COLOURS) * 16)
        ]
    }
    (root / "captions.json").write_text(json.dumps(captions))
    build_queries.run(
        build_queries.Settings(
            str(root / "queries"),
            str(root / "pairs"),
            photos,
            captions_json=str(root / "captions.json"),
        )
    )
    build_labels.run(
        build_labels.Settings(str(root / "labels"), photos, webvision_dir=str(root / "info"))
    )
    build_labels.run(
        build_labels.Settings(
            str(root / "tags"), photos, openimages_dir=str(root / "oi"), least_positives=1
        )
    )
    (root / "texts.tsv").write_text(
        "".join(
            f"{n}{i}\t{word} {i}\n" for n, own in WORDS.items() for i in range(8) for word in own
        )
    )
