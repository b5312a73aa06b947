r"""Prepares a user study of which of two images is more like a query, as the paper's.

    python -m experiments.make_study --data_dir=datasets/vg --output_dir=study --backbone=resnet101

Writes `triplets.csv` (a random query and two of its 50 nearest images by globally averaged features
of the backbone), `images/`, and `annotate.html`: a page that a user opens in a browser, without a
server. It shows first the triplets that all users see, then others in an order of the user's own,
and saves `answers_<study>_<user>.csv`, where <study> stands for these triplets. Put these files
into the study's folder, which is then --study_dir of the other scripts.

Reference: Gordo2017, Section 3.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import pathlib
from typing import Any

import numpy as np
from absl import flags, logging

from experiments import (
    common_flags,
    retrieval_data,
    retrieval_flags,
    retrieval_study,
    settings_flags,
)
from experiments.retrieval_flags import Settings
from imgtext_tf import filesystem, runs
from imgtext_tf.data import examples, shape_batches, shards

NAMES = (
    *("data_dir", "backbone", "backbone_weights", "input_range", "longest_side", "seed", "verify"),
    "eval_split",
)
_PAGE = pathlib.Path(__file__).with_name("retrieval_study.html")
_QUESTION = "Which image depicts the scene that is most similar to the scene in the query image?"


@dataclasses.dataclass(frozen=True)
class Study:
    """The numbers of Section 3; the flags' help says what they mean."""

    output_dir: str
    triplets: int = 3000
    common: int = 50
    neighbours: int = 50
    per_user: int = 200


def run(settings: Settings, study: Study) -> list[tuple[str, str, str]]:
    """Draws the triplets and writes the study's folder.

    Returns:
        (query, first, second) ids of each triplet; the common ones come first.

    Raises:
        ValueError: if the split has too few images.
    """
    shards.verify(settings.data_dir, level=settings.verify)
    reader = shards.ShardReader(settings.data_dir, settings.eval_split)
    rows = draw_triplets(
        average_features(settings, reader),
        count=study.triplets,
        neighbours=study.neighbours,
        seed=settings.seed,
    )
    ids = [one.decode("utf-8") for one in reader.index["id"].tolist()]
    filesystem.must_be_local(study.output_dir, "people open the study from a folder")
    folder = pathlib.Path(study.output_dir)
    files = _write_images(folder / "images", reader, np.unique(rows))
    triplets = [tuple(ids[row] for row in triplet) for triplet in rows.tolist()]
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["triplet_id", "query_id", "target_id1", "target_id2"])
    writer.writerows([number, *triplet] for number, triplet in enumerate(triplets))
    content = {
        "id": retrieval_study.digest(table.getvalue().encode()),
        "question": _QUESTION,
        "common": min(study.common, len(rows)),
        "perUser": study.per_user,
        "triplets": [[files[row] for row in triplet] for triplet in rows.tolist()],
    }
    page = _PAGE.read_text(encoding="utf-8").replace("/*STUDY*/null", json.dumps(content))
    for name, text in (("triplets.csv", table.getvalue()), ("annotate.html", page)):
        with runs.atomic_path(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
    logging.info("%d triplets; open %s", len(rows), folder / "annotate.html")
    return triplets


def average_features(settings: Settings, reader: shards.ShardReader) -> np.ndarray:
    """Feature maps averaged over the image, l2-normalised: [N, C] float32."""
    regions = retrieval_data.open_encoder(settings)
    encoder = regions.get_layer("image_encoder")
    found: dict[int, np.ndarray] = {}
    for start in range(0, len(reader), 256):
        rows = range(start, min(start + 256, len(reader)))
        batches = shape_batches.image_batches(
            [reader], [(0, row) for row in rows], longest_side=settings.longest_side, batch_size=32
        )
        for places, images in batches:
            means = np.asarray(encoder.predict_on_batch(images), np.float32).mean(axis=(1, 2))
            found |= {start + place: mean for place, mean in zip(places, means, strict=True)}
    vectors = np.stack([found[row] for row in range(len(reader))])
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def draw_triplets(vectors: np.ndarray, *, count: int, neighbours: int, seed: int) -> np.ndarray:
    """A random query and two of its nearest images, `count` times.

    Args:
        vectors: [N, C] of length 1.
        count: triplets; each query comes once before one comes twice.
        neighbours: how many nearest images the two are drawn from.
        seed: of the draw.

    Returns:
        [count, 3] int64 rows.

    Raises:
        ValueError: if there are not more images than neighbours.

    Reference: Gordo2017, Section 3.
    """
    total = len(vectors)
    if total <= neighbours or neighbours < 2:
        raise ValueError(f"{total} images have no {neighbours} neighbours: use a larger split, or "
                         "--neighbours of 2 or more")  # fmt: skip
    rng = np.random.default_rng([seed, 4])
    passes = [rng.permutation(total) for _ in range(-(-count // total))]
    queries = np.concatenate(passes)[:count]
    triplets = []
    for query in queries:
        scores = vectors @ vectors[query]
        scores[query] = -np.inf
        nearest = np.argsort(-scores, kind="stable")[:neighbours]
        triplets.append([query, *rng.permutation(nearest)[:2]])
    return np.array(triplets, np.int64)


def _write_images(
    folder: pathlib.Path, reader: shards.ShardReader, rows: np.ndarray
) -> dict[int, str]:
    """Row -> path relative to the study's folder."""
    files = {}
    for row in rows.tolist():
        record = examples.from_bytes("image_captions", reader.read(np.array([row]))[0])
        suffix = ".png" if record["image"][:4] == b"\x89PNG" else ".jpg"
        files[row] = f"images/{record['image_id']}{suffix}"
        path = folder / f"{record['image_id']}{suffix}"
        if not path.exists():
            with runs.atomic_path(path) as temporary:
                temporary.write_bytes(record["image"])
    return files


def main(argv: list[str]) -> Any:
    """Fills the settings from the flags and runs them."""
    common_flags.reject_positional(argv)
    run(retrieval_flags.settings_from_flags(NAMES, run_dir=""), settings_flags.read(Study))


if __name__ == "__main__":
    retrieval_flags.define_flags(NAMES)
    flags.DEFINE_string("output_dir", None, "Folder of the study.", required=True)
    flags.DEFINE_integer("triplets", Study.triplets, "Triplets to draw.", lower_bound=1)
    flags.DEFINE_integer("common", Study.common, "The first so many are shown to every user.")
    flags.DEFINE_integer("neighbours", Study.neighbours, "Both images are among so many nearest.")
    flags.DEFINE_integer("per_user", Study.per_user, "Triplets that a user sees, common ones too.")
    flags.mark_flag_as_required("data_dir")
    common_flags.run_main(main)
