"""Builds from and into remote folders, and on Beam: the bytes of the local build."""

import dataclasses
import hashlib
import os

import pytest

from imgtext_tf import filesystem
from imgtext_tf.data import shards
from tfrecords_tools import build, build_captions, build_queries, build_visual_genome, caption_plan

TWO_PROCESSES = ("direct_running_mode=multi_processing", "direct_num_workers=2")


def put(folder, remote):
    filesystem.upload_tree(folder, remote)
    return remote


def digests(folder):
    return {
        name: hashlib.sha256(filesystem.read_bytes(os.path.join(folder, name))).hexdigest()
        for name in filesystem.listdir(folder)
    }


@pytest.fixture
def remote():
    folder = f"ram://builds-{os.getpid()}"
    yield folder
    filesystem.remove_tree(folder)


def relations_of(raw, output_dir, **more):
    return build.Settings(
        output_dir=f"{output_dir}",
        vist_dir=f"{raw}/vist",
        vist_images=f"{raw}/photos",
        karpathy_json=(f"{raw}/karpathy.json",),
        karpathy_images=(f"{raw}/photos",),
        ads_dir=f"{raw}/ads",
        ads_images=f"{raw}/imagenet/train",
        imagenet_dir=f"{raw}/imagenet",
        imagenet_summaries=f"{raw}/imagenet/summaries.jsonl",
        shards=3,
        **more,
    )


def captions_of(raw, output_dir, **more):
    return caption_plan.Settings(
        output_dir=f"{output_dir}",
        karpathy_json=f"{raw}/karpathy.json",
        karpathy_images=f"{raw}/photos",
        **more,
    )


def queries_of(raw, output_dir, **more):
    return build_queries.Settings(
        output_dir=f"{output_dir}", pairs_dir=f"{raw}/pairs", images_dir=f"{raw}/photos", **more
    )


def regions_of(raw, output_dir, **more):
    return build_visual_genome.Settings(
        output_dir=f"{output_dir}",
        vg_dir=f"{raw}/vg",
        images_dir=f"{raw}/vg",
        split_sizes=(4, 2, 2),
        **more,
    )


BUILDS = {
    "relations": (build, relations_of),
    "captions": (build_captions, captions_of),
    "queries": (build_queries, queries_of),
    "regions": (build_visual_genome, regions_of),
}


@pytest.fixture
def all_raw(raw, files):
    """The raw data of every builder."""
    (raw / "pairs").mkdir()
    for number, split in enumerate(("train", "validation", "test")):
        lines = [f"noun {n % 4}\tp{n:02d}.jpg\n" for n in range(number, 30, 3)]
        (raw / "pairs" / f"{split}.tsv").write_text("".join(lines))
    names = [f"{number}.jpg" for number in range(8)]
    for number, name in enumerate(names):
        files.jpeg(raw / "vg" / name, 200 + number)
    url = "https://x.org/VG_100K/{}"
    files.json(
        raw / "vg" / "image_data.json",
        [{"image_id": n, "url": url.format(name)} for n, name in enumerate(names)],
    )
    files.json(
        raw / "vg" / "region_descriptions.json",
        [{"id": n, "regions": [{"region_id": n, "phrase": f"thing {n}"}]} for n in range(8)],
    )
    return raw


@pytest.mark.parametrize("name", BUILDS)
def test_a_remote_build_of_remote_data_has_the_bytes_of_the_local_one(
    name, all_raw, tmp_path, remote
):
    module, settings_of = BUILDS[name]
    report = module.run(settings_of(all_raw, tmp_path / "out"))
    there = put(all_raw, f"{remote}/raw")
    assert module.run(settings_of(there, f"{remote}/out")) == report
    assert digests(f"{remote}/out") == digests(tmp_path / "out")
    assert not [entry for entry in os.listdir() if entry.endswith(":")]
    shards.verify(f"{remote}/out")
    # A stopped build goes on at the shard that is missing.
    lost = next(file for file in filesystem.listdir(f"{remote}/out") if file.endswith(".tfrecord"))
    filesystem.remove(f"{remote}/out/{lost}")
    module.run(settings_of(there, f"{remote}/out"))
    assert digests(f"{remote}/out") == digests(tmp_path / "out")


@pytest.mark.heavy
@pytest.mark.parametrize("name", BUILDS)
def test_beam_with_two_processes_writes_the_bytes_of_the_local_build(name, all_raw, tmp_path):
    pytest.importorskip("apache_beam", reason="Apache Beam is not installed: .[beam] brings it")
    module, settings_of = BUILDS[name]
    more = {} if name == "relations" else {"shard_mb": 1}
    report = module.run(settings_of(all_raw, tmp_path / "here", **more))
    settings = settings_of(
        all_raw, tmp_path / "beam", runner="beam", beam_options=TWO_PROCESSES, **more
    )
    assert module.run(settings) == report
    assert digests(tmp_path / "beam") == digests(tmp_path / "here")
    # What is whole is not written again.
    names = sorted(file for file in os.listdir(tmp_path / "beam") if file.endswith(".tfrecord"))
    times = {file: os.stat(tmp_path / "beam" / file).st_mtime_ns for file in names[1:]}
    os.remove(tmp_path / "beam" / names[0])
    module.run(dataclasses.replace(settings, beam_options=TWO_PROCESSES[:1]))
    assert digests(tmp_path / "beam") == digests(tmp_path / "here")
    assert times == {file: os.stat(tmp_path / "beam" / file).st_mtime_ns for file in names[1:]}
