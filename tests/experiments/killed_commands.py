"""Every training, builder and indexer as a command of a few seconds, to be killed.

    python -m tests.experiments.killed_commands classic /tmp/data

prints one of them with its data, for `experiments.survive_kills`.
"""

import functools
import pathlib
import shlex
import sys
from collections.abc import Callable

import keras

from experiments import (
    export_embeddings,
    phrase_experiment,
    phrase_flags,
    train_query_encoder,
    train_retrieval,
)
from experiments.retrieval_flags import Settings as RetrievalSettings
from tests.experiments import relation_data_set, retrieval_data_set, shah_data_set
from tests.tfrecords_tools import conftest as raw_sources
from tfrecords_tools import scenes

SMALL = "--backbone=small_cnn --backbone_weights=none --image_size=32"
BACKBONE = {"backbone": "small_cnn", "backbone_weights": "none", "image_size": 32}
STEPS = "--deterministic --max_steps=10 --checkpoint_every=4"
RELATIONS = f"{SMALL} {STEPS} --run_dir={{}}/run --vectors=learnt --batch_size=16"
RETRIEVAL = {
    "input_range": (-1.0, 1.0),
    "longest_side": 32,
    "neighbours": 6,
    "pool_queries": 20,
    "pool_relevant": 3,
    "keep_hardest": 5,
    "mine_every": 4,
    "batch_size": 6,
    "queries": 0,
    "r_grid": (1, 2, 4, 8),
}


def once(make: Callable[[pathlib.Path], None]) -> Callable[[pathlib.Path], pathlib.Path]:
    """Makes a folder of data below a root, unless it is there."""

    @functools.wraps(make)
    def folder(root: pathlib.Path) -> pathlib.Path:
        path = root / make.__name__
        if not path.exists():
            path.mkdir(parents=True)
            make(path)
        return path

    return folder


@once
def relation_data(path):
    relation_data_set.write(path)


@once
def caption_data(path):
    retrieval_data_set.write(path)
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3))
    hidden = keras.layers.Conv2D(8, 5, strides=4, activation="relu")(image)
    keras.Model(image, hidden).save(path / "backbone.keras")


@once
def phrase_data(path):
    shah_data_set.write(path)


@once
def trained_phrases(path):
    data = phrase_data(path.parent)
    settings = phrase_flags.Settings(
        str(data / "queries"), str(path), **BACKBONE, tune_backbone=False, embedding_dim=8,
        num_sampled=4, batch_size=24, max_steps=4, checkpoint_every=4, eval_split="val",
    )  # fmt: skip
    phrase_experiment.run(settings)


@once
def exported_phrases(path):
    run_dir, data = trained_phrases(path.parent), phrase_data(path.parent) / "queries"
    export_embeddings.run(export_embeddings.Settings(str(run_dir), str(data), str(path)))


@once
def trained_text(path):
    texts = str(phrase_data(path.parent) / "texts.tsv")
    settings = train_query_encoder.Settings(
        str(path), texts=(texts,), held_out=0.2, buckets=512, dim=8, gram_dim=8, batch_size=8,
        max_steps=4, checkpoint_every=4,
    )  # fmt: skip
    train_query_encoder.run(settings)


@once
def trained_retrieval(path):
    data = caption_data(path.parent)
    settings = RetrievalSettings(
        data_dir=str(data), run_dir=str(path), backbone=str(data / "backbone.keras"), max_steps=2,
        checkpoint_every=2, **RETRIEVAL,
    )  # fmt: skip
    train_retrieval.run(settings)


@once
def photos(path):
    """More than one part of an index."""
    for number in range(700):
        data, _, _ = retrieval_data_set.picture(number)
        (path / f"{number}.png").write_bytes(data)


@once
def drawn(path):
    scenes.write_scenes(path, scenes=60, seed=0, pixels=64)


@once
def captions(path):
    images = []
    for number in range(90):
        raw_sources.write_jpeg(path / "images" / f"{number}.jpg", number, size=(200, 240))
        texts = [{"raw": f"caption {i} of {number}", "sentid": 5 * number + i} for i in range(5)]
        split = ("train", "train", "val", "test")[number % 4]
        images.append({"filename": f"{number}.jpg", "split": split, "sentences": texts})
    raw_sources.write_json(path / "captions.json", {"dataset": "made up", "images": images})


@once
def genome(path):
    count = 90
    for number in range(count):
        raw_sources.write_jpeg(path / f"{number}.jpg", number, size=(200, 240))
    url = "https://x.org/VG_100K/{}.jpg"
    images = [{"image_id": n, "url": url.format(n)} for n in range(count)]
    regions = [
        {"id": n, "regions": [{"region_id": n, "phrase": f"thing {n}"}]} for n in range(count)
    ]
    raw_sources.write_json(path / "image_data.json", images)
    raw_sources.write_json(path / "region_descriptions.json", regions)


def retrieval_flags(data: pathlib.Path) -> str:
    values = {**RETRIEVAL, "backbone": data / "backbone.keras", "data_dir": data}
    return " ".join(
        f"--{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}"
        for name, value in values.items()
    )


TRAININGS: dict[str, Callable[[pathlib.Path], str]] = {
    "classic": lambda root: (
        f"experiments.train_classic {RELATIONS} --data_dir={relation_data(root)} --gru_units=4 "
        "--fc_units=8 --eval_every=3 --ema=0.9 --learning_rate_schedule=cosine --tune_backbone"
    ),
    # With a cache of feature maps, written by the killed command.
    "metric": lambda root: (
        f"experiments.train_metric --metric=sc {RELATIONS} --data_dir={relation_data(root)} "
        "--inputs=image --fc_units=8 --eval_every=5 --cache_features={}/features"
    ),
    "predecessor": lambda root: (
        f"experiments.train_predecessor {RELATIONS} --data_dir={relation_data(root)} "
        "--sentence_units=4 --article_units=8 --autoencoder_steps=6 --nocrop --nocolour "
        "--eval_every=5"
    ),
    "baselines": lambda root: (
        f"experiments.train_baselines {SMALL} --run_dir={{}}/run --data_dir={relation_data(root)} "
        "--baselines=majority,length,image,tfidf --cache_features={}/features"
    ),
    "matching": lambda root: (
        f"experiments.train_matching {SMALL} --deterministic --run_dir={{}}/run "
        f"--data_dir={caption_data(root)} --cache_features={{}}/features --batch_size=16 "
        "--stages=S1:steps=6;S2:steps=3;S3:steps=6 --embed_dim=16 --word_dim=8 --min_count=1 "
        "--classifier_units=8 --eval_every=2 --checkpoint_every=4 --refit"
    ),
    "retrieval": lambda root: (
        f"experiments.train_retrieval {STEPS} --run_dir={{}}/run --eval_every=5 "
        f"--learning_rate=0.01 {retrieval_flags(caption_data(root))}"
    ),
    "phrases": lambda root: (
        f"experiments.train_phrases {SMALL} {STEPS} --run_dir={{}}/run --notune_backbone "
        f"--data_dir={phrase_data(root) / 'queries'} --cache_features={{}}/features "
        "--embedding_dim=8 --num_sampled=4 --batch_size=24 --eval_every=3 --eval_split=val "
        "--dropout=0.2"
    ),
    "query_encoder": lambda root: (
        f"experiments.train_query_encoder {STEPS} --run_dir={{}}/run --held_out=0.2 --buckets=512 "
        f"--texts={phrase_data(root) / 'texts.tsv'} --dim=8 --gram_dim=8 --batch_size=8 "
        "--eval_every=3 --dropout=0.2"
    ),
    "fusion": lambda root: (
        f"experiments.train_fusion {SMALL} --deterministic --run_dir={{}}/run "
        f"--data_dir={phrase_data(root) / 'labels'} --cache_features={{}}/features "
        f"--generator={trained_phrases(root)} --text_encoder={trained_text(root)} "
        "--central_fraction=1 --variants=visual,multimodal --phrase_sets=all --fc_units=16 "
        "--batch_size=16 --max_steps=5 --folds=2 --eval_split=val"
    ),
    "zero_shot": lambda root: (
        f"experiments.evaluate_zero_shot {SMALL} --deterministic --run_dir={{}}/run "
        f"--data_dir={phrase_data(root) / 'labels'} --cache_features={{}}/features "
        f"--generator={trained_phrases(root)} --batch_size=8 --max_steps=5 --eval_split=val"
    ),
}

BUILDERS: dict[str, Callable[[pathlib.Path], str]] = {
    "scenes": lambda root: (
        "tfrecords_tools.scenes --output_dir={} --scenes=400 --pixels=64 --processes=2"
    ),
    "relations": lambda root: (
        "tfrecords_tools.build --output_dir={} --kind=synthetic --processes=1 --shards=6 "
        f"--coco_dir={drawn(root)}/coco --vist_dir={drawn(root)}/vist "
        f"--vist_images={drawn(root)}/vist/images --ads_dir={drawn(root)}/ads "
        f"--ads_images={drawn(root)}/ads --imagenet_dir={drawn(root)}/imagenet "
        f"--imagenet_summaries={drawn(root)}/imagenet/wikipedia_summaries.jsonl"
    ),
    "captions": lambda root: (
        "tfrecords_tools.build_captions --output_dir={} --shard_mb=1 "
        f"--karpathy_json={captions(root)}/captions.json --karpathy_images={captions(root)}/images"
    ),
    "visual_genome": lambda root: (
        "tfrecords_tools.build_visual_genome --output_dir={} --shard_mb=1 --split_sizes=60,15,15 "
        f"--vg_dir={genome(root)} --images_dir={genome(root)} --processes=2"
    ),
    "queries": lambda root: (
        f"tfrecords_tools.build_queries --output_dir={{}} --pairs_dir={phrase_data(root)}/pairs "
        f"--images_dir={phrase_data(root)}/photos"
    ),
    "labels": lambda root: (
        f"tfrecords_tools.build_labels --output_dir={{}} --webvision_dir={phrase_data(root)}/info "
        f"--images_dir={phrase_data(root)}/photos"
    ),
    "feature_cache": lambda root: (
        f"experiments.cache_features --model=phrases {SMALL} --output_dir={{}}/features "
        f"--data_dir={phrase_data(root) / 'queries'}"
    ),
    "embeddings": lambda root: (
        f"experiments.export_embeddings --run_dir={trained_phrases(root)} --batch_size=8 "
        f"--data_dir={phrase_data(root) / 'queries'} --output_dir={{}}/vectors"
    ),
    "prototypes": lambda root: (
        f"experiments.make_prototypes --run_dir={trained_phrases(root)} "
        f"--data_dir={phrase_data(root) / 'queries'} --embeddings_dir={exported_phrases(root)} "
        "--output_dir={}/prototypes"
    ),
    "image_index": lambda root: (
        f"experiments.search_images --run_dir={trained_retrieval(root)} --index={{}}/index "
        f"--images={photos(root)}"
    ),
}


def command(name: str, root: pathlib.Path) -> tuple[str, ...]:
    """The words of a command, its data made where they are missing."""
    made = (TRAININGS | BUILDERS)[name](root)
    return ("python", "-m", *shlex.split(made))


if __name__ == "__main__":
    print(shlex.join(command(sys.argv[1], pathlib.Path(sys.argv[2]).resolve())))
