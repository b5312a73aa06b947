import subprocess
import sys

import keras
import numpy as np
import pytest

from imgtext_tf import encoders
from imgtext_tf.models import relation_classifier as relations
from tests import reference

RNG = np.random.default_rng(0)
WORDS, DIM, DEPTH = 12, 6, 5
VECTORS = RNG.normal(size=(WORDS, DIM)).astype("float32")
NGRAMS = RNG.normal(size=(9, DIM)).astype("float32")
FEATURES = RNG.normal(size=(4, 2, 3, DEPTH)).astype("float32")
# Four pairs: two sentences, an empty sentence between two, no word at all, one word.
WORD_IDS = np.array(
    [
        [[2, 3, 4], [5, 1, 0], [0, 0, 0]],
        [[6, 7, 0], [0, 0, 0], [8, 0, 0]],
        [[0, 0, 0], [0, 0, 0], [0, 0, 0]],
        [[11, 0, 0], [0, 0, 0], [0, 0, 0]],
    ],
    "int32",
)
BATCH = {"image_features": FEATURES, "word_ids": WORD_IDS}


def classifier(**settings):
    """A small one; every weight random, biases included, so that none goes untested."""
    settings = {
        "num_classes": 3,
        "feature_shape": (2, 3, DEPTH),
        "vocabulary_size": WORDS,
        "word_dim": DIM,
        "word_vectors": VECTORS,
        "gru_units": 4,
        "attention_units": 7,
        "fc_units": (8, 4),
    } | settings
    model = relations.relation_classifier(**settings)
    rng = np.random.default_rng(1)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(scale=0.5, size=weight.shape))
    return model


def logits(model, batch=None, **arguments):
    return np.asarray(model(BATCH if batch is None else batch, **arguments)["logits"])


def padded(array, amounts):
    return np.pad(array, [(0, amount) for amount in amounts])


@pytest.mark.parametrize(
    ("mode", "fusion"),
    [
        *((mode, "concat") for mode in encoders.IMAGE_ATTENTION),
        ("context", "product"),
        ("regions", "product"),
    ],
)
def test_equals_the_loop_form(mode, fusion):
    model = classifier(image_attention=mode, fusion=fusion)
    text = model.get_layer("text_encoder")
    words = text.get_layer("sentences").encoder
    weights = {"word_gru": words.get_layer("word_gru").get_weights()}
    weights["sentence_gru"] = text.get_layer("sentence_gru").get_weights()
    for name, parent in (("word_attention", words), ("sentence_attention", text)):
        layer = parent.get_layer(name)
        w, b, *u = layer.of_state.get_weights() + layer.of_context.get_weights()
        weights[name] = (w, b, *layer.score.get_weights(), *u)
    unknown = words.get_layer("embedding").unknown.numpy()
    dense = [model.get_layer(name).get_weights() for name in ("fc1", "fc2", "logits")]
    for pair, expected in enumerate(logits(model)):
        cells = FEATURES[pair].reshape(-1, DEPTH)
        if mode == "none":
            regions = list(cells)
        else:
            kernel, bias = model.get_layer("regions").get_weights()
            regions = [cell @ kernel[0, 0] + bias for cell in cells]
        sentences = [
            [reference.word_vector(word, [], VECTORS, unknown, None) for word in sentence if word]
            for sentence in WORD_IDS[pair]
        ]
        sentences = [sentence for sentence in sentences if sentence]
        text = np.zeros(8)
        if sentences:
            text = reference.text_embedding(
                sentences, regions, mode, weights, product=fusion == "product"
            )
        embeddings = [sum(cells) / len(cells), text]
        if fusion == "product":
            for name, embedding in zip(("image", "text"), list(embeddings), strict=True):
                kernel, bias = model.get_layer(f"{name}_common").get_weights()
                embeddings.append(embedding @ kernel + bias)
            embeddings = [*embeddings[:2], embeddings[2] * embeddings[3]]
        actual = reference.fully_connected(np.concatenate(embeddings), dense)
        np.testing.assert_allclose(expected, actual, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", encoders.IMAGE_ATTENTION)
def test_padding_and_other_pairs_change_nothing(mode):
    model = classifier(image_attention=mode, ngram_vectors=NGRAMS)
    ngram_ids = RNG.integers(0, 9, size=(*WORD_IDS.shape, 2)).astype("int32")
    batch = BATCH | {"ngram_ids": ngram_ids}
    expected = logits(model, batch)
    assert np.isfinite(expected).all()
    longer = batch | {
        "word_ids": padded(WORD_IDS, (0, 2, 4)),
        "ngram_ids": padded(ngram_ids, (0, 2, 4, 1)),
    }
    np.testing.assert_allclose(logits(model, longer), expected, atol=1e-5)
    for pair in range(4):  # Alone: pair 2 makes a batch without any word.
        alone = {name: value[pair : pair + 1] for name, value in batch.items()}
        np.testing.assert_allclose(logits(model, alone)[0], expected[pair], atol=1e-5)
    dense = classifier(image_attention=mode, ngram_vectors=NGRAMS, compact=False)
    dense.set_weights(model.get_weights())
    np.testing.assert_allclose(logits(dense, longer), expected, atol=1e-5)


def test_word_and_ngram_vectors_are_those_given():
    model = classifier(ngram_vectors=NGRAMS)
    embedding = model.get_layer("text_encoder").get_layer("sentences").encoder
    embedding = embedding.get_layer("embedding")
    np.testing.assert_array_equal(embedding.table.numpy(), VECTORS)
    np.testing.assert_array_equal(embedding.ngrams.numpy(), NGRAMS)
    assert not embedding.table.trainable
    for settings in ({"train_vectors": True}, {"word_vectors": None}):
        assert any(
            weight.path.endswith("table") for weight in classifier(**settings).trainable_weights
        )


def compiled(model, **settings):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", {"logits": loss}, **settings)
    return model


@pytest.mark.heavy
def test_compact_learns_like_dense_under_xla():
    labels = np.array([0, 1, 2, 0])
    still = {"image_dropout": 0, "text_dropout": 0}
    compact = compiled(classifier(**still))
    dense = compiled(classifier(compact=False, **still), jit_compile=True)
    losses, dense_losses = (
        [float(model.train_on_batch(BATCH, labels)) for _ in range(3)] for model in (compact, dense)
    )
    assert losses[2] < losses[0]
    np.testing.assert_allclose(dense_losses, losses, rtol=1e-4)
    # A batch without any word leaves the weights finite.
    wordless = BATCH | {"word_ids": np.zeros_like(WORD_IDS)}
    for model in (compact, dense):
        assert np.isfinite(model.train_on_batch(wordless, labels))
        assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_dropout_follows_its_seed():
    results = []
    for seed in (5, 5, 6):
        model = classifier(seed=seed)
        results.append(logits(model, training=True))
    np.testing.assert_array_equal(results[0], results[1])
    assert np.any(results[0] != results[2])


def test_dropout_rates_are_the_papers():
    model = classifier()
    assert model.get_layer("image_embedding").rate == 0.3
    assert model.get_layer("text_embedding").rate == 0.4
    assert rates_of_deviation_2(classifier(image_attention="regions")) == (0, 0)


def rates_of_deviation_2(model):
    words = model.get_layer("text_encoder").get_layer("sentences").encoder
    return words.get_layer("word_dropout").rate, model.get_layer("region_dropout").rate


def test_dropout_of_words_and_regions():
    still = {"image_dropout": 0, "text_dropout": 0, "image_attention": "regions"}
    for name, rates in (("word_dropout", (0.5, 0)), ("region_dropout", (0, 0.5))):
        model = classifier(**still, **{name: 0.5})
        assert rates_of_deviation_2(model) == rates
        assert np.any(logits(model, training=True) != logits(model, training=True))
        np.testing.assert_array_equal(logits(model), logits(classifier(**still)))
    # A channel is dropped everywhere or nowhere.
    ones = np.ones((2, 3, 3, 40), "float32")
    dropped = np.asarray(model.get_layer("region_dropout")(ones, training=True))
    assert np.unique(dropped).tolist() == [0, 2]
    np.testing.assert_array_equal(dropped, dropped[:, :1, :1] * ones)


def test_sizes_of_the_paper():
    model = relations.relation_classifier(
        num_classes=8, feature_shape=(8, 8, 1536), vocabulary_size=100, image_dim=2048
    )
    assert model.get_layer("image_depth").output.shape == (None, 8, 8, 2048)
    assert model.get_layer("regions").output.shape == (None, 8, 8, 300)
    assert model.get_layer("text_encoder").output.shape == (None, 1024)
    assert model.get_layer("fc1").input.shape == (None, 2048 + 1024)
    units = [model.get_layer(f"fc{number}").units for number in (1, 2, 3, 4)]
    assert units == [1024, 512, 256, 128]
    assert {name: value.shape for name, value in model.output.items()} == {"logits": (None, 8)}


def test_mixed_precision_keeps_logits_in_float32():
    expected = classifier()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = classifier()
    finally:
        keras.config.set_dtype_policy("float32")
    model.set_weights(expected.get_weights())
    half = model(BATCH)["logits"]
    assert keras.backend.standardize_dtype(half.dtype) == "float32"
    np.testing.assert_allclose(np.asarray(half), logits(expected), atol=0.02)


def test_baselines_see_one_side_only():
    text = classifier(inputs="text", feature_shape=None)
    assert sorted(text.input) == ["word_ids"]
    assert logits(text, {"word_ids": WORD_IDS}).shape == (4, 3)
    image = classifier(inputs="image", vocabulary_size=None)
    assert sorted(image.input) == ["image_features"]
    assert logits(image, {"image_features": FEATURES}).shape == (4, 3)


def test_live_images_and_cached_features_give_the_same():
    encoder = encoders.image_encoder("small_cnn", weights=None, image_size=32)
    model = classifier(feature_shape=encoder.output_shape[1:])
    live = relations.with_backbone(model, encoder)
    images = RNG.random((4, 32, 32, 3)).astype("float32")
    features = encoder.predict_on_batch(images)
    cached = model.predict_on_batch({"image_features": features, "word_ids": WORD_IDS})
    direct = live.predict_on_batch({"image": images, "word_ids": WORD_IDS})
    np.testing.assert_allclose(direct["logits"], cached["logits"], atol=1e-5)
    assert len(live.trainable_weights) == len(model.trainable_weights)


def test_saved_models_need_only_this_module(tmp_path):
    encoder = encoders.image_encoder("small_cnn", weights=None, image_size=32)
    model = classifier(feature_shape=encoder.output_shape[1:], ngram_vectors=NGRAMS)
    live = relations.with_backbone(model, encoder)
    batch = {
        "image": RNG.random((4, 32, 32, 3)).astype("float32"),
        "word_ids": WORD_IDS,
        "ngram_ids": RNG.integers(0, 9, size=(*WORD_IDS.shape, 2)).astype("int32"),
    }
    live.save(tmp_path / "live.keras")
    np.savez(tmp_path / "batch.npz", **batch)
    script = (
        "import sys, keras, numpy as np, imgtext_tf.models.relation_classifier\n"
        "model = keras.saving.load_model(sys.argv[1] + '/live.keras')\n"  # Safe mode.
        "batch = dict(np.load(sys.argv[1] + '/batch.npz'))\n"
        "np.save(sys.argv[1] + '/logits.npy', np.asarray(model(batch)['logits']))\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    np.testing.assert_allclose(
        np.load(tmp_path / "logits.npy"), logits(live, batch), rtol=1e-6, atol=1e-6
    )


def test_a_class_scores_the_sum_of_its_parts(tmp_path):
    # Two parts for the first class, one for the second, none for the third.
    class_parts = np.array([[1, 0, 0], [1, 1, 0]], "float32")
    model = classifier(class_parts=class_parts)
    parts = keras.Model(model.input, model.get_layer("parts").output)(BATCH).numpy()
    expected = np.stack([parts[:, 0] + parts[:, 1], parts[:, 1], 0 * parts[:, 0]], axis=1)
    np.testing.assert_allclose(logits(model), expected, rtol=1e-5, atol=1e-6)
    before = model.get_layer("logits").kernel.numpy()
    targets = {"logits": np.arange(len(WORD_IDS)) % 3}
    # Eagerly: a graph of recurrent layers takes longer to build than this one step.
    compiled(model, run_eagerly=True).fit(BATCH, targets, verbose=0)
    np.testing.assert_array_equal(model.get_layer("logits").kernel, before)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_array_equal(logits(loaded), logits(model))


def test_word_scores_are_added_to_the_logits(tmp_path):
    model = classifier(word_scores=True)
    parts = [model.get_layer(name).output for name in ("logits", "word_scores")]
    of_pair, of_words = keras.Model(model.input, parts)(BATCH)
    np.testing.assert_allclose(logits(model), of_pair + of_words, rtol=1e-5, atol=1e-6)
    assert np.abs(of_words).max() > 0.1
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_array_equal(logits(loaded), logits(model))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"inputs": "image", "word_scores": True}, "word_scores need a text"),
        ({"class_parts": np.ones((2, 4))}, r"class_parts have shape \(2, 4\): give \[parts, 3\]"),
        ({"inputs": "sound"}, "unknown inputs 'sound'"),
        ({"fusion": "sum"}, "unknown fusion 'sum'"),
        ({"image_attention": "late"}, "unknown image_attention 'late'"),
        ({"fusion": "product", "inputs": "text"}, 'needs inputs="both"'),
        ({"feature_shape": None}, "feature_shape"),
        ({"vocabulary_size": None}, "vocabulary_size"),
        ({"word_dim": 7}, "word_vectors have shape"),
    ],
)
def test_bad_settings_say_so(settings, message):
    with pytest.raises(ValueError, match=message):
        classifier(**settings)


def test_backbone_of_another_shape_says_so():
    encoder = encoders.image_encoder("small_cnn", weights=None, image_size=32)
    with pytest.raises(ValueError, match="feature_shape=encoder.output_shape"):
        relations.with_backbone(classifier(), encoder)
    with pytest.raises(ValueError, match="no image_features"):
        relations.with_backbone(classifier(inputs="text"), encoder)
