import keras
import numpy as np
import pytest

from imgtext_tf import layers
from tests import reference
from tests.layer_checks import check_layer

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape).astype("float32")


def test_masked_softmax_by_hand():
    # e^0 and e^ln 3 over the two real places: 1/4 and 3/4; the padded 1000 counts for nothing.
    scores = np.array([[0, np.log(3), 1000], [5, 5, 5]], "float32")
    real = np.array([[True, True, False], [False, False, False]])
    np.testing.assert_allclose(
        layers.masked_softmax(scores, real), [[0.25, 0.75, 0], [0, 0, 0]], atol=1e-6
    )


def test_word_embedding(tmp_path):
    vectors = normal(6, 4)
    word_ids = np.array([[2, 1, 0], [5, 5, 1]], "int32")
    layer, output = check_layer(
        lambda: layers.WordEmbedding.of(vectors, train_table=True), word_ids, tmp_path=tmp_path
    )
    for pair, ids in enumerate(word_ids):
        for place, word_id in enumerate(ids):
            expected = vectors[word_id] if word_id else np.zeros(4)
            np.testing.assert_allclose(output[pair, place], expected, atol=1e-6)


def test_word_embedding_of_unknown_words_by_their_ngrams(tmp_path):
    vectors, ngrams = normal(6, 4), normal(9, 4)
    word_ids = np.array([[2, 1], [1, 0]], "int32")
    # A known word's n-grams are not used; an unknown word without n-grams has its own vector.
    ngram_ids = np.array([[[4, 0, 0], [3, 8, 0]], [[0, 0, 0], [0, 0, 0]]], "int32")
    layer, output = check_layer(
        lambda: layers.WordEmbedding.of(vectors, ngrams), [word_ids, ngram_ids], tmp_path=tmp_path
    )
    unknown = layer.unknown.numpy()
    for word_id, grams, actual in zip(
        word_ids.ravel(), ngram_ids.reshape(-1, 3), output.reshape(-1, 4), strict=True
    ):
        expected = reference.word_vector(word_id, grams, vectors, unknown, ngrams)
        np.testing.assert_allclose(actual, expected if word_id else 0 * unknown, atol=1e-6)


def test_word_embedding_trains_the_unknown_vector_only_unless_told():
    frozen = layers.WordEmbedding.of(normal(6, 4), normal(9, 4))
    assert [weight.name for weight in frozen.trainable_weights] == ["unknown"]
    trained = layers.WordEmbedding.of(normal(6, 4), normal(9, 4), train_table=True)
    assert [weight.name for weight in trained.trainable_weights] == ["table", "unknown"]


def test_word_embedding_starts_the_unknown_vector_at_row_one():
    vectors = normal(6, 4)
    np.testing.assert_array_equal(layers.WordEmbedding.of(vectors).unknown.numpy(), vectors[1])


def test_word_embedding_refuses_ngrams_of_another_dimension():
    with pytest.raises(ValueError, match="shape"):
        layers.WordEmbedding.of(normal(6, 4), normal(9, 3))


@pytest.mark.parametrize("with_context", [False, True])
def test_attention_pooling(tmp_path, with_context):
    states, context = normal(3, 5, 4), normal(3, 6)
    real = np.array([[1, 1, 1, 0, 0], [0, 1, 0, 0, 1], [1, 1, 1, 1, 1]], bool)
    arguments = (states, real, context) if with_context else (states, real)
    layer, output = check_layer(lambda: layers.AttentionPooling(7), *arguments, tmp_path=tmp_path)
    w, b = layer.of_state.get_weights()
    (v,) = layer.score.get_weights()
    u = layer.of_context.get_weights()[0] if with_context else None
    for pair in range(3):
        asked = context[pair] if with_context else None
        expected = reference.attention_pooling(states[pair][real[pair]], w, b, v, u, asked)
        np.testing.assert_allclose(output[pair], expected, atol=1e-5)


def test_attention_pooling_of_nothing_is_zero():
    output = layers.AttentionPooling(7)(normal(2, 3, 4), np.zeros((2, 3), bool))
    np.testing.assert_array_equal(np.asarray(output), np.zeros((2, 4)))


@pytest.mark.parametrize("product", [False, True])
def test_region_attention(tmp_path, product):
    words, regions = normal(2, 3, 4), normal(2, 5, 4)
    _, output = check_layer(
        lambda: layers.RegionAttention(product=product), words, regions, tmp_path=tmp_path
    )
    for pair in range(2):
        expected = reference.region_attention(words[pair], regions[pair], product)
        np.testing.assert_allclose(output[pair], expected, atol=1e-5)


def sum_of_words():
    """A word encoder whose result is known: the sum of the ids plus the context, times a weight."""
    words = {
        "word_ids": keras.Input((None,), dtype="int32", name="word_ids"),
        "context": keras.Input((1,), name="context"),
    }
    total = keras.ops.sum(words["word_ids"], axis=-1, keepdims=True)
    total = keras.layers.Add()([keras.ops.cast(total, words["context"].dtype), words["context"]])
    scaled = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")(total)
    return keras.Model(words, scaled)


@pytest.mark.parametrize("compact", [True, False])
def test_sentence_encoder(tmp_path, compact):
    word_ids = np.array([[[2, 3], [0, 0], [4, 0]], [[0, 0], [0, 0], [0, 0]]], "int32")
    inputs = {"word_ids": word_ids, "context": np.array([[10], [20]], "float32")}
    _, output = check_layer(
        lambda: layers.SentenceEncoder(sum_of_words(), compact=compact), inputs, tmp_path=tmp_path
    )
    # Each real sentence's sum plus its pair's context; padding gives 0, not the context.
    np.testing.assert_allclose(output[..., 0], [[15, 0, 14], [0, 0, 0]])


def test_sentence_encoder_runs_on_real_sentences_only():
    seen = []

    @keras.saving.register_keras_serializable(package="test")
    class Spy(keras.layers.Layer):
        def call(self, word_ids):
            seen.append(word_ids.shape[0])
            return keras.ops.cast(word_ids, "float32")

    words = keras.Input((2,), dtype="int32", name="word_ids")
    encoder = keras.Model({"word_ids": words}, Spy()(words))
    word_ids = np.array([[[2, 3], [0, 0], [4, 0]], [[0, 0], [0, 0], [0, 0]]], "int32")
    for compact, expected in ((True, 2), (False, 6)):
        layer = layers.SentenceEncoder(encoder, compact=compact)
        layer({"word_ids": word_ids})
        assert seen[-1] == expected


def test_sentence_encoder_of_a_batch_without_words():
    inputs = {"word_ids": np.zeros((2, 3, 4), "int32"), "context": np.ones((2, 1), "float32")}
    output = layers.SentenceEncoder(sum_of_words())(inputs)
    np.testing.assert_array_equal(np.asarray(output), np.zeros((2, 3, 1)))


def small_backbone():
    image = keras.Input((4, 4, 3))
    hidden = keras.layers.Conv2D(2, 1)(image)
    hidden = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization()(hidden))
    return keras.Model(image, hidden)


def test_frozen(tmp_path):
    check_layer(lambda: layers.Frozen(small_backbone()), normal(2, 4, 4, 3), tmp_path=tmp_path)


def test_frozen_stays_in_inference_mode_inside_a_trained_model():
    images = normal(8, 4, 4, 3)
    image = keras.Input((4, 4, 3))
    frozen = layers.Frozen(small_backbone())
    model = keras.Model(image, frozen(image))
    before = frozen.get_weights()
    # Dropout of a half would zero half of the features, and the batch's mean would shift them.
    np.testing.assert_array_equal(
        np.asarray(model(images, training=True)), np.asarray(model(images, training=False))
    )
    assert frozen.trainable_weights == []
    for old, new in zip(before, frozen.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
