r"""Draws the embedded data set, in the raw layouts of MSCOCO, VIST, the image ads and ImageNet.

The readers of the real data sets read it unchanged, so that everything from raw files to a trained
classifier can be tried in minutes, without a download:

    python -m tfrecords_tools.scenes --output_dir=demo/raw --scenes=6000 --seed=0

The pictures of all four sources look alike, and texts whose keywords are swapped read like any
other: which class a pair is of shows only in picture and text together.
"""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import pathlib
import sys
from typing import Any

import numpy as np
from absl import app, flags, logging

from imgtext_tf import filesystem
from tfrecords_tools import scene_texts
from tfrecords_tools.scene_drawing import Scene, draw, jpeg, lay_out
from tfrecords_tools.scene_kinds import KINDS, PLACES, TIMES

FLAGS = flags.FLAGS
# Share of the scenes that each source gets.
SHARES = {"coco": 0.3, "vist": 0.4, "ads": 0.1, "imagenet": 0.2}
CAPTIONS_PER_SCENE = 2
STORIES_PER_ALBUM = 3
SCENES_PER_ALBUM = 5
# Shares of train, val and test where a source has official splits (MSCOCO: train and the rest).
SPLITS = {"train": 0.8, "val": 0.1, "test": 0.1}
MIN_THINGS, MAX_THINGS = 2, 3
MIN_SCENES = 50

Pictures = list[tuple[str, Scene]]
Files = dict[str, Any]


def write_scenes(
    output_dir: str | os.PathLike, *, scenes: int, seed: int, pixels: int = 96, processes: int = 1
) -> None:
    """Writes pictures and annotation files; the same arguments give the same bytes.

    Pictures come first and each file is written in one piece, so a folder with annotation files is
    a whole data set.

    Args:
        output_dir: receives the folders `coco`, `vist`, `ads` and `imagenet`.
        scenes: number of pictures, at least `MIN_SCENES`.
        seed: decides everything drawn and written.
        pixels: width and height of the pictures.
        processes: how many draw at once.

    Raises:
        ValueError: if there are too few scenes for every split of every source, or so many that
            names and slogans run out.
    """
    if scenes < MIN_SCENES:
        raise ValueError(f"--scenes={scenes}: at least {MIN_SCENES} are needed to fill all splits")
    filesystem.must_be_local(output_dir, "scenes are drawn file by file; copy the folder")
    output = pathlib.Path(output_dir)
    pictures: Pictures = []
    files: Files = {}
    for number, make in enumerate((_coco, _vist, _ads, _imagenet)):
        count = round(scenes * SHARES[make.__name__[1:]])
        source_pictures, source_files = make(count, np.random.default_rng([seed, number]), pixels)
        pictures += source_pictures
        files |= source_files
    for folder in sorted({(output / name).parent for name in [p for p, _ in pictures] + [*files]}):
        folder.mkdir(parents=True, exist_ok=True)
    draw_one = functools.partial(_write_picture, output, pixels)
    if processes == 1:
        for picture in pictures:
            draw_one(picture)
    else:
        with multiprocessing.get_context("spawn").Pool(processes) as pool:
            for _ in pool.imap_unordered(draw_one, pictures, chunksize=50):
                pass
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        _write(output / name, text.encode())


def _coco(count: int, rng: np.random.Generator, pixels: int) -> tuple[Pictures, Files]:
    pictures, files = [], {}
    families = {kind: family for kind, (family, _) in KINDS.items()}
    # A place counts, too: a picture of the same place is not unrelated.
    families |= {place: place for place in PLACES}
    categories = [
        {"supercategory": family, "id": number, "name": kind}
        for number, (kind, family) in enumerate(families.items(), start=1)
    ]
    id_of = {category["name"]: category["id"] for category in categories}
    # MSCOCO's captions have no test split; the reader halves val.
    train = round(count * SPLITS["train"])
    for split, ids in (("train2017", range(train)), ("val2017", range(train, count))):
        images, captions, instances = [], [], []
        for image_id in ids:
            scene = _any_scene(rng)
            file_name = f"{image_id:012d}.jpg"
            pictures.append((f"coco/{split}/{file_name}", scene))
            images.append(
                {"license": 1, "file_name": file_name, "height": pixels, "width": pixels}
                | {"id": image_id}
            )
            for number in range(CAPTIONS_PER_SCENE):
                key = image_id * CAPTIONS_PER_SCENE + number
                text = scene_texts.caption(scene, rng)
                captions.append({"image_id": image_id, "id": key, "caption": text})
            boxes = [(thing.kind, thing.box(pixels)) for thing in scene.things]
            boxes.append((scene.place, (0, 0, pixels, pixels)))
            for number, (kind, box) in enumerate(boxes):
                instances.append(
                    {"image_id": image_id, "id": (MAX_THINGS + 1) * image_id + number}
                    | {"category_id": id_of[kind], "bbox": list(box), "area": box[2] * box[3]}
                    | {"iscrowd": 0, "segmentation": []}
                )
        licences = [{"id": 1, "name": "Apache-2.0", "url": "https://www.apache.org/licenses/"}]
        head = {"info": {"description": "drawn scenes"}, "licenses": licences, "images": images}
        files[f"coco/annotations/captions_{split}.json"] = head | {"annotations": captions}
        files[f"coco/annotations/instances_{split}.json"] = head | {
            "annotations": instances,
            "categories": categories,
        }
    return pictures, files


def _vist(count: int, rng: np.random.Generator, pixels: int) -> tuple[Pictures, Files]:
    pictures, files = [], {}
    albums = max(count // SCENES_PER_ALBUM, len(SPLITS))
    held_out = {split: max(1, round(albums * SPLITS[split])) for split in ("val", "test")}
    bounds = {"train": range(0, albums - sum(held_out.values()))}
    bounds["val"] = range(bounds["train"].stop, bounds["train"].stop + held_out["val"])
    bounds["test"] = range(bounds["val"].stop, albums)
    for split, album_ids in bounds.items():
        images, stories, descriptions = [], [], []
        for album in album_ids:
            shared = {"hero": scene_texts.draw_looks(rng, 1)[0], "time": _any(TIMES, rng)}
            scenes = [_any_scene(rng, **shared) for _ in range(SCENES_PER_ALBUM)]
            photos = [f"{album * SCENES_PER_ALBUM + n:08d}" for n in range(SCENES_PER_ALBUM)]
            for photo, scene in zip(photos, scenes, strict=True):
                pictures.append((f"vist/images/{split}/{photo}.jpg", scene))
                images.append({"id": photo, "album_id": str(album), "title": "", "tags": ""})
                for number in range(CAPTIONS_PER_SCENE):
                    record = _vist_record(album, photo, scene_texts.caption(scene, rng), number)
                    descriptions.append([record | {"tier": "descriptions-in-isolation"}])
            for number in range(STORIES_PER_ALBUM):
                sentences = scene_texts.story(scenes, rng)
                for order, (photo, sentence) in enumerate(zip(photos, sentences, strict=True)):
                    record = _vist_record(album, photo, sentence, number)
                    record |= {"story_id": str(album * STORIES_PER_ALBUM + number)}
                    record |= {"worker_arranged_photo_order": order, "tier": "story-in-sequence"}
                    stories.append([record])
        head = {"images": images, "albums": [{"id": str(a)} for a in album_ids], "info": {}}
        for folder, tier, records in (
            ("sis", "story-in-sequence", stories),
            ("dii", "description-in-isolation", descriptions),
        ):
            files[f"vist/{folder}/{split}.{tier}.json"] = head | {
                "type": tier,
                "annotations": records,
            }
    return pictures, files


def _vist_record(album: int, photo: str, text: str, worker: int) -> dict[str, str]:
    ids = {"album_id": str(album), "photo_flickr_id": photo, "worker_id": str(worker)}
    return ids | {"original_text": text, "text": text.lower().replace(".", " .")}


def _ads(count: int, rng: np.random.Generator, pixels: int) -> tuple[Pictures, Files]:
    keys = [f"{number % 10}/{number}.jpg" for number in range(count)]
    texts = scene_texts.slogans(count * CAPTIONS_PER_SCENE, rng)
    slogans = {
        key: texts[number * CAPTIONS_PER_SCENE : (number + 1) * CAPTIONS_PER_SCENE]
        for number, key in enumerate(keys)
    }
    pictures = [(f"ads/{key}", _any_scene(rng)) for key in keys]
    return pictures, {"ads/image/Slogans.json": slogans}


def _imagenet(count: int, rng: np.random.Generator, pixels: int) -> tuple[Pictures, Files]:
    pictures, mapping, summaries = [], [], []
    for number, name in enumerate(scene_texts.names(count, rng)):
        wnid = f"n{number:08d}"
        scene = _any_scene(rng)
        pictures.append((f"imagenet/train/{wnid}/{wnid}_1.JPEG", scene))
        mapping.append(f"{wnid} {name}\n")
        summary = scene_texts.definition(name, scene, rng)
        record = {"wnid": wnid, "title": name.capitalize(), "summary": summary}
        summaries.append(json.dumps(record) + "\n")
    files = {
        "imagenet/LOC_synset_mapping.txt": "".join(mapping),
        "imagenet/wikipedia_summaries.jsonl": "".join(summaries),
    }
    return pictures, files


def _any_scene(
    rng: np.random.Generator, *, hero: scene_texts.Look | None = None, time: str | None = None
) -> Scene:
    looks = scene_texts.draw_looks(rng, int(rng.integers(MIN_THINGS, MAX_THINGS + 1)), hero)
    return lay_out(looks, _any(PLACES, rng), time or _any(TIMES, rng), rng)


def _any(choices: dict, rng: np.random.Generator) -> str:
    return list(choices)[rng.integers(len(choices))]


def _write_picture(output: pathlib.Path, pixels: int, picture: tuple[str, Scene]) -> None:
    name, scene = picture
    _write(output / name, jpeg(draw(scene, pixels)))


def _write(path: pathlib.Path, data: bytes) -> None:
    """Writes a file in one piece: a stop in between leaves no half file under its name."""
    # The same name each time: what a killed process left is written over.
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(
            error.errno, f"{path}: {error.strerror}: mend it, then run the same command again"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def main(argv: list[str]) -> None:
    """Draws what the flags ask for."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}: every setting is a --flag=value")
    try:
        write_scenes(
            FLAGS.output_dir,
            scenes=FLAGS.scenes,
            seed=FLAGS.seed,
            pixels=FLAGS.pixels,
            processes=FLAGS.processes,
        )
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    logging.info("%d scenes in %s", FLAGS.scenes, FLAGS.output_dir)


if __name__ == "__main__":
    flags.DEFINE_string("output_dir", None, "Folder to write to.", required=True)
    flags.DEFINE_integer("scenes", 6000, "Number of pictures.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Decides everything drawn and written.")
    flags.DEFINE_integer("pixels", 96, "Width and height of the pictures.", lower_bound=16)
    flags.DEFINE_integer("processes", os.cpu_count() or 1, "How many draw at once.", lower_bound=1)
    app.run(main)
