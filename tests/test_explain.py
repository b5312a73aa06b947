import keras
import numpy as np
import pytest

from imgtext_tf import encoders, explain
from imgtext_tf.models import relation_classifier as relations
from tests import reference

RNG = np.random.default_rng(0)
WORDS, DIM, DEPTH = 12, 6, 5
VECTORS = RNG.normal(size=(WORDS, DIM)).astype("float32")
# Two sentences of three and one words.
BATCH = {
    "image_features": RNG.normal(size=(1, 2, 3, DEPTH)).astype("float32"),
    "word_ids": np.array([[[2, 3, 4], [5, 0, 0]]], "int32"),
}


def classifier(**settings):
    settings = {
        "num_classes": 3,
        "feature_shape": (2, 3, DEPTH),
        "vocabulary_size": WORDS,
        "word_dim": DIM,
        "word_vectors": VECTORS,
        "gru_units": 4,
        "fc_units": (4,),
    } | settings
    model = relations.relation_classifier(**settings)
    rng = np.random.default_rng(1)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(scale=0.7, size=weight.shape))
    return model


def expected_weights(layer, states, context=None):
    """softmax(v^T tanh(W h + b [+ U a])), state by state."""
    w, b, *u = layer.of_state.get_weights() + layer.of_context.get_weights()
    (v,) = layer.score.get_weights()
    asked = context @ u[0] if u else 0
    return reference.softmax([float((np.tanh(h @ w + b + asked) @ v)[0]) for h in states])


@pytest.mark.parametrize("mode", encoders.IMAGE_ATTENTION)
def test_weights_equal_the_loop_form(mode):
    model = classifier(image_attention=mode)
    found = explain.Explainer(model)(BATCH)
    text = model.get_layer("text_encoder")
    words = text.get_layer("sentences").encoder
    cells, regions, context = BATCH["image_features"][0].reshape(-1, DEPTH), [], None
    if mode != "none":
        kernel, bias = model.get_layer("regions").get_weights()
        regions = [cell @ kernel[0, 0] + bias for cell in cells]
        context = sum(regions) / len(regions)
    asked = context if mode == "context" else None
    of_sentences = []
    for number, length in enumerate((3, 1)):
        vectors = [VECTORS[word] for word in BATCH["word_ids"][0, number, :length]]
        if mode == "regions":
            for place, vector in enumerate(vectors):
                scores = [vector @ region / np.sqrt(DIM) for region in regions]
                np.testing.assert_allclose(
                    found.regions[number, place].ravel(), reference.softmax(scores), rtol=1e-4
                )
            vectors = reference.region_attention(vectors, regions)
        if mode == "prepend":
            vectors = [context, *vectors]
        states = reference.bidirectional_gru(vectors, words.get_layer("word_gru").get_weights())
        weights = expected_weights(words.get_layer("word_attention"), states, asked)
        of_sentences.append(sum(w * h for w, h in zip(weights, states, strict=True)))
        np.testing.assert_allclose(found.words[number, :length], weights[-length:], rtol=1e-4)
        assert not found.words[number, length:].any()
    states = reference.bidirectional_gru(of_sentences, text.get_layer("sentence_gru").get_weights())
    weights = expected_weights(text.get_layer("sentence_attention"), states, asked)
    np.testing.assert_allclose(found.sentences, weights, rtol=1e-4)
    assert (found.regions is None) == (mode != "regions")
    if mode == "regions":
        assert found.image.shape == (2, 3) and found.image.sum() == pytest.approx(1, rel=1e-4)


def test_a_model_on_pixels_and_in_16_bits():
    """Through the backbone, and as float32 whatever the model computes in."""
    encoder = encoders.image_encoder("small_cnn", weights=None, image_size=32)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = classifier(feature_shape=(2, 2, 256), image_attention="regions")
    finally:
        keras.config.set_dtype_policy("float32")
    live = relations.with_backbone(model, encoder)
    pixels = RNG.random((1, 32, 32, 3)).astype("float32")
    found = explain.Explainer(live)({"image": pixels, "word_ids": BATCH["word_ids"]})
    maps = {"image_features": encoder(pixels), "word_ids": BATCH["word_ids"]}
    np.testing.assert_allclose(found.words, explain.Explainer(model)(maps).words, atol=1e-2)
    assert found.regions.shape == (2, 3, 2, 2) and found.words.dtype == np.float32


def test_models_without_texts_have_no_attention():
    with pytest.raises(ValueError, match="no attention"):
        explain.Explainer(classifier(inputs="image"))
    # A model of texts has one, with no image in it.
    only = {"word_ids": BATCH["word_ids"]}
    assert explain.Explainer(classifier(inputs="text"))(only).image is None


ATTENTION = explain.Attention(
    sentences=np.array([0.75, 0.25]),
    words=np.array([[0.6, 0.4, 0], [1, 0, 0]]),
    regions=np.full([2, 3, 2, 2], 0.25),
)


def test_importance_multiplies_words_by_sentences():
    np.testing.assert_allclose(ATTENTION.importance, [[0.45, 0.3, 0], [0.25, 0, 0]])
    assert ATTENTION.importance.sum() == pytest.approx(1)


@pytest.mark.parametrize("mode", ["regions", "none"])
def test_the_effect_is_what_a_class_loses_when_a_part_is_hidden(mode):
    """One part after the other, against the whole model."""
    model = classifier(image_attention=mode, ngram_vectors=RNG.normal(size=(9, DIM)))
    batch = BATCH | {"ngram_ids": RNG.integers(1, 9, size=(1, 2, 3, 2)).astype("int32")}

    def share(**changes):
        logits = model(batch | changes, training=False)["logits"].numpy()[0] / 2
        return np.exp(logits)[1] / np.exp(logits).sum()

    found = explain.Explainer(model).effect(batch, 1, temperature=2.0)
    for sentence, word in np.ndindex(2, 3):
        ids, ngrams = batch["word_ids"].copy(), batch["ngram_ids"].copy()
        ids[0, sentence, word], ngrams[0, sentence, word] = 1, 0
        if batch["word_ids"][0, sentence, word] == 0:
            assert found.words[sentence, word] == 0
        else:
            loss = share() - share(word_ids=ids, ngram_ids=ngrams)
            assert found.words[sentence, word] == pytest.approx(loss, abs=1e-5)
    for y, x in np.ndindex(2, 3):
        maps = batch["image_features"].copy()
        maps[0, y, x] = batch["image_features"][0].reshape(-1, DEPTH).mean(axis=0)
        loss = share() - share(image_features=maps)
        assert found.regions[y, x] == pytest.approx(loss, abs=1e-5)
