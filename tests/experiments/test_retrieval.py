"""Gordo2017's scripts on a made-up data set: training, resuming, searching, explaining."""

import dataclasses
import json

import keras
import numpy as np
import pytest

from experiments import (
    draw_retrieval,
    evaluate_retrieval,
    explain_match,
    fit_whitening,
    retrieval_data,
    retrieval_search,
    retrieval_study,
    search_images,
    train_retrieval,
)
from experiments.retrieval_flags import Settings
from imgtext_tf import image_index, runs
from imgtext_tf.text_similarity import UnknownWordError
from tests.experiments import retrieval_data_set


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captions")
    retrieval_data_set.write(folder)
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3))
    hidden = keras.layers.Conv2D(8, 5, strides=4, activation="relu")(image)
    backbone = folder / "backbone.keras"
    keras.Model(image, hidden).save(backbone)
    return Settings(
        data_dir=str(folder),
        run_dir=str(folder / "run"),
        backbone=str(backbone),
        input_range=(-1.0, 1.0),
        longest_side=32,
        neighbours=6,
        pool_queries=20,
        pool_relevant=3,
        keep_hardest=5,
        mine_every=4,
        batch_size=6,
        learning_rate=0.01,
        max_steps=10,
        checkpoint_every=3,
        eval_every=5,
        queries=0,
        r_grid=(1, 2, 4, 8),
        deterministic=False,
    )


@pytest.fixture(scope="module")
def trained(settings):
    return train_retrieval.run(settings)


def test_training_leaves_both_rows_of_the_table(settings, trained):
    metrics = trained["metrics"]
    assert {"test/ndcg_auc", "test/pcc_auc", "test/image_text/ndcg_auc", "test/ndcg@8"} <= set(
        metrics
    )
    assert 0 < metrics["test/ndcg_auc"] <= 100
    assert trained["steps"] == 10 and trained["dataset"]["kind"] == "synthetic"
    assert trained["queries"] == trained["images"] == 16


def test_an_evaluation_alone_gives_the_same(settings, trained):
    again = train_retrieval.run(dataclasses.replace(settings, eval_only=True, max_steps=1))
    assert again["metrics"] == pytest.approx(trained["metrics"], abs=1e-4)


def test_a_run_that_was_stopped_ends_with_the_same_weights(settings, trained, tmp_path):
    parts = dataclasses.replace(settings, run_dir=str(tmp_path / "parts"))
    # Stopped between two minings: the pool of steps 4 to 8 is read from its file.
    train_retrieval.run(dataclasses.replace(parts, max_steps=6))
    train_retrieval.run(parts)
    whole, resumed = (
        keras.saving.load_model(f"{folder}/model_last.keras", compile=False).get_weights()
        for folder in (settings.run_dir, parts.run_dir)
    )
    for one, other in zip(whole, resumed, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("changes", [
    {"embedding": "visual", "triplet_weight": "similarity", "micro_batches": 2},
    {"embedding": "wsabie", "triplets": "ordered", "dimensions": 5},
], ids=lambda changes: changes["embedding"])  # fmt: skip
def test_other_ways_of_training(settings, tmp_path, changes):
    result = train_retrieval.run(
        dataclasses.replace(settings, run_dir=str(tmp_path), max_steps=4, **changes)
    )
    assert ("test/image_text/ndcg_auc" in result["metrics"]) == (changes["embedding"] != "visual")


@pytest.mark.heavy
def test_the_backbone_is_trained_on_images_of_many_shapes(settings, tmp_path):
    live = dataclasses.replace(
        settings, run_dir=str(tmp_path / "live"), tune_backbone=True, max_steps=2, mine_every=1
    )
    result = train_retrieval.run(live)
    before = keras.saving.load_model(settings.backbone, compile=False).get_weights()[0]
    loaded = runs.load(live.run_dir).model
    after = [weight for weight in loaded.get_weights() if weight.shape == before.shape]
    assert len(after) == 1 and np.abs(after[0] - before).max() > 1e-3
    again = train_retrieval.run(dataclasses.replace(live, eval_only=True))
    assert again["metrics"] == pytest.approx(result["metrics"], abs=1e-3)


def test_rows_without_training(settings, tmp_path):
    results = {
        method: evaluate_retrieval.run(
            dataclasses.replace(settings, run_dir=str(tmp_path / method)), method
        )["metrics"]
        for method in evaluate_retrieval.METHODS
    }
    assert results["text"]["test/ndcg_auc"] == pytest.approx(100)
    assert results["text"]["test/pcc_auc"] == pytest.approx(100, abs=0.1)
    plain = dataclasses.replace(settings, run_dir=str(tmp_path / "plain"), whitening="none")
    results["plain"] = evaluate_retrieval.run(plain, "visual")["metrics"]
    assert results["plain"]["test/ndcg_auc"] != results["visual"]["test/ndcg_auc"]
    assert results["random"]["test/ndcg_auc"] < results["visual"]["test/ndcg_auc"] < 100


def test_figures_of_runs(settings, trained, tmp_path):
    baseline = dataclasses.replace(settings, run_dir=str(tmp_path / "baseline"))
    evaluate_retrieval.run(baseline, "visual")
    named = {"baseline": baseline.run_dir, "joint": settings.run_dir}
    files = draw_retrieval.run(named, str(tmp_path / "figures"), queries=7)
    # Figure 2, and five queries a page.
    assert [file.name for file in files] == ["figure2.png", "figure4_1.png", "figure4_2.png"]
    assert all(file.stat().st_size > 5000 for file in files)


def test_a_wrong_monitor_or_method_is_named(settings, tmp_path):
    with pytest.raises(ValueError, match="--monitor=val/accuracy"):
        train_retrieval.run(dataclasses.replace(settings, monitor="val/accuracy"))
    with pytest.raises(ValueError, match="unknown method"):
        evaluate_retrieval.run(settings, "telepathy")


def test_whitened_vectors_have_the_identity_as_covariance(settings, tmp_path):
    whitening = fit_whitening.run(settings, str(tmp_path / "whitening.npz"))
    rng = np.random.default_rng(0)
    regions = np.abs(rng.normal(size=(400, 3, 6))) @ rng.normal(size=(6, 6)).round(1)
    regions[0, 2] = 0  # padding
    whitening = retrieval_data.fit_whitening(regions.astype("f2"), limit=10**6)
    flat = regions.astype("f2").astype("f8").reshape(-1, 6)
    flat = flat[np.abs(flat).sum(axis=1) > 0]
    flat /= np.linalg.norm(flat, axis=1, keepdims=True)
    white = (flat - whitening["mean"]) @ whitening["projection"]
    np.testing.assert_allclose(white.T @ white / len(white), np.eye(6), atol=2e-2)
    assert (np.diff(whitening["eigenvalues"]) <= 0).all()
    with pytest.raises(ValueError, match="too few"):
        retrieval_data.fit_whitening(np.ones([1, 3, 6], "f2"), limit=10)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(100, 108):
        (folder / f"{number}.png").write_bytes(retrieval_data_set.picture(number)[0])
    (folder / "broken.jpg").write_bytes(b"no image")
    return folder


def test_own_photos_are_indexed_once_and_searched(settings, trained, photos, tmp_path, caplog):
    index = str(tmp_path / "index")
    base = search_images.Settings(index=index, run_dir=settings.run_dir)
    assert search_images.run(dataclasses.replace(base, images=str(photos))) == []
    parts = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "index").glob("part-*")}
    assert len(parts) == 1 and "broken.jpg" in caplog.text
    # Nothing new: no part is written. A new photo: one more part, the old one as it was.
    search_images.run(dataclasses.replace(base, images=str(photos)))
    (photos / "new.png").write_bytes(retrieval_data_set.picture(200)[0])
    (photos / "100.png").unlink()
    search_images.run(dataclasses.replace(base, images=str(photos)))
    now = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "index").glob("part-*")}
    assert len(now) == 2 and parts.items() <= now.items()

    found = search_images.run(
        search_images.Settings(
            index=index,
            image=str(photos / "101.png"),
            text="+red -blue",
            top=3,
            sheet=str(tmp_path / "sheet.png"),
            output=str(tmp_path / "found.jsonl"),
        )
    )
    assert len(found) == 3 and "101.png" not in dict(found) and "100.png" not in dict(found)
    assert [score for _, score in found] == sorted((s for _, s in found), reverse=True)
    assert (tmp_path / "sheet.png").stat().st_size > 1000
    lines = (tmp_path / "found.jsonl").read_text().splitlines()
    assert [json.loads(line)["name"] for line in lines] == [name for name, _ in found]
    # An image finds itself with a score of 1 where it is not left out.
    searcher = retrieval_search.Searcher(settings.run_dir)
    index_now, _ = image_index.load(index)
    best = index_now.best(searcher.embed_image(photos / "new.png"), 1)
    assert best[0][0] == "new.png" and best[0][1] == pytest.approx(1, abs=1e-5)


def test_what_cannot_be_searched_is_named(settings, trained, photos, tmp_path):
    with pytest.raises(image_index.ImageIndexError, match="no index"):
        search_images.run(search_images.Settings(index=str(tmp_path / "none"), text="red"))
    with pytest.raises(ValueError, match="give --images"):
        search_images.run(search_images.Settings(index="x"))
    searcher = retrieval_search.Searcher(settings.run_dir)
    with pytest.raises(UnknownWordError, match="'gren'.*green"):
        searcher.query(None, "+gren")
    with pytest.raises(runs.RunError, match="is missing"):
        search_images.run(
            search_images.Settings(
                index=str(tmp_path / "i"), run_dir=str(tmp_path / "no"), images=str(photos)
            )
        )


def test_words_are_added_and_taken_away():
    found = retrieval_search.parse_modifiers("+horse -beach 2*dog - cat +0.5:red")
    assert found == [(1, "horse"), (-1, "beach"), (2, "dog"), (-1, "cat"), (0.5, "red")]
    with pytest.raises(ValueError, match="no word"):
        retrieval_search.parse_modifiers("+-")
    phi, horse, beach = np.eye(3)
    query = retrieval_search.modified_query(phi, [(2, horse), (-1, beach)])
    np.testing.assert_allclose(query, np.array([1, 2, -1]) / np.sqrt(6), atol=1e-6)
    with pytest.raises(ValueError, match="query is empty"):
        retrieval_search.modified_query(None, [(1, horse), (-1, horse)])


def test_a_word_is_its_row_of_the_projection(settings, trained):
    searcher = retrieval_search.Searcher(settings.run_dir)
    model = keras.saving.load_model(f"{settings.run_dir}/model_best.keras", compile=False)
    (weights,) = model.get_layer("text_projection").get_weights()
    row = weights[searcher.vectorizer.column("red")]
    np.testing.assert_allclose(searcher.embed_word("red"), row / np.linalg.norm(row), atol=1e-5)


def test_a_match_is_explained(settings, trained, photos, tmp_path):
    pair = (str(photos / "101.png"), str(photos / "102.png"))
    (similarity,) = explain_match.run(settings.run_dir, [pair], str(tmp_path / "pair.png"), 3)
    searcher = retrieval_search.Searcher(settings.run_dir)
    phi = [searcher.embed_image(name) for name in pair]
    assert similarity == pytest.approx(float(phi[0] @ phi[1]), abs=1e-5)
    assert (tmp_path / "pair.png").stat().st_size > 1000


def test_a_users_study_is_read_and_joined(settings, trained, tmp_path):
    test_ids = [str(number) for number in range(76, 92)]
    rows = [f"t{n},{test_ids[n]},{test_ids[n + 1]},{test_ids[n + 2]}" for n in range(5)]
    header = "triplet_id,query_id,target_id1,target_id2\n"
    (tmp_path / "triplets.csv").write_text(header + "\n".join(rows) + "\nt9,0,1,2\n")
    answers = [f"u{u},{(u + n) % 4},t{n}" for u in range(3) for n in range(5)]
    (tmp_path / "answers.csv").write_text("user_id,answer,triplet_id\n" + "\n".join(answers) + "\n")
    result = train_retrieval.run(
        dataclasses.replace(settings, eval_only=True, study_dir=str(tmp_path))
    )
    metrics = result["metrics"]
    assert metrics["test/study/triplets"] == 5  # t9 is of train images
    assert 0 <= metrics["test/study/plain"] <= metrics["test/study/normalised"] <= 100
    (tmp_path / "answers.csv").write_text("user_id,answer,triplet_id\nu,7,t1\n")
    with pytest.raises(ValueError, match="line 2: the answer 7"):
        retrieval_study.read_study(str(tmp_path))
