"""Damaged run directories, models that hold code, and the command that predicts."""

import json
import pathlib
import shutil
import tempfile
import zipfile

import keras
import numpy as np
import pytest
from hypothesis import strategies as st

from experiments import predict_relations
from imgtext_tf import encoders, layers, predict, relations, runs, untrusted
from imgtext_tf.models import relation_classifier
from tests.fuzz.damage import damaged
from tests.fuzz.test_images import BOMBS, IMAGES
from tests.fuzz.test_readers import run


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run of a classifier of images that was never trained."""
    folder = runs.RunDirectory(tmp_path_factory.mktemp("run") / "run")
    image = keras.Input([8, 8, 3], name="image")
    hidden = keras.layers.GlobalAveragePooling2D()(image)
    logits = keras.layers.Dense(len(relations.RELATIONS), name="logits")(hidden)
    model = keras.Model({"image": image}, {"logits": logits})
    folder.begin(
        {"target": "relation"}, script="experiments.x", module=relation_classifier.__name__
    )
    folder.describe_model(
        labels=relations.RELATIONS,
        vocabulary=["dog", "cat"],
        preprocessing={"image_size": 8, "central_fraction": 1.0},
    )
    folder.save_model(model, "best")
    runs.write_json(folder.calibration_file, {"temperature": 1.5})
    return folder.path


FILES = [
    "settings.json", "labels.json", "preprocessing.json", "calibration.json", "vocabulary.txt",
    "model_best.keras",
]  # fmt: skip


@pytest.mark.parametrize(
    "examples", [pytest.param(2, id="few"), pytest.param(150, id="many", marks=pytest.mark.heavy)]
)
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_run_is_named(run_dir, file, examples):
    content = (run_dir / file).read_bytes()

    def survives(data):
        with tempfile.TemporaryDirectory() as parent:
            copy = pathlib.Path(shutil.copytree(run_dir, pathlib.Path(parent, "run")))
            (copy / file).write_bytes(data.draw(damaged(file, content)))
            try:
                classifier = predict.load(copy)
                classifier(IMAGES["png"], "A dog.")
            except runs.RunError as error:
                assert ".json" in str(error) or file in str(error), error

    run(examples, survives, data=st.data())


def test_files_that_do_not_fit_the_model_are_named(run_dir, tmp_path):
    for number, (file, content, message) in enumerate([
        ("labels.json", ["a"], "1 labels for a model of 8"),
        ("labels.json", [1] * 8, "no list of names"),
        ("preprocessing.json", {"image_size": 10**9, "central_fraction": 1.0}, "not those of"),
        ("preprocessing.json", {"image_size": 8}, "central_fraction"),
        ("preprocessing.json", [], "no JSON object"),
        ("preprocessing.json", {"max_words": 10**30}, "max_words is 1000"),
        ("calibration.json", {"temperature": 0}, "temperature"),
        ("calibration.json", {"temperature": "x"}, "temperature"),
        ("settings.json", {"module": "antigravity", "settings": {}}, "none of the package's"),
        ("settings.json", {"module": "imgtext_tf.nothing", "settings": {}}, "cannot be imported"),
        ("settings.json", {"settings": {}}, "'module'"),
    ]):  # fmt: skip
        copy = pathlib.Path(shutil.copytree(run_dir, tmp_path / str(number)))
        (copy / file).write_text(json.dumps(content))
        with pytest.raises(runs.RunError, match=message):
            predict.load(copy)


def test_a_word_with_white_space_is_named(run_dir, tmp_path):
    copy = pathlib.Path(shutil.copytree(run_dir, tmp_path / "run"))
    (copy / "vocabulary.txt").write_bytes(b"dog\n\rcat\n")
    with pytest.raises(runs.RunError, match=r"vocabulary.txt: '\\rcat' is no word"):
        predict.load(copy)


def test_a_vocabulary_of_another_model_is_named():
    ids = keras.Input([3], dtype="int32")
    model = keras.Model(ids, layers.WordEmbedding(4, 2)(ids))
    assert runs.Run(model, ("dog", "cat"), (), {}, {}).words == ("dog", "cat")
    for words in ((), ("dog",), ("dog", "cat", "sea")):
        with pytest.raises(runs.RunError, match=f"{len(words)} words for a model of 2"):
            _ = runs.Run(model, words, (), {}, {}).words


def test_no_code_of_a_model_file_is_run(tmp_path):
    image = keras.Input([8, 8, 3])
    lambdas = keras.Model(image, keras.layers.Lambda(lambda x: 2 * x)(image))
    lambdas.save(tmp_path / "backbone.keras")
    with pytest.raises(ValueError, match="backbone.keras: holds a Lambda layer"):
        encoders.image_encoder(str(tmp_path / "backbone.keras"), image_size=8)
    lambdas.save(tmp_path / "older.h5")
    with pytest.raises(untrusted.DamagedError, match="older.h5: holds a Lambda layer"):
        untrusted.load_model(tmp_path / "older.h5")


def test_a_model_that_announces_more_weights_than_it_has_is_refused(tmp_path):
    image = keras.Input([8, 8, 3])
    keras.Model(image, keras.layers.Dense(7)(image)).save(tmp_path / "small.keras")
    for number in (10**9, 10**18):
        with (
            zipfile.ZipFile(tmp_path / "small.keras") as small,
            zipfile.ZipFile(tmp_path / "huge.keras", "w") as huge,
        ):
            for name in small.namelist():
                data = small.read(name)
                if name == "config.json":
                    data = data.replace(b'"units": 7', b'"units": %d' % number)
                huge.writestr(name, data)
        with pytest.raises(untrusted.DamagedError, match="huge.keras: .* weights or more"):
            untrusted.load_model(tmp_path / "huge.keras")
    assert untrusted.load_model(tmp_path / "small.keras").count_params() == 28


def test_a_model_that_unpacks_to_a_bomb_or_has_a_wrong_sum_is_refused(run_dir, tmp_path):
    path = tmp_path / "bomb.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", bytes(80_000_000))
    with pytest.raises(untrusted.DamagedError, match="bomb.keras.*unpack to 80000000 bytes"):
        untrusted.load_model(path)
    data = bytearray((run_dir / "model_best.keras").read_bytes())
    data[data.index(b"HDF") + 3000] ^= 1  # among the weights: Keras itself does not see it
    (tmp_path / "flipped.keras").write_bytes(data)
    with pytest.raises(untrusted.DamagedError, match="flipped.keras.*damaged"):
        untrusted.load_model(tmp_path / "flipped.keras")


def test_arrays_that_unpack_to_a_bomb_or_hold_objects_are_refused(tmp_path):
    np.savez_compressed(tmp_path / "bomb.npz", a=np.zeros(100_000))
    np.savez(tmp_path / "objects.npz", a=np.array([{}], object))
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }"
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as archive:
        length = len(header).to_bytes(2, "little")
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + length + header)
    for name in ("bomb.npz", "objects.npz", "huge.npz"):
        with pytest.raises(untrusted.DamagedError, match=name):
            untrusted.load_npz(tmp_path / name)


def test_predictions_count_what_they_cannot_use(run_dir, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "secret.png").write_bytes(IMAGES["png"])
    rows = [{"image": "ok.png", "text": "A dog."}]
    (tmp_path / "photos" / "ok.png").write_bytes(IMAGES["png"])
    for kind, data in BOMBS.items():
        (tmp_path / "photos" / f"{kind}.jpg").write_bytes(data)
        rows.append({"image": f"{kind}.jpg", "text": "A dog."})
    for image in ("../secret.png", str(tmp_path / "secret.png"), "/dev/zero", "x" * 5000, 7, None):
        rows.append({"image": image, "text": "A dog."})
    lines = [json.dumps(row).encode() for row in rows]
    lines += [b"[" * 100_000, b'{"image": "ok.png", "text": NaN}', b'{"image": "ok.png"', b"\xff"]
    path = tmp_path / "photos" / "in.jsonl"
    path.write_bytes(b"\n".join(lines))
    before = {p for p in tmp_path.rglob("*")}
    settings = predict_relations.Settings(
        str(run_dir), str(path), str(tmp_path / "out" / "p.jsonl"), max_bad_records=1.0
    )
    summary = predict_relations.run(settings)
    # The classifier of images does not look at texts, so that a missing one is no fault there.
    assert summary["bad"] == len(lines) - 2
    written = {p for p in tmp_path.rglob("*")} - before
    assert all(p.is_relative_to(tmp_path / "out") for p in written)
    assert len((tmp_path / "out" / "p_bad.tsv").read_text().splitlines()) == summary["bad"]
