"""The official releases: where they come from, their size, expected counts and licence."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Source:
    """An official release."""

    name: str
    classes: str
    address: str
    size: str
    expected: str
    licence: str


# Sizes and counts as their owners state them; "not verified": known from memory only.
SOURCES = (
    Source(
        "MSCOCO 2014 or 2017 (captions, instances)",
        "Uncorrelated",
        "https://cocodataset.org/#download",
        "train2017 18 GB, val2017 1 GB, annotations 241 MB (not verified)",
        "118,287 + 5,000 images (not verified), about 5 captions each; 80 categories, 12 "
        "supercategories; the paper took 60,000 pairs",
        "annotations CC BY 4.0 (not verified); photos under their Flickr terms",
    ),
    Source(
        "Karpathy's caption files (stand for MSCOCO)",
        "Uncorrelated",
        "https://cs.stanford.edu/people/karpathy/deepimagesent/ (not verified)",
        "caption_datasets.zip 36 MB, without images (not verified)",
        "dataset_flickr8k.json 8,000, dataset_flickr30k.json 31,014, dataset_coco.json 123,287 "
        "images (not verified)",
        "that of the photos' data sets",
    ),
    Source(
        "VIST stories (SIS) and descriptions (DII)",
        "Complementary, Anchorage, and from them Contrasting, Bad Anchorage",
        "https://visionandlanguage.net/VIST (json_files/{story-in-sequence,description-in-"
        "isolation}/*-with-labels.tar.gz)",
        "photos: hundreds of GB at full size (not verified); many Flickr links are dead",
        "10,040 albums; 50,200 stories (40,155 / 4,990 / 5,055); 150,600 descriptions (120,465 / "
        "14,970 / 15,165)",
        "photos under their Creative Commons licences, named in the JSON",
    ),
    Source(
        "Pitt Image Ads (Hussain et al. 2017)",
        "Interdependent",
        "https://people.cs.pitt.edu/~kovashka/ads/ (annotations_images.zip); images "
        "https://storage.googleapis.com/ads-dataset/subfolder-{0..10}.zip",
        "annotations 6.5 MB, images about 11.6 GB",
        "64,832 ads; 11,130 slogans (not verified); the paper chose 1,007 pairs by hand",
        "unknown: research only",
    ),
    Source(
        "ImageNet (folder of synsets)",
        "Illustration, and from it Bad Illustration",
        "https://image-net.org/download (registration)",
        "ILSVRC-2012 train 138 GB (not verified); one image a concept is enough",
        "the paper has 5,447 concepts with an article of the 21,841 synsets",
        "research only, by its terms of access",
    ),
    Source(
        "English Wikipedia (leads of articles)",
        "Illustration",
        "https://en.wikipedia.org/w/api.php (fetched by --fetch_summaries)",
        "about 1 KB a concept",
        "one summary for each concept that has an article of its name",
        "CC BY-SA 4.0",
    ),
    Source(
        "The paper's own pairs",
        "all eight",
        "https://doi.org/10.25835/0010577",
        "unknown",
        "224,856 pairs (Table 1), layout unknown: read them by --mapped and --mapping of build",
        "unknown",
    ),
)


def expected(name: str) -> str:
    """The official counts of the release whose name starts like this one's."""
    return next(s.expected for s in SOURCES if s.name.split()[0].startswith(name.split()[0]))


def table() -> str:
    """The sources as text."""
    blocks = []
    for source in SOURCES:
        fields = dataclasses.asdict(source)
        name = fields.pop("name")
        lines = [f"  {key:9} {value}" for key, value in fields.items()]
        blocks.append("\n".join([name, *lines]))
    return "\n\n".join(blocks)
