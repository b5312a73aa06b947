import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from imgtext_tf import checkpoints, encoders, losses, runs, training
from imgtext_tf.models import sentence_matching
from imgtext_tf.models.sentence_matching import SentenceMatching
from imgtext_tf.stages import Stage
from tests import reference

DIM, WORDS = 6, 11
JOINT = Stage(
    "S3",
    train=("image", "text", "classifier"),
    losses=("triplet", "modality", "adversarial"),
    steps=4,
    learning_rate=0.01,
    classifier_learning_rate=0.01,
    ramp=False,
)
TRIPLET = Stage("S1", steps=4, learning_rate=0.01)
CLASSIFIER = Stage(
    "S2", train=("classifier",), losses=("modality",), steps=4, classifier_learning_rate=0.01
)


def make_model(seed=0, **text):
    training.set_seed(seed)
    return SentenceMatching(
        sentence_matching.image_branch((5,), embed_dim=DIM, dropout=0.1, seed=seed),
        sentence_matching.text_branch(WORDS, embed_dim=DIM, word_dim=4, seed=seed, **text),
        sentence_matching.modality_classifier(DIM, units=(8,), seed=seed),
    )


def make_batch(seed=0, size=8):
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, WORDS, (size, 5)).astype("int32")
    ids[rng.random(ids.shape) < 0.2] = 0
    return {
        "image_features": rng.normal(size=(size, 5)).astype("float32"),
        "caption_ids": np.sort(ids, axis=1)[:, ::-1].copy(),
        "image_row": np.arange(size, dtype="int32") // 2,
    }


def begin(model, stage):
    model.begin_stage(stage)
    model.run_eagerly = True  # tracing takes longer than these few steps


def train(model, stage, steps=3):
    begin(model, stage)
    for seed in range(steps):
        logs = model.train_on_batch(make_batch(seed), return_dict=True)
    return logs


def weights(model):
    parts = {"image": model.image_branch, "text": model.text_branch, "classifier": model.classifier}
    return {name: [w.copy() for w in part.get_weights()] for name, part in parts.items()}


def changed(before, after):
    return {
        name: any((a != b).any() for a, b in zip(before[name], after[name], strict=True))
        for name in before
    }


def test_branches_equal_the_loop_form():
    model, batch = make_model(), make_batch()
    output = {name: np.asarray(value) for name, value in model(batch).items()}
    kernel, bias = model.image_branch.get_layer("image_linear").get_weights()
    table, unknown = model.text_branch.get_layer("embedding").get_weights()
    gru = model.text_branch.get_layer("gru1").get_weights()
    for row in range(8):
        features = batch["image_features"][row]
        image = features / np.linalg.norm(features) @ kernel + bias
        np.testing.assert_allclose(
            output["image_embedding"][row], image / np.linalg.norm(image), atol=1e-5
        )
        ids = [number for number in batch["caption_ids"][row] if number]
        words = [unknown if number == 1 else table[number] for number in ids]
        state = reference.gru(words, *gru)[-1]
        np.testing.assert_allclose(
            output["text_embedding"][row], state / np.linalg.norm(state), atol=1e-5
        )
    hidden, logit = model.classifier.get_weights()[:2], model.classifier.get_weights()[2:]
    both = np.concatenate([output["image_embedding"], output["text_embedding"]])
    expected = np.maximum(both @ hidden[0] + hidden[1], 0) @ logit[0] + logit[1]
    np.testing.assert_allclose(output["modality_logits"], expected[:, 0], atol=1e-5)


def test_sizes_of_vsepp():
    images = sentence_matching.image_branch((2048,))
    texts = sentence_matching.text_branch(100)
    classifier = sentence_matching.modality_classifier()
    assert images.output_shape == texts.output_shape == (None, 1024)
    assert texts.get_layer("embedding").table.shape == (100, 300)
    assert abs(texts.get_layer("embedding").table.numpy()).max() <= 0.1
    shapes = [tuple(weight.shape) for weight in classifier.weights if "seed" not in weight.path]
    assert shapes == [(1024, 512), (512,), (512, 1), (1,)]
    assert Stage("S1") == dataclasses.replace(
        Stage("S1"), margin=0.2, clip=2.0, learning_rate=2e-4, mining="hardest"
    )


@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 5)])
@pytest.mark.parametrize("pooling", ["mean", "max", "attention"])
def test_regions_are_pooled(shape, pooling):
    branch = sentence_matching.image_branch(shape, embed_dim=DIM, pooling=pooling, hidden=7)
    values = np.random.default_rng(0).normal(size=(2, *shape)).astype("float32")
    output = np.asarray(branch({"image_features": values}))
    np.testing.assert_allclose(np.linalg.norm(output, axis=1), 1, atol=1e-5)
    if pooling != "attention":  # One region says as much as many of its kind.
        same = np.broadcast_to(values.reshape(2, -1, 5)[:, :1], (2, 6, 5)).reshape(2, 2, 3, 5)
        same = same if len(shape) == 3 else same[:, 0]
        other = np.asarray(branch({"image_features": same}))
        one = np.asarray(branch({"image_features": same[:, ::-1]}))
        np.testing.assert_allclose(other, one, atol=1e-5)


def test_an_image_may_keep_its_length():
    values = np.random.default_rng(0).normal(size=(3, 5)).astype("float32")
    branch = sentence_matching.image_branch((5,), embed_dim=DIM, unit=False)
    kernel, bias = branch.get_layer("image_linear").get_weights()
    expected = values / np.linalg.norm(values, axis=1, keepdims=True) @ kernel + bias
    np.testing.assert_allclose(np.asarray(branch({"image_features": values})), expected, atol=1e-6)


@pytest.mark.parametrize(
    "text", [{}, {"bidirectional": True}, {"gru_layers": 2}, {"pooling": "max"},
             {"pooling": "mean", "bidirectional": True, "gru_layers": 2}]
)  # fmt: skip
def test_padding_never_changes_an_embedding(text):
    model, batch = make_model(**text), make_batch()
    ids = batch["caption_ids"]
    alone = model.predict_texts({"caption_ids": ids[3:4][:, ids[3] != 0]})
    padded = model.predict_texts({"caption_ids": np.pad(ids, [(0, 0), (0, 4)])})
    np.testing.assert_allclose(alone[0], padded[3], atol=1e-6)


def test_an_empty_caption_and_an_empty_image_give_no_nan():
    model, batch = make_model(), make_batch()
    batch["caption_ids"][0] = 0
    batch["image_features"][0] = 0
    history = {}
    for stage in (TRIPLET, JOINT):
        begin(model, stage)
        history = model.train_on_batch(batch, return_dict=True)
        assert np.isfinite(list(history.values())).all()
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_s1_leaves_the_classifier_untouched():
    model = make_model()
    before = weights(model)
    train(model, TRIPLET)
    assert changed(before, weights(model)) == {"image": True, "text": True, "classifier": False}


def test_s2_leaves_the_encoders_bit_identical():
    model = make_model()
    train(model, TRIPLET)
    before = weights(model)
    history = train(model, CLASSIFIER)
    assert changed(before, weights(model)) == {"image": False, "text": False, "classifier": True}
    assert history["triplet_loss"] == 0.0 and history["modality_loss"] > 0


@pytest.mark.parametrize("mode", ["reversal", "alternating"])
def test_s3_moves_both(mode):
    model = make_model()
    before = weights(model)
    train(model, dataclasses.replace(JOINT, mode=mode))
    assert changed(before, weights(model)) == {"image": True, "text": True, "classifier": True}


@pytest.mark.parametrize("mode", ["reversal", "alternating"])
def test_lambda_zero_equals_the_baseline_bit_for_bit(mode):
    base, joint = make_model(), make_model()
    train(base, TRIPLET)
    train(joint, dataclasses.replace(JOINT, strength=0.0, mode=mode))
    difference = changed(weights(base), weights(joint))
    assert difference == {"image": False, "text": False, "classifier": True}


@pytest.mark.heavy  # traces each stage; the tests above run eagerly and in float32
@pytest.mark.parametrize("mode", ["reversal", "alternating"])
def test_the_stages_keep_their_promises_in_graphs_of_sixteen_bits(mode):
    def run(model, stage):
        model.begin_stage(stage)
        assert not (model.run_eagerly or tf.config.functions_run_eagerly())
        before = weights(model)
        for seed in range(3):
            model.train_on_batch(make_batch(seed), return_dict=True)
        return changed(before, weights(model))

    joint = dataclasses.replace(JOINT, mode=mode)
    training.set_precision(True, scaled=False)
    try:
        model, base, without = make_model(), make_model(), make_model()
        assert model.text_branch.get_layer("gru1").compute_dtype == "bfloat16"
        assert run(model, TRIPLET) == {"image": True, "text": True, "classifier": False}
        assert run(model, CLASSIFIER) == {"image": False, "text": False, "classifier": True}
        assert run(model, joint) == {"image": True, "text": True, "classifier": True}
        run(base, TRIPLET)
        run(without, dataclasses.replace(joint, strength=0.0))
    finally:
        training.set_precision(False)
    difference = changed(weights(base), weights(without))
    assert difference == {"image": False, "text": False, "classifier": True}


@pytest.mark.parametrize(
    ("mode", "target"),
    [
        ("reversal", "reverse"),
        ("alternating", "flip"),
        pytest.param("alternating", "reverse", marks=pytest.mark.heavy),
        pytest.param("alternating", "uniform", marks=pytest.mark.heavy),
    ],
)
def test_without_triplets_the_encoders_move_against_the_classifier(mode, target):
    stage = dataclasses.replace(
        JOINT, losses=("modality", "adversarial"), mode=mode, target=target, strength=100.0,
        classifier_learning_rate=1e-9, learning_rate=1e-3, clip=0.0,
    )  # fmt: skip
    model, batch = make_model(), make_batch()
    # A classifier that tells something: else there is nothing to move against.
    train(model, dataclasses.replace(CLASSIFIER, classifier_learning_rate=0.05), steps=30)
    is_image = np.repeat([1.0, 0.0], 8).astype("float32")

    def loss():
        logits = model(batch)["modality_logits"]
        if target == "uniform":
            return -float(losses.adversarial_loss(logits, is_image, target=target))
        return float(losses.modality_loss(logits, is_image))

    before = loss()
    begin(model, stage)
    for _ in range(10):
        model.train_on_batch(batch, return_dict=True)
    assert loss() > before


@pytest.mark.parametrize("mode", ["reversal", "alternating"])
def test_the_encoders_get_minus_lambda_times_the_classifiers_gradient(mode):
    training.set_seed(0)
    model, batch = (
        SentenceMatching(
            sentence_matching.image_branch((5,), embed_dim=DIM),
            sentence_matching.text_branch(WORDS, embed_dim=DIM, word_dim=4),
            sentence_matching.modality_classifier(DIM, units=(8,), dropout=0.0),
        ),
        make_batch(),
    )
    train(model, dataclasses.replace(CLASSIFIER, classifier_learning_rate=0.05), steps=8)
    only_game = {"losses": ("modality", "adversarial"), "clip": 0.0, "mode": mode}
    begin(model, dataclasses.replace(JOINT, **only_game, strength=3.0))
    model.classifier_optimizer.learning_rate = 0.0  # the alternating mode takes its step first
    is_image = np.repeat([1.0, 0.0], 8).astype("float32")
    with tf.GradientTape() as tape:
        loss = losses.modality_loss(model(batch)["modality_logits"], is_image)
    variables = model.image_branch.trainable_variables + model.text_branch.trainable_variables
    expected = tape.gradient(loss, variables)
    seen = []
    model.optimizer.apply = lambda gradients, variables: seen.extend(gradients)
    model.train_on_batch(batch)
    assert len(seen) == len(expected)
    for gradient, of_classifier in zip(seen, expected, strict=True):
        assert np.abs(gradient).max() > 0
        np.testing.assert_allclose(
            gradient, -3 * tf.convert_to_tensor(of_classifier), rtol=1e-4, atol=1e-7
        )


def test_the_ramp_sets_lambda_and_the_warm_up_takes_all_negatives():
    model, batch = make_model(), make_batch()
    begin(model, dataclasses.replace(JOINT, ramp=True, strength=2.0, all_negatives_steps=1))
    every = losses.bidirectional_hinge(model.scores(*_embeddings(model, batch)), mining="all")
    first = model.train_on_batch(batch, return_dict=True)
    assert first["strength"] == 0.0
    # Dropout on the image features, so only about the same.
    assert first["triplet_loss"] == pytest.approx(float(every), rel=0.3)
    model.reset_metrics()
    second = model.train_on_batch(batch, return_dict=True)
    assert second["strength"] == pytest.approx(2 * (2 / (1 + np.exp(-2.5)) - 1), rel=1e-5)
    assert second["triplet_loss"] < 0.7 * first["triplet_loss"]


def _embeddings(model, batch):
    output = model(batch)
    return output["image_embedding"], output["text_embedding"]


def make_batches(start, count):
    one = make_batch()

    def at(step):
        values = tf.numpy_function(
            lambda s: list(make_batch(int(s)).values()),
            [step],
            [value.dtype for value in one.values()],
        )
        return {
            name: tf.ensure_shape(value, one[name].shape)
            for name, value in zip(one, values, strict=True)
        }

    return tf.data.Dataset.range(start, start + count).map(at)


def test_gradients_of_words_are_summed_before_they_are_clipped():
    """The norm of a word's gradient is that of its sum over the batch, not over its places."""
    model, batch = make_model(), make_batch()
    begin(model, dataclasses.replace(TRIPLET, clip=1e-3))
    batch["caption_ids"][:] = 5  # one word, 40 times
    table = model.text_branch.get_layer("embedding").table
    seen = []
    apply = model.optimizer.apply
    model.optimizer.apply = lambda gradients, variables: (
        seen.append(dict(zip([v.path for v in variables], gradients, strict=True))),
        apply(gradients, variables),
    )
    model.train_on_batch(batch)
    gradient = seen[0][table.path]
    assert tuple(gradient.shape) == tuple(table.shape) and not hasattr(gradient, "indices")


def test_a_stage_resumes_where_it_stopped(tmp_path):
    stage = dataclasses.replace(JOINT, mode="alternating", ramp=True, steps=6)

    def fit(folder, steps):
        model = make_model()
        begin(model, stage)
        training.fit(
            model, make_batches, run=runs.RunDirectory(tmp_path / folder), max_steps=steps,
            checkpoint_every=2, seed=0,
        )  # fmt: skip
        return model

    whole = fit("whole", 6)
    fit("parts", 3)
    resumed = fit("parts", 6)
    for one, two in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert int(resumed.classifier_optimizer.iterations) == 6


def test_a_frozen_cnn_is_not_trained_in_silence():
    stage = Stage("S4", train=("image", "text", "cnn"))
    frozen, free = (
        encoders.image_encoder("small_cnn", weights=None, image_size=32, trainable=trainable)
        for trainable in (False, True)
    )
    with pytest.raises(ValueError, match="S4 trains the CNN, but it is frozen"):
        sentence_matching.with_backbone(make_model(), frozen).begin_stage(stage)
    live = sentence_matching.with_backbone(make_model(), free)
    live.begin_stage(stage)
    names = {id(variable) for variable in checkpoints.variables_by_name(live).values()}
    assert {id(variable) for variable in free.trainable_variables} <= names


def test_save_load_and_a_backbone_in_front(tmp_path):
    model, batch = make_model(), make_batch()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    for one, two in zip(_embeddings(model, batch), _embeddings(loaded, batch), strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(two))
    image = keras.Input((4, 4, 3))
    hidden = keras.layers.BatchNormalization()(keras.layers.Conv2D(5, 1)(image))
    backbone = keras.Model(image, keras.layers.GlobalAveragePooling2D()(hidden))
    live = sentence_matching.with_backbone(model, backbone)
    pixels = np.random.default_rng(0).random((8, 4, 4, 3)).astype("float32")
    seen = batch | {"image": pixels, "image_features": np.asarray(backbone(pixels))}
    np.testing.assert_allclose(live.predict_images(seen), model.predict_images(seen), atol=1e-6)
    statistics = [w.numpy() for w in backbone.layers[2].non_trainable_weights]
    before = backbone.get_weights()[0].copy()
    train_cnn = Stage("S4", train=("image", "text", "cnn"), steps=2, learning_rate=0.01)
    begin(live, train_cnn)
    live.train_on_batch(seen)
    assert (backbone.get_weights()[0] != before).any()
    for old, new in zip(statistics, backbone.layers[2].non_trainable_weights, strict=True):
        np.testing.assert_array_equal(old, new)
    live.save(tmp_path / "live.keras")
    again = keras.saving.load_model(tmp_path / "live.keras", compile=False)
    np.testing.assert_allclose(again.predict_images(seen), live.predict_images(seen), atol=1e-6)
    with pytest.raises(ValueError, match="live pixels"):
        model.begin_stage(train_cnn)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": ("picture",)}, "use image, text"),
        ({"losses": ()}, "losses"),
        ({"losses": ("modality",), "train": ("image", "classifier")}, "without a loss"),
        ({"losses": ("triplet",)}, 'trains by the loss "modality"'),
        ({"target": "flip"}, 'mode "reversal" needs target "reverse"'),
        ({"steps": 0}, "1 or more"),
    ],
)
def test_stages_that_cannot_be(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(JOINT, **change)
