"""Runs the readers of the sources that a build's settings name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tfrecords_tools.build_settings import Settings
from tfrecords_tools.readers import (
    ads,
    base,
    coco,
    imagenet,
    jsonl,
    karpathy,
    mapping,
    vist,
)


def read_sources(settings: Settings) -> Iterator[base.Item]:
    """Runs the readers of all sources that the settings name.

    Raises:
        base.ReaderError: if a source cannot be read.
    """
    for _, items in by_release(settings):
        yield from items


def by_release(settings: Settings) -> Iterator[tuple[str, Iterator[base.Item]]]:
    """The readers of all sources that the settings name: (name of the release, its items)."""
    seed, per_caption = settings.seed, settings.uncorrelated_per_caption
    if settings.coco_dir:
        yield (
            "MSCOCO",
            coco.uncorrelated(
                settings.coco_dir,
                images_dir=settings.coco_images,
                per_caption=per_caption,
                split_fractions=settings.split_fractions,
                seed=seed,
            ),
        )
    for path, folder in zip(settings.karpathy_json, settings.karpathy_images, strict=True):
        yield "Karpathy", karpathy.uncorrelated(path, folder, per_caption=per_caption, seed=seed)
    if settings.vist_dir:
        yield (
            "VIST SIS",
            vist.complementary(
                settings.vist_dir,
                settings.vist_images,
                images_per_story=settings.images_per_story,
                text_field=settings.vist_text,
                seed=seed,
            ),
        )
        yield (
            "VIST DII",
            vist.anchorage(settings.vist_dir, settings.vist_images, text_field=settings.vist_text),
        )
    if settings.ads_dir:
        yield (
            "Pitt Image Ads",
            ads.interdependent(
                settings.ads_dir,
                settings.ads_images,
                accept=settings.ads_accept,
                products=settings.ads_products,
            ),
        )
    if settings.imagenet_dir:
        yield (
            "ImageNet",
            imagenet.illustration(
                settings.imagenet_dir,
                settings.imagenet_summaries,
                images_per_concept=settings.images_per_concept,
                seed=seed,
            ),
        )


def read_labelled(settings: Settings) -> Iterator[base.Item]:
    """Runs the readers of the sources that bring their own labels.

    Raises:
        base.ReaderError: if a source cannot be read.
    """
    for path in settings.jsonl:
        yield from jsonl.pairs(path, settings.jsonl_images, labels=settings.labels)
    for path in settings.mapped:
        fields = mapping.parse_mapping(settings.mapping)
        yield from mapping.pairs(path, fields, settings.mapped_images, labels=settings.labels)


def limited(items: Iterable[base.Item], share: float, seed: int) -> Iterator[base.Item]:
    """Passes a seeded share of the items, the same ones whatever their order."""
    for item in items:
        if share >= 1 or base.generator(seed, "limit", item.id).random() < share:
            yield item
