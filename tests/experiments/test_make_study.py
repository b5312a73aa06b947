"""The user study: drawn triplets, its folder and page; and the proxies compared by it."""

import csv
import dataclasses
import gzip
import hashlib
import json
import pathlib
import re
import types

import keras
import numpy as np
import pytest

from experiments import compare_proxies, make_study, retrieval_proxies, retrieval_study
from experiments.retrieval_flags import Settings
from imgtext_tf import report, text_similarity
from tests.experiments import retrieval_data_set


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captions")
    retrieval_data_set.write(folder)
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3))
    hidden = keras.layers.Conv2D(8, 5, strides=4, activation="relu")(image)
    keras.Model(image, hidden).save(folder / "backbone.keras")
    return Settings(
        data_dir=str(folder),
        run_dir=str(folder / "proxies"),
        backbone=str(folder / "backbone.keras"),
        input_range=(-1.0, 1.0),
        longest_side=32,
        queries=0,
    )


def test_both_images_are_among_the_querys_nearest():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(30, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    triplets = make_study.draw_triplets(vectors, count=70, neighbours=5, seed=1)
    assert triplets.shape == (70, 3)
    # Each query once before one comes twice.
    assert sorted(triplets[:30, 0]) == list(range(30))
    for query, first, second in triplets:
        scores = vectors @ vectors[query]
        nearest = [one for one in np.argsort(-scores) if one != query][:5]
        assert first != second and {first, second} <= set(nearest)
    again = make_study.draw_triplets(vectors, count=70, neighbours=5, seed=1)
    np.testing.assert_array_equal(triplets, again)
    with pytest.raises(ValueError, match="larger split"):
        make_study.draw_triplets(vectors, count=1, neighbours=30, seed=1)


@pytest.fixture(scope="module")
def study(settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    numbers = make_study.Study(str(folder), triplets=12, common=4, neighbours=6, per_user=8)
    return folder, make_study.run(settings, numbers)


def test_the_page_holds_the_study(study):
    folder, triplets = study
    with open(folder / "triplets.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["query_id"], row["target_id1"], row["target_id2"]) for row in rows] == triplets
    page = (folder / "annotate.html").read_text()
    content = json.loads(re.search(r"const study = (.*);\n", page)[1])
    assert content["common"] == 4 and content["perUser"] == 8 and len(content["triplets"]) == 12
    for names in content["triplets"]:
        assert all((folder / name).is_file() for name in names)
    assert "most similar to the scene" in content["question"]
    assert "http" not in page  # nothing is fetched
    # Answers to other triplets are not taken for answers to these.
    assert content["id"] == hashlib.sha256((folder / "triplets.csv").read_bytes()).hexdigest()[:12]
    assert 'return "study-" + study.id + "-" + user' in page
    assert page.count("localStorage") == page.count("Item(key()") == 2
    assert '"answers_" + study.id + "_" + user' in page
    # Valid in browsers that read patterns with the flag v, too: a comma would break the table.
    assert r'pattern="[A-Za-z0-9_\-]+"' in page
    assert "if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;" in page


def test_proxies_are_compared(settings, study, tmp_path, caplog):
    folder, triplets = study
    # Users who judge by the captions: the first image if it shares more words with the query.
    sentences = {}
    for number in range(92):
        sentences[str(number)] = set(" ".join(retrieval_data_set.picture(number)[1]).split())
    lines = ["user_id,answer,triplet_id"]
    for user in range(3):
        for place, (query, first, second) in enumerate(triplets):
            shared = [len(sentences[query] & sentences[one]) for one in (first, second)]
            answer = 3 if shared[0] == shared[1] else int(shared[1] > shared[0])
            lines.append(f"u{user},{answer},{place}")
    (folder / "answers.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "vectors.vec").write_text(
        "".join(
            f"{word} {n} {n % 2} 1\n" for n, word in enumerate("red green blue grey top".split())
        )
    )
    captions = {number: list(words)[:2] for number, words in sentences.items()}
    (tmp_path / "generated.json").write_text(json.dumps(captions))
    result = compare_proxies.run(
        dataclasses.replace(settings, study_dir=str(folder)),
        compare_proxies.Proxies(
            vectors=str(tmp_path / "vectors.vec"),
            gaussians=2,
            generated=str(tmp_path / "generated.json"),
            max_triplets=6,
            common=4,
        ),
    )
    metrics = {name.removeprefix("test/study/"): value for name, value in result["metrics"].items()}
    names = {"human", "visual", "objects", "meteor", "fisher", "tfidf", "generated", "random"}
    assert names <= set(metrics)
    assert metrics["human"] == 100  # all users judge alike
    assert metrics["human/users"] == 3
    assert metrics["tfidf"] > 60
    assert metrics["meteor/triplets"] <= 6 and metrics["meteor/synonyms"] in (0, 1)
    # What make_tables looks for is what a result holds.
    tables = pathlib.Path(compare_proxies.__file__).with_name("tables")
    cells = report.read_table(tables / "gordo2017_table1.csv")
    assert {cell.metric for cell in cells} <= set(result["metrics"])
    rows = retrieval_study.agreement_table(result["metrics"], "test").splitlines()
    assert len(rows) == 2 + len(names | ({"human_common"} & set(metrics)))
    assert rows[2].startswith("| Human annotators | 100.0 ± 0.0 | ")
    assert rows[-1].startswith("| Random (x5) | ") and rows[-1].endswith(" | 12 |")


def test_captions_of_a_generator(tmp_path):
    path = tmp_path / "captions.json"
    path.write_text('[{"image_id": 3, "caption": "a dog"}, {"image_id": 3, "caption": "grass"}]')
    assert retrieval_proxies.read_captions(str(path)) == {"3": ["a dog", "grass"]}
    path.write_text('{"3": "a dog", "4": ["x", "y"]}')
    assert retrieval_proxies.read_captions(str(path)) == {"3": ["a dog"], "4": ["x", "y"]}
    path.write_text('[{"id": 3}]')
    with pytest.raises(ValueError, match="expected {id: captions}"):
        retrieval_proxies.read_captions(str(path))


def test_word2vecs_binary_files_are_read(tmp_path):
    path = tmp_path / "word2vec.bin"
    vectors = np.arange(6, dtype="<f4").reshape(2, 3)
    words = (b"dog", b"cat")
    path.write_bytes(
        b"2 3\n" + b"".join(w + b" " + v.tobytes() for w, v in zip(words, vectors, strict=True))
    )
    loaded = retrieval_proxies.load_vectors(str(path))
    np.testing.assert_array_equal(loaded["cat"], [3, 4, 5])
    fisher = text_similarity.FisherVectors(loaded, gaussians=1).learn([["dog cat"]])
    assert fisher.transform([["dog"]]).shape == (1, 6)
    whole = path.read_bytes()
    nan = whole[:-4] + np.array(np.nan, "<f4").tobytes()
    huge = b"1000000000 300" + whole[3:]
    for damaged in (whole[:-1], nan, huge, whole[1:], b"", b"2 3 4\n", b"x y\n"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="word2vec.bin: no vectors of word2vec"):
            retrieval_proxies.load_vectors(str(path))
    packed = tmp_path / "word2vec.bin.gz"
    for damaged in (gzip.compress(whole)[:-12], gzip.compress(huge), whole):
        packed.write_bytes(damaged)
        with pytest.raises(ValueError, match="word2vec.bin.gz: .*damaged"):
            retrieval_proxies.load_vectors(str(packed))


def test_people_are_compared_on_the_triplets_of_the_methods():
    # Triplets 0 and 1: all choose alike. Triplet 2 is of another split: they differ.
    users = ["u", "v", "w"] * 3
    places = np.repeat(np.arange(3), 3)
    answers = np.array([0, 0, 0, 1, 1, 1, 0, 1, 0])
    known = np.array([True, True, False])
    found = compare_proxies.human_agreement("human", users, places, answers, known, 1)
    assert found["study/human"] == 100 and found["study/human/users"] == 3
    every = compare_proxies.human_agreement("human", users, places, answers, known | True, 1)
    assert every["study/human"] < 100
    # Who answered less than three of them has no score.
    assert compare_proxies.human_agreement("human", users, places, answers, known, 3) == {}


def test_generated_captions_of_other_images_are_refused(tmp_path):
    path = tmp_path / "captions.json"
    path.write_text('{"000123": "a dog"}')
    split = types.SimpleNamespace(ids=np.array(["123"]), sentences=[["a"]], reader=None)
    data = types.SimpleNamespace(splits={"train": split, "test": split})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare_proxies.photos, "text_lists", lambda *_: [[]])
        proxies = compare_proxies._proxies(
            Settings("", ""), compare_proxies.Proxies(generated=str(path)), data, None
        )
        with pytest.raises(ValueError, match="such as '000123', theirs .*123"):
            list(proxies)


def test_an_answer_without_a_user_is_named(tmp_path):
    (tmp_path / "triplets.csv").write_text("triplet_id,query_id,target_id1,target_id2\n0,1,2,3\n")
    (tmp_path / "answers.csv").write_text("user,answer,triplet_id\nu,1,0\n")
    with pytest.raises(ValueError, match="answers.csv: no column user_id"):
        retrieval_study.read_study(str(tmp_path))


def test_the_files_of_the_page_are_read_as_they_are(tmp_path):
    header = "triplet_id,query_id,target_id1,target_id2\n"
    (tmp_path / "triplets.csv").write_text(header + "0,1,2,3\n1,4,5,6\n")
    with pytest.raises(FileNotFoundError, match="neither answers.csv nor anon_results.csv"):
        retrieval_study.read_study(tmp_path)
    own = hashlib.sha256((tmp_path / "triplets.csv").read_bytes()).hexdigest()[:12]
    head = "user_id,answer,triplet_id\n"
    (tmp_path / f"answers_{own}_u.csv").write_text(head + "u,1,0\nu,3,1\n")
    (tmp_path / f"answers_{own}_v.csv").write_text("\ufeff" + head + "v,0,1\n", "utf-8")
    triplets, users, places, answers = retrieval_study.read_study(tmp_path)
    assert triplets.tolist() == [["1", "2", "3"], ["4", "5", "6"]] and users == ["u", "u", "v"]
    assert places.tolist() == [0, 1, 1] and answers.tolist() == [1, 3, 0]
    # Answers to triplets of another study would be taken for answers to these.
    other = tmp_path / "answers_0123456789ab_w.csv"
    other.write_text(head + "w,0,0\n")
    with pytest.raises(ValueError, match="answers_0123456789ab_w.csv: answers the study 0123"):
        retrieval_study.read_study(tmp_path)
    # What was joined by hand counts alone.
    (tmp_path / "answers.csv").write_text(head + "x,2,1\n")
    assert retrieval_study.read_study(tmp_path)[1] == ["x"]
    (tmp_path / "triplets.csv").write_text(header + "0,1,2,3\n0,4,5,6\n")
    with pytest.raises(ValueError, match="line 3: the triplet '0' stands twice"):
        retrieval_study.read_study(tmp_path)


def test_only_answered_triplets_are_compared(tmp_path):
    (tmp_path / "triplets.csv").write_text(
        "triplet_id,query_id,target_id1,target_id2\na,1,2,3\nb,2,1,3\nc,3,1,2\nd,9,1,2\n"
    )
    answers = tmp_path / "answers.csv"
    answers.write_text("user_id,answer,triplet_id\nu,0,b\nv,0,b\nu,1,d\n")
    data = types.SimpleNamespace(
        splits={"test": types.SimpleNamespace(ids=np.array(["1", "2", "3"]))}
    )
    settings = Settings("data", "", study_dir=str(tmp_path))
    rows, counts, metrics = compare_proxies._study(settings, data, compare_proxies.Proxies())
    assert rows.tolist() == [[1, 0, 2]] and counts.tolist() == [[2, 0, 0]]
    assert metrics["study/human"] == 100
    answers.write_text("user_id,answer,triplet_id\nu,1,d\n")
    with pytest.raises(ValueError, match="no triplet of split test has an answer"):
        compare_proxies._study(settings, data, compare_proxies.Proxies())
