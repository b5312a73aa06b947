import keras
import numpy as np
import pytest

from imgtext_tf import layers
from imgtext_tf.models import article_encoder
from tests import reference
from tests.layer_checks import check_layer

RNG = np.random.default_rng(0)
WORDS, DIM, DEPTH = 9, 5, 4
VECTORS = RNG.normal(size=(WORDS, DIM)).astype("float32")
FEATURES = RNG.normal(size=(3, 2, 2, DEPTH)).astype("float32")
# Two sentences, an empty sentence between two, no word at all.
WORD_IDS = np.array(
    [
        [[2, 3, 4], [5, 1, 0], [0, 0, 0]],
        [[6, 7, 0], [0, 0, 0], [8, 0, 0]],
        [[0, 0, 0], [0, 0, 0], [0, 0, 0]],
    ],
    "int32",
)
BATCH = {"image_features": FEATURES, "word_ids": WORD_IDS}


@pytest.fixture(scope="module")
def encoder():
    """A small one; every weight random, biases included, so that none goes untested."""
    model = article_encoder.article_encoder(
        feature_shape=(2, 2, DEPTH),
        vocabulary_size=WORDS,
        word_dim=DIM,
        word_vectors=VECTORS,
        sentence_units=3,
        article_units=6,
        seed=0,
    )
    rng = np.random.default_rng(1)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(scale=0.7, size=weight.shape))
    return model


def by_loops(encoder):
    """The article of each pair, sentence by sentence and word by word."""
    weights = {w.path: np.asarray(w, np.float64) for w in encoder.weights}

    def of(name):
        keys = ("kernel", "recurrent_kernel", "bias")
        return [
            next(v for path, v in weights.items() if path.endswith(f"{name}/lstm_cell/{key}"))
            for key in keys
        ]

    table = next(v for path, v in weights.items() if path.endswith("embedding/table"))
    unknown = next(v for path, v in weights.items() if path.endswith("embedding/unknown"))
    articles = []
    for features, sentences in zip(FEATURES, WORD_IDS, strict=True):
        image = features.reshape(-1, DEPTH).mean(axis=0) @ weights["image/kernel"]
        steps = [image]
        for sentence in sentences:
            words = [unknown if word == 1 else table[word] for word in sentence if word]
            if words:
                steps.append(reference.lstm(words, *of("words"))[-1])
        text = reference.lstm(steps, *of("text"))[-1]
        joined = np.concatenate([text, image])
        hidden = joined @ weights["reconsider_image/kernel"] + weights["reconsider_image/bias"]
        articles.append(np.maximum(hidden, 0))
    return np.array(articles)


def test_the_article_equals_the_loop_form(encoder):
    article = np.asarray(encoder(BATCH, training=False)["article"])
    np.testing.assert_allclose(article, by_loops(encoder), atol=1e-5)
    assert (article > 0).any(axis=1).all()


def test_padding_changes_nothing(encoder):
    wider = np.pad(WORD_IDS, [(0, 0), (0, 2), (0, 3)])
    article = encoder(BATCH, training=False)["article"]
    padded = encoder(BATCH | {"word_ids": wider}, training=False)["article"]
    np.testing.assert_allclose(np.asarray(padded), np.asarray(article), atol=1e-6)


def test_sizes_of_the_published_model():
    model = article_encoder.article_encoder(feature_shape=(8, 8, 2048), vocabulary_size=100)
    assert model.output["article"].shape == (None, 2400)
    assert model.get_layer("image").units == 600
    assert model.get_layer("sentences").encoder.output_shape == (None, 600)
    rates = {layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)}
    assert rates == {0.3}


def test_heads_are_plain_logits(encoder):
    heads = article_encoder.metric_heads(encoder, num_labels={"cmi": 2, "sc": 3})
    article = np.asarray(encoder(BATCH, training=False)["article"])
    hidden = heads.get_layer("hidden")
    seen = np.maximum(article @ np.asarray(hidden.kernel) + np.asarray(hidden.bias), 0)
    outputs = heads(BATCH, training=False)
    for metric in ("cmi", "sc"):
        head = heads.get_layer(metric)
        expected = seen @ np.asarray(head.kernel) + np.asarray(head.bias)
        np.testing.assert_allclose(np.asarray(outputs[metric]), expected, atol=1e-5)
    # With a ReLU on the logits, as published, there would be no negative one.
    assert any((np.asarray(outputs[metric]) < 0).any() for metric in outputs)
    joint = np.asarray(article_encoder.joint_logits(heads)(BATCH, training=False)["logits"])
    sides = [np.asarray(outputs[metric]) for metric in ("cmi", "sc")]
    np.testing.assert_allclose(joint, np.concatenate(sides, axis=1), atol=1e-6)


def test_the_text_decoder(tmp_path):
    article = RNG.normal(size=(2, 6)).astype("float32")
    word_ids = np.array([[[1, 2], [3, 0]], [[4, 5], [0, 0]]], "int32")
    layer, eager = check_layer(
        lambda: layers.TextDecoder(7, sentence_units=3, word_units=4, scale=2.0, seed=1),
        article, word_ids, tmp_path=tmp_path,
    )  # fmt: skip
    of_sentences, of_words = (
        [np.asarray(w) for w in lstm.weights] for lstm in (layer.of_sentences, layer.of_words)
    )
    vectors = np.asarray(layer.vectors)
    for pair in range(2):
        sentences = reference.lstm([article[pair]] * 2, *of_sentences)
        for number, sentence in enumerate(sentences):
            for place, hidden in enumerate(reference.lstm([sentence] * 2, *of_words)):
                cosines = [hidden @ v / np.linalg.norm(hidden) / np.linalg.norm(v) for v in vectors]
                expected = 2 * np.array(cosines)
                np.testing.assert_allclose(eager[pair, number, place], expected, atol=1e-5)


def test_the_decoder_does_not_see_the_words(encoder):
    model = article_encoder.autoencoder(
        encoder, vocabulary_size=WORDS, sentence_units=3, word_units=4, image_size=16
    )
    article = encoder(BATCH, training=False)["article"]
    decoder = model.get_layer("words")
    other = np.where(WORD_IDS > 0, 8, 0).astype("int32")
    logits = [np.asarray(decoder(article, ids, training=False)) for ids in (WORD_IDS, other)]
    np.testing.assert_array_equal(*logits)
    outputs = model(BATCH, training=False)
    assert outputs["words"].shape == (*WORD_IDS.shape, WORDS)
    assert outputs["picture"].shape == (3, 16, 16, 3)
