"""The official sources: where they come from, what is on disk, and Wikipedia's summaries.

    python -m tfrecords_tools.prepare                                   # the table of sources
    python -m tfrecords_tools.prepare --vist_dir=VIST --vist_images=VIST/images --limit=0.01
    python -m tfrecords_tools.prepare --fetch_summaries=summaries.jsonl --synsets=words.txt

It downloads no data set: their owners ask to be asked. It counts the records of what is there
beside the official counts, and the images that are missing, empty, undecodable or the same
placeholder under many names (`--limit` looks at a share of the images first). With
`--fetch_summaries` it asks Wikipedia for the lead of each ImageNet concept's article.
"""

from __future__ import annotations

import collections
import concurrent.futures
import hashlib
import sys
from collections.abc import Iterable, Sequence

import tensorflow as tf
from absl import app, flags
from tqdm import tqdm

from imgtext_tf.data import files, images
from tfrecords_tools import build_settings, releases, sources, wikipedia
from tfrecords_tools.readers import base

PLACEHOLDER_COPIES = 10


# What is on disk ---------------------------------------------------------------------------------


def check_source(name: str, items: Iterable[base.Item], *, limit: float = 1.0) -> str:
    """Counts what a reader gives and the images that cannot be used.

    Args:
        name: heads the report.
        items: what the reader yields.
        limit: share of the distinct images that are opened, seeded.

    Returns:
        The report as text.
    """
    pairs: collections.Counter = collections.Counter()
    reasons: collections.Counter = collections.Counter()
    examples: list[str] = []
    paths: set[str] = set()
    for item in items:
        if isinstance(item, base.Pair):
            pairs[f"{item.relation}, {item.split or 'no official split'}"] += 1
            paths.add(item.image_path)
        elif isinstance(item, base.Dropped):
            reasons[f"left out: {item.reason}"] += 1
        else:
            reasons["bad records"] += 1
            examples.append(f"{item.id}: {item.reason}")
    chosen = [path for path in sorted(paths) if base.generator(0, path).random() < limit]
    dead, copies = dead_images(chosen)
    lines = [name, f"  expected {releases.expected(name)}"]
    lines += [*(f"  {count:8} pairs: {key}" for key, count in sorted(pairs.items()))]
    lines += [f"  {count:8} {reason}" for reason, count in sorted(reasons.items())]
    share = len(dead) / max(1, len(chosen))
    lines.append(f"  {len(dead):8} dead images of {len(chosen)} opened ({share:.1%})")
    lines += [f"  {count:8} copies of one image: {path}" for path, count in copies]
    lines += [f"           e.g. {text}" for text in (examples + dead)[:10]]
    return "\n".join(lines)


def dead_images(paths: Sequence[str]) -> tuple[list[str], list[tuple[str, int]]]:
    """Opens and decodes images.

    Returns:
        "path: reason" of each that training could not use; and (path, copies) of images that stand
        under many names, as the "photo unavailable" pictures of photo sites do.
    """

    def check(path: str) -> tuple[str | None, str]:
        try:
            data = base.read_bytes(path)
            images.check_image(data)
        except (base.ReaderError, images.ImageError) as error:
            return f"{path}: {error}", ""
        return None, hashlib.sha256(data).hexdigest()

    dead = []
    names = collections.defaultdict(list)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        results = tqdm(pool.map(check, paths), total=len(paths), desc="images", unit="image")
        for path, (reason, digest) in zip(paths, results, strict=True):
            if reason:
                dead.append(reason)
            else:
                names[digest].append(path)
    copies = [(p[0], len(p)) for p in names.values() if len(p) >= PLACEHOLDER_COPIES]
    return dead, sorted(copies, key=lambda copy: -copy[1])


# Command -----------------------------------------------------------------------------------------


def main(argv: Sequence[str]) -> None:
    """Prints the table, checks what is named, fetches summaries if asked to."""
    if len(argv) > 1:
        raise app.UsageError(f"flags only, not {argv[1:]}")
    tf.config.set_visible_devices([], "GPU")
    values = flags.FLAGS
    print(releases.table())
    try:
        settings = build_settings.from_flags(
            build_settings.SOURCES, output_dir="", limit=values.limit
        )
        build_settings.check_settings(settings)
        for name, items in sources.by_release(settings):
            print("\n" + check_source(name, items, limit=values.limit))
        if values.fetch_summaries:
            if not values.synsets:
                raise base.ReaderError("--fetch_summaries needs --synsets")
            synsets = wikipedia.read_synsets(values.synsets)
            chosen = [s for s in synsets if base.generator(0, s[0]).random() < values.limit]
            found, without = wikipedia.fetch_summaries(
                chosen, values.fetch_summaries, api=values.wikipedia_api
            )
            print(f"\n{found} summaries, {without} concepts without an article")
    except (base.ReaderError, build_settings.BuildError, files.ShardError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    build_settings.define_flags(build_settings.SOURCES)
    flags.DEFINE_float("limit", 1.0, "Share of the images to open, or concepts to fetch.")
    flags.DEFINE_string("fetch_summaries", None, "JSONL of Wikipedia summaries to write.")
    flags.DEFINE_string("synsets", None, "ImageNet's words.txt or LOC_synset_mapping.txt.")
    flags.DEFINE_string("wikipedia_api", "https://en.wikipedia.org/w/api.php", "MediaWiki's API.")
    app.run(main)
