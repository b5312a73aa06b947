"""The settings of `tfrecords_tools.build`: one field, one flag and one help text each."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Sequence
from typing import Any

from absl import flags

from imgtext_tf import relations
from imgtext_tf.data import runners
from imgtext_tf.data.files import ShardError
from tfrecords_tools import plan as planning
from tfrecords_tools import settings_flags
from tfrecords_tools.readers import base


@dataclasses.dataclass(frozen=True)
class Settings:
    """One field for each flag; the flags' help says what they mean."""

    output_dir: str
    vist_dir: str | None = None
    vist_images: str | None = None
    vist_text: str = "original_text"
    images_per_story: int = 1
    karpathy_json: tuple[str, ...] = ()
    karpathy_images: tuple[str, ...] = ()
    coco_dir: str | None = None
    coco_images: str | None = None
    uncorrelated_per_caption: int = 1
    ads_dir: str | None = None
    ads_images: str | None = None
    ads_accept: str | None = None
    ads_products: str | None = None
    imagenet_dir: str | None = None
    imagenet_summaries: str | None = None
    images_per_concept: int = 1
    jsonl: tuple[str, ...] = ()
    jsonl_images: str | None = None
    mapped: tuple[str, ...] = ()
    mapped_images: str | None = None
    mapping: str | None = None
    labels: tuple[str, ...] = ()
    antonyms: str | None = None
    negatives_per_positive: int = 1
    swap_labelled: bool = False
    max_sentences: int = 10
    caps: str = "table1"
    split_fractions: tuple[float, ...] = (0.7, 0.1, 0.2)
    limit: float = 1.0
    max_bad_records: float = 0.01
    resize: int | None = None
    shards: int | None = None
    shard_mb: int = 128
    balanced_per_class: int = 100
    name: str = "relations"
    kind: str = "real"
    processes: int = 1
    runner: str = "local"
    beam_options: tuple[str, ...] = ()
    seed: int = 0


# The flags that say where the raw data lies; `tfrecords_tools.prepare` has them, too.
SOURCES = frozenset(
    "coco_dir coco_images karpathy_json karpathy_images vist_dir vist_images vist_text ads_dir "
    "ads_images ads_accept ads_products imagenet_dir imagenet_summaries".split()
)
# Those that give pairs by themselves, with the classes of Otto2020.
_SOURCE_FLAGS = ("coco_dir", "karpathy_json", "vist_dir", "ads_dir", "imagenet_dir")
# What a build's bytes do not depend on, or depend on through the raw data only.
_NOT_RECORDED = frozenset(
    "output_dir processes runner beam_options vist_dir vist_images karpathy_json karpathy_images "
    "coco_dir coco_images ads_dir ads_images ads_accept ads_products imagenet_dir "
    "imagenet_summaries jsonl jsonl_images "
    "mapped mapped_images mapping antonyms max_bad_records".split()
)


class BuildError(RuntimeError):
    """A build that cannot go on; the message says what to mend."""


# Errors whose message says what is wrong and how to mend it: no traceback.
MISTAKES = (BuildError, planning.PlanError, base.ReaderError, ShardError, OSError, ValueError)


def runner_of(settings: Any) -> runners.Runner:
    """The runner that any builder's settings name.

    Raises:
        BuildError: if its flags do not go together.
    """
    try:
        return runners.Runner(settings.runner, settings.processes, tuple(settings.beam_options))
    except ValueError as error:
        raise BuildError(str(error)) from None


def define_runner_flags() -> None:
    """Defines --processes, --runner and --beam_options."""
    flags.DEFINE_integer("processes", 1, RUNNER_HELP["processes"], lower_bound=1)
    flags.DEFINE_enum("runner", "local", runners.RUNNERS, RUNNER_HELP["runner"])
    flags.DEFINE_list("beam_options", [], RUNNER_HELP["beam_options"])


def check_settings(settings: Settings) -> None:
    """Sees that flags go together.

    Raises:
        BuildError: if they do not.
    """
    needs = {
        "vist_dir": "vist_images",
        "ads_dir": "ads_images",
        "imagenet_dir": "imagenet_summaries",
        "mapped": "mapping",
    }
    for flag, needed in needs.items():
        if getattr(settings, flag) and not getattr(settings, needed):
            raise BuildError(f"--{flag} needs --{needed}")
    if settings.labels:
        _check_own_labels(settings)
    if len(settings.karpathy_json) != len(settings.karpathy_images):
        raise BuildError("give one --karpathy_images folder for each --karpathy_json file")
    if not 0 < settings.limit <= 1:
        raise BuildError(f"--limit={settings.limit}: give a share above 0, at most 1")
    if settings.processes < 1 or settings.shard_mb < 1 or (settings.shards or 1) < 1:
        raise BuildError("--processes, --shards and --shard_mb must be at least 1")


def _check_own_labels(settings: Settings) -> None:
    names = settings.labels
    if len(set(names)) < max(2, len(names)) or not all(name.strip() == name for name in names):
        raise BuildError(f"--labels={','.join(names)}: give two class names or more, all distinct")
    wrong = [name for name in (*_SOURCE_FLAGS, "swap_labelled") if getattr(settings, name)]
    if wrong:
        raise BuildError(f"--labels goes with --jsonl and --mapped only, not with --{wrong[0]}")


def parse_caps(text: str, labels: Sequence[str] = ()) -> dict[str, int]:
    """Parses `table1`, `none` or `Class=n,...`.

    Args:
        text: the flag's value; `table1` caps none of the user's own classes.
        labels: the user's own class names; none for the eight.

    Raises:
        BuildError: if it is none of these.
    """
    if text in ("table1", "none"):
        return dict(planning.TABLE1_CAPS) if text == "table1" and not labels else {}
    caps = {}
    for part in text.split(","):
        relation, _, number = part.partition("=")
        known = labels or relations.RELATIONS
        if relation.strip() not in known or not number.strip().isdigit():
            raise BuildError(f"--caps={text}: {part!r} is no Class=n; classes: {', '.join(known)}")
        caps[relation.strip()] = int(number)
    return caps


def recorded(settings: Settings) -> dict[str, Any]:
    """The settings that decide a build's bytes, without paths, and the sources given."""
    values = dataclasses.asdict(settings)
    kept = {name: value for name, value in values.items() if name not in _NOT_RECORDED}
    if not settings.labels:
        del kept["labels"]
    kept["sources"] = [name for name in (*_SOURCE_FLAGS, "jsonl", "mapped") if values[name]]
    return json.loads(json.dumps(kept))


RUNNER_HELP = {
    "processes": "Processes that write shards; the bytes do not depend on it.",
    "runner": "What writes the shards: processes here, or an Apache Beam runner.",
    "beam_options": "Beam's options, such as runner=DataflowRunner,project=mine; see "
    "docs/building_at_scale.md.",
}
HELP = {
    "output_dir": "Folder of the shards; made where missing.",
    "vist_dir": "Folder that holds VIST's sis/ and dii/.",
    "vist_images": "Folder of VIST's photos, <photo_flickr_id>.jpg, with or without split folders.",
    "vist_text": "VIST's text field: original_text, or text (tokenised, names masked).",
    "images_per_story": "Random photos of each train story (Otto2020: 1).",
    "karpathy_json": "Karpathy's dataset_*.json, standing for MSCOCO (Uncorrelated).",
    "karpathy_images": "Image folder of each --karpathy_json, in the same order.",
    "coco_dir": "Folder that holds MSCOCO's annotations/ (Uncorrelated).",
    "coco_images": "Folder that holds train2017/ and so on; default --coco_dir.",
    "uncorrelated_per_caption": "Unrelated images of each caption.",
    "ads_dir": "Folder that holds image/Slogans.json of Pitt's image ads.",
    "ads_images": "Folder that the keys of Slogans.json are relative to.",
    "ads_accept": "File of accepted image keys (or key<TAB>slogan), one a line; only these.",
    "ads_products": "TSV of image key (or its folder) and product; slogans naming it are dropped.",
    "imagenet_dir": "Folder of ImageNet's <wnid> folders, or of train/<wnid>.",
    "imagenet_summaries": "JSONL of wnid, title, summary; tfrecords_tools.prepare fetches it.",
    "images_per_concept": "Random images of each ImageNet concept (Otto2020: 1).",
    "jsonl": "The project's own JSONL files.",
    "jsonl_images": "Folder that their image paths are relative to; default the file's own.",
    "mapped": "Other labelled CSV, TSV, JSONL or TFRecord files, read by --mapping.",
    "mapped_images": "Folder that their image paths are relative to; default the file's own.",
    "mapping": "image=theirs,text=theirs,label=theirs or a .json file; see docs/data.md.",
    "labels": "Class names of your own, in label order, that --jsonl and --mapped have as labels.",
    "antonyms": "TSV of keywords and opposites; default the project's own.",
    "negatives_per_positive": "Most negatives of each train positive, with distinct texts.",
    "swap_labelled": "Make negatives of the JSONL and mapped pairs, too.",
    "max_sentences": "Texts are cut to so many sentences (Otto2020, Section 4.1: 10).",
    "caps": "Most train pairs of a class: table1, none or Class=n,Class=n.",
    "split_fractions": "Shares of train, val, test of the sources without official splits.",
    "limit": "Share of the records to take, seeded: 0.01 tries 1 % first.",
    "max_bad_records": "Share of bad records above which the build fails.",
    "resize": "Scale images with a longer shorter side to this one, in pixels; default: as found.",
    "shards": "Number of train shards (val and test in proportion); default by --shard_mb.",
    "shard_mb": "Size of a shard in MiB, about.",
    "balanced_per_class": "Ids of each class in balanced_val_ids.txt and balanced_test_ids.txt.",
    "name": "Name of the data set in the manifest, in results and in tables.",
    "kind": "Whether the data is real or synthetic; stands in the manifest.",
    "processes": RUNNER_HELP["processes"],
    "runner": RUNNER_HELP["runner"],
    "beam_options": RUNNER_HELP["beam_options"],
    "seed": "Seed of every draw; same data, flags and seed give the same bytes.",
}


CHOICES = {
    "vist_text": ("original_text", "text"),
    "kind": ("real", "synthetic"),
    "runner": runners.RUNNERS,
}


def define_flags(names: Collection[str] | None = None) -> None:
    """Defines a flag for each setting, or for those of these names."""
    settings_flags.define(Settings, HELP, CHOICES, names)


def from_flags(names: Collection[str] | None = None, **values: Any) -> Settings:
    """The settings that the flags say.

    Args:
        names: of the settings that have a flag; None means all.
        **values: of other settings.
    """
    return settings_flags.read(Settings, names, **values)
