"""Whole small sources: for each, its files and the reader that opens them."""

import dataclasses
import io
import json
import pathlib
import tempfile
from collections.abc import Callable, Iterable

import numpy as np
import tensorflow as tf

from imgtext_tf import annotation, image_index, prototypes, search
from imgtext_tf.data import associations, embeddings, examples, pairs, precomputed, shards
from imgtext_tf.data.captions import CaptionError
from tfrecords_tools.readers import (
    ads,
    base,
    coco,
    imagenet,
    imagenet_labels,
    jsonl,
    karpathy,
    mapping,
    openimages,
    query_pairs,
    relation_sets,
    vist,
    visual_genome,
    webvision,
)


@dataclasses.dataclass(frozen=True)
class Source:
    """Files (name below a folder -> bytes), and what reads the folder.

    `read` gives items; the paths among them lie below the folder. `errors` are what it may raise.
    """

    files: dict[str, bytes]
    read: Callable[[str], Iterable]
    errors: tuple[type[Exception], ...] = (base.ReaderError,)


def _json(value) -> bytes:
    return json.dumps(value).encode()


def _lines(*rows) -> bytes:
    return b"".join((_json(r) if isinstance(r, dict) else r.encode()) + b"\n" for r in rows)


JPEG = tf.io.encode_jpeg(np.zeros([4, 4, 3], np.uint8)).numpy()


def _karpathy() -> dict[str, bytes]:
    nouns = "cat boat cup lamp".split()
    images = [
        {"filename": f"{n}.jpg", "filepath": "", "split": "train",
         "sentences": [{"raw": f"A {noun}", "sentid": n}]}
        for n, noun in enumerate(nouns)
    ]  # fmt: skip
    return {"k.json": _json({"dataset": "tiny", "images": images})}


def _coco() -> dict[str, bytes]:
    names = "annotations/{}_train2017.json"
    return {
        names.format("captions"): _json({
            "images": [{"id": 1, "file_name": "1.jpg"}, {"id": 2, "file_name": "2.jpg"}],
            "annotations": [{"image_id": 1, "id": 5, "caption": "A cat."},
                            {"image_id": 2, "id": 6, "caption": "A car."}]}),
        names.format("instances"): _json({
            "categories": [{"id": 1, "supercategory": "animal"}, {"id": 2, "supercategory": "car"}],
            "annotations": [{"image_id": 1, "category_id": 1}, {"image_id": 2, "category_id": 2}],
        }),
    }  # fmt: skip


def _vist() -> dict[str, bytes]:
    common = {"album_id": "a", "photo_flickr_id": "p", "original_text": "A dog.", "story_id": "s"}
    story = [[common | {"worker_arranged_photo_order": n}] for n in range(5)]
    return {
        "sis/train.story-in-sequence.json": _json({"annotations": story}),
        "dii/train.description-in-isolation.json": _json({"annotations": [[common]]}),
        "images/p.jpg": JPEG,
    }


def _read_vist(folder):
    yield from vist.complementary(folder, f"{folder}/images")
    yield from vist.anchorage(folder, f"{folder}/images")


def _visual_genome() -> dict[str, bytes]:
    return {
        "image_data.json": _json([{"image_id": n, "url": f"https://x/VG_100K/{n}.jpg"}
                                  for n in (1, 2)]),
        "region_descriptions.json": _json(
            [{"id": n, "regions": [{"region_id": 10 * n, "image_id": n, "phrase": "a dog"}]}
             for n in (1, 2)]),
        "objects.json": _json([{"image_id": 1, "objects": [{"synsets": ["dog.n.01"]}]}]),
        "splits.json": _json({"train": [1], "val": [2], "test": []}),
    }  # fmt: skip


def _read_visual_genome(folder):
    yield from visual_genome.read_images(folder, folder)
    visual_genome.read_splits(f"{folder}/splits.json")


_RELATION = {"id": "7", "image": "7.jpg", "text": ["A dog."], "label": "Anchorage", "group": "g"}


def _mapped(folder, name):
    fields = mapping.parse_mapping(f"{folder}/map.json")
    return mapping.pairs(f"{folder}/{name}", fields, folder)


def _tfrecord() -> bytes:
    def feature(value):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    features = {"i": feature(JPEG), "t": feature(b"A dog."), "l": feature(b"Anchorage")}
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return framed(example.SerializeToString())


def framed(data: bytes) -> bytes:
    """A record as a TFRecord file has it."""
    with tempfile.NamedTemporaryFile() as file:
        with tf.io.TFRecordWriter(file.name) as writer:
            writer.write(data)
        return file.read()


_MAP = _json({"fields": {"image": "i", "text": "t", "label": "l"}, "labels": {"a": "Anchorage"}})


def _webvision() -> dict[str, bytes]:
    return {
        "info/synsets.txt": b"n01 tench, Tinca tinca\nn02 crane\n",
        "info/train_filelist_google.txt": b"google/q0001/a.jpg 0\ngoogle/q0001/b.jpg 1\n",
        "info/val_filelist.txt": b"val1.jpg 1\n",
        "info/queries_google.txt": b"1 tench\n",
        "info/train_meta_list_google.txt": b"google/q0001.json 1\ngoogle/q0001.json 2\n",
        "google/q0001.json": _json([{"title": "A tench", "tags": ["fish"]}, {"title": None}]),
    }


def _read_webvision(folder):
    yield from webvision.read_files(f"{folder}/info", folder)
    yield from query_pairs.webvision_pairs(f"{folder}/info", folder, val_share=0.5)
    query_pairs.webvision_texts(f"{folder}/info")


def _openimages() -> dict[str, bytes]:
    return {
        "class-descriptions.csv": b"LabelName,DisplayName\n/m/1,Dog\n/m/2,Cat\n",
        "classes-trainable.txt": b"/m/1\n/m/2\n",
        "train-annotations-human-imagelabels.csv": (
            b"ImageID,Source,LabelName,Confidence\na,v,/m/1,1\na,v,/m/2,0\nb,v,/m/1,1\n"
        ),
    }


def _read_openimages(folder):
    openimages.read_classes(folder)
    openimages.read_trainable(folder)
    yield from openimages.read_labels(folder)


def _precomputed() -> dict[str, bytes]:
    buffer = io.BytesIO()
    np.save(buffer, np.ones([2, 3], np.float32))
    return {"test_ims.npy": buffer.getvalue(), "test_caps.txt": b"A dog.\nA cat.\n"}


def _read_precomputed(folder):
    found = precomputed.read_precomputed(folder, "test")
    found.read(np.arange(len(found.features)))
    return []


def _vocabulary() -> dict[str, bytes]:
    words = ["<pad>", "<start>", "<end>", "<unk>", "dog"]
    return {"v.json": _json({"word2idx": {w: n for n, w in enumerate(words)}, "idx": 5})}


def _read_vocabulary(folder):
    precomputed.read_scan_vocabulary(f"{folder}/v.json")
    return []


def _ads() -> dict[str, bytes]:
    return {
        "image/Slogans.json": _json({"0/1.jpg": ["Drink it.", "Now."], "0/2.jpg": ["Go."]}),
        "image/Topics.json": _json({"0/1.jpg": ["1"]}),
        "image/Symbols.json": _json({"0/1.jpg": [[1, 2, 3, 4, "beer"]]}),
        "image/QA_Action.json": _json({"0/1.jpg": ["I should drink beer because it is cold"]}),
        "image/Topics_List.txt": '1. "Restaurants" (ABBREVIATION: "food")\n'.encode("utf-16"),
    }


def _imagenet() -> dict[str, bytes]:
    return {
        "train/n01/n01_1.JPEG": JPEG,
        "s.jsonl": _lines({"wnid": "n01", "title": "T", "summary": "A thing."}),
        "LOC_synset_mapping.txt": b"n01 tench, Tinca tinca\n",
        "LOC_val_solution.csv": b"ImageId,PredictionString\nILSVRC_1,n01 1 2 3 4\n",
    }


def _read_imagenet(folder):
    yield from imagenet.illustration(folder, f"{folder}/s.jsonl")
    yield from imagenet_labels.read(folder, folder)[1]


def record(number: int) -> dict:
    """A record of kind "relation"."""
    return {
        "id": f"r{number}", "image": JPEG, "image_id": f"i{number}", "height": 4, "width": 4,
        "sentences": ["A dog."], "cmi": 1, "sc": 1, "stat": "T", "relation": "Illustration",
        "source": "s", "group": f"g{number}",
    }  # fmt: skip


def _data_set() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = shards.shard_path(folder, "relations", "train", 0, 1)
        info = shards.write_shard(path, "relation", map(record, range(2)))
        shards.write_manifest(
            folder, name="relations", record_kind="relation", kind="real", build={},
            splits={"train": [info]},
        )  # fmt: skip
        return {
            p.name: p.read_bytes()
            for p in pathlib.Path(folder).iterdir()
            if p.name not in ("features.json", "dataset_info.json")
        }


def _read_data_set(folder):
    shards.verify(folder)
    reader = shards.ShardReader(folder, "train")
    for data in reader.read(np.arange(len(reader))):
        examples.from_bytes(reader.record_kind, data)
    return []


def _read_shard(folder):
    """Without the manifest's digests: as a stopped build goes on, or a record is inspected."""
    path = f"{folder}/relations-train-00000-of-00001.tfrecord"
    shards.read_info(path)
    shards.read_index(path)
    return []


def _search_index() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        search.build("ivf", ["a", "b", "c"], np.eye(3, dtype=np.float32), cells=2).save(folder)
        files = {p.name: p.read_bytes() for p in pathlib.Path(folder).iterdir()}
        # Without the digests, which would keep damage from what reads the files.
        meta = json.loads(files["index.json"])
        del meta["sha256"]
        return files | {"index.json": _json(meta)}


def _read_search_index(folder):
    search.load(folder).search(np.ones([1, 3], np.float32), 1)
    return []


def _image_index() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        files = {"photos/a.jpg": JPEG, "photos/b.jpg": JPEG + b" "}
        for name, data in files.items():
            path = pathlib.Path(folder, name)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        _read_image_index(folder)
        made = pathlib.Path(folder, "index").iterdir()
        return files | {f"index/{path.name}": path.read_bytes() for path in made}


def _read_image_index(folder):
    def embed(paths):
        return list(range(len(paths))), np.eye(len(paths), 3, dtype=np.float32)

    image_index.update(f"{folder}/index", f"{folder}/photos", embed, made_by={"model": "m"})
    image_index.load(f"{folder}/index")[0].best(np.ones(3), 2)
    return []


def _embeddings() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = embeddings.shard_path(folder, "train", 0, 1)
        info = embeddings.write_shard(path, ["a", "b"], np.eye(2))
        embeddings.write_manifest(folder, build={}, kind="real", infos=[info])
        return {p.name: p.read_bytes() for p in pathlib.Path(folder).iterdir()}


def _read_embeddings(folder):
    list(embeddings.EmbeddingShards(folder))
    return []


def _prototypes() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        made = prototypes.Prototypes(2)
        made.add(np.ones([1, 2]), [["dog"]])
        made.save(f"{folder}/p.npz")
        return {"p.npz": pathlib.Path(folder, "p.npz").read_bytes()}


def _read_prototypes(folder):
    prototypes.Prototypes.load(f"{folder}/p.npz").vectors()
    return []


_VEMPALA = (
    "tweet_id,text_is_represented,image_adds,image_adds_text_repr,image_adds_text_notrepr,"
    "image_notadds_text_repr,image_notadds_text_notrepr\n1,1,1,1,0,0,0\n2,0,0,0,0,0,1\n"
)
_CLUE = "url\tcaption\tVisible\tSubjective\tAction\tStory\tMeta\tIrrelevant\tOther\n"
_CITE = (
    "Index|stim_id|stim_txt|qimg|q2_resp|q3_resp|q5_resp\n"
    "1|a|Cut it.|cake_1_0.jpg|True|False|True\n2|b|Bake it.|cake_2_0.jpg|False|False|False\n"
)
_ANNOTATIONS = "pair,annotator,label\np1,ann,Anchorage\np1,bob,Unsure\n"

SOURCES = {
    "karpathy": Source(_karpathy(), lambda f: karpathy.uncorrelated(f"{f}/k.json", f)),
    "caption n-grams": Source(
        _karpathy(), lambda f: query_pairs.caption_ngrams(f"{f}/k.json").keys() and []
    ),
    "coco": Source(_coco(), coco.uncorrelated),
    "vist": Source(_vist(), _read_vist),
    "ads": Source(_ads(), lambda f: ads.interdependent(f, f)),
    "imagenet": Source(_imagenet(), _read_imagenet),
    "jsonl": Source(
        {"a.jsonl": _lines(_RELATION, _RELATION | {"id": 8, "swaps": [[0, 2, "dog", "cat"]]})},
        lambda f: jsonl.pairs(f"{f}/a.jsonl"),
    ),
    "mapped csv": Source(
        {"map.json": _MAP, "a.csv": b'i,t,l\n1.jpg,"A ""dog"".",a\n2.jpg,A cat.,a\n'},
        lambda f: _mapped(f, "a.csv"),
    ),
    "mapped tfrecord": Source(
        {"map.json": _MAP, "a.tfrecord": _tfrecord()}, lambda f: _mapped(f, "a.tfrecord")
    ),
    "openimages": Source(_openimages(), _read_openimages),
    "webvision": Source(_webvision(), _read_webvision),
    "query pairs": Source(
        {"train.tsv": b"dog\t1.jpg\ncat\t2.jpg\n"}, lambda f: query_pairs.read_pairs(f)
    ),
    "visual genome": Source(_visual_genome(), _read_visual_genome),
    "kruk": Source(
        {"train_split_0.json": _json([{"id": "1", "contextual": "close", "semiotic": "parallel",
                                       "caption": "A dog.", "url": "https://x/1"}])},
        lambda f: relation_sets.kruk(f"{f}/train_split_0.json"),
    ),
    "vempala": Source(
        {"a.csv": _VEMPALA.encode(), "t.tsv": b"1\tA dog.\n2\tA cat.\n"},
        lambda f: relation_sets.vempala(f"{f}/a.csv", f"{f}/t.tsv"),
    ),
    "cite": Source(
        {"data.csv": _CITE.encode()}, lambda f: relation_sets.cite(f"{f}/data.csv")
    ),
    "clue": Source(
        {"a.tsv": (_CLUE + "https://x/1\tA dog.\t1\t0\t0\t0\t0\t0\t0\n").encode()},
        lambda f: relation_sets.clue(f"{f}/a.tsv"),
    ),
    "pairs to predict": Source(
        {"a.jsonl": _lines({"id": 1, "image": "1.jpg", "text": "A dog."},
                           {"image": "b/2.jpg", "text": ["A cat.", "It runs."]})},
        lambda f: pairs.read(f"{f}/a.jsonl"),
        (pairs.PairsError,),
    ),
    "annotations": Source(
        {"a.csv": _ANNOTATIONS.encode()},
        lambda f: annotation.read_annotations(f"{f}/a.csv").pairs and [],
        (annotation.AnnotationError,),
    ),
    "precomputed": Source(_precomputed(), _read_precomputed, (CaptionError,)),
    "scan vocabulary": Source(_vocabulary(), _read_vocabulary, (CaptionError,)),
    "associations": Source(
        {"a.tsv": b"g\tdog\ng\tpuppy\n"},
        lambda f: associations.read_groups(f"{f}/a.tsv") and [],
        (associations.AssociationError,),
    ),
    "data set": Source(_data_set(), _read_data_set, (shards.ShardError, examples.ExampleError)),
    "shard": Source(_data_set(), _read_shard, (shards.ShardError,)),
    "search index": Source(_search_index(), _read_search_index, (search.SearchError,)),
    "image index": Source(
        _image_index(), _read_image_index, (image_index.ImageIndexError, shards.ShardError)
    ),
    "embeddings": Source(_embeddings(), _read_embeddings, (shards.ShardError,)),
    "prototypes": Source(_prototypes(), _read_prototypes, (ValueError,)),
}  # fmt: skip
