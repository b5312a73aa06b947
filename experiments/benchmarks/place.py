"""Where a benchmark works, and the data that it works on: the user's, or scenes drawn for it."""

from __future__ import annotations

import dataclasses
import os
import pathlib

from absl import logging

from experiments.relation_flags import Settings
from tfrecords_tools import build, build_settings, scenes

_SCENES, _QUICK_SCENES = 300, 100
_PIXELS = 400


def memory() -> int:
    """Bytes of the machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@dataclasses.dataclass(frozen=True)
class Place:
    """What all parts share.

    Attributes:
        folder: for files that are needed meanwhile.
        quick: whether sizes are those of a try.
        relations: settings of the relation classifier with the user's shards; None: drawn scenes.
        captions_dir: shards of captions; "": random ones.
        pixels: width and height of drawn scenes.
    """

    folder: pathlib.Path
    quick: bool = False
    relations: Settings | None = None
    captions_dir: str = ""
    pixels: int = _PIXELS

    def relation_shards(self) -> str:
        """The folder of the relation shards; draws scenes and builds them where none was given."""
        if self.relations is not None:
            return self.relations.data_dir
        raw, output = self.folder / "scenes", self.folder / "shards"
        if (output / "manifest.json").exists():
            return os.fspath(output)
        count = _QUICK_SCENES if self.quick else _SCENES
        logging.info("no --data_dir: drawing %d scenes", count)
        scenes.write_scenes(raw, scenes=count, seed=0, pixels=self.pixels)
        settings = build_settings.Settings(
            output_dir=os.fspath(output),
            kind="synthetic",
            coco_dir=os.fspath(raw / "coco"),
            vist_dir=os.fspath(raw / "vist"),
            vist_images=os.fspath(raw / "vist" / "images"),
            ads_dir=os.fspath(raw / "ads"),
            ads_images=os.fspath(raw / "ads"),
            imagenet_dir=os.fspath(raw / "imagenet"),
            imagenet_summaries=os.fspath(raw / "imagenet" / "wikipedia_summaries.jsonl"),
        )
        build.run(settings)
        return os.fspath(output)

    def data_note(self) -> str:
        """What the relation shards hold, for a table's note."""
        if self.relations is not None:
            return f"Data: {os.path.basename(os.path.normpath(self.relations.data_dir))}."
        return f"Data: drawn scenes of {self.pixels} x {self.pixels} pixels."
