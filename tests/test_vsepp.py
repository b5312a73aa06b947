import types

import numpy as np
import pytest

from imgtext_tf import branches, vsepp
from tests.reference import sigmoid

RNG = np.random.default_rng(0)
DIM, WORD, WORDS, FEATURES = 6, 4, 9, 5


def state(*, layers=1, two=False):
    def normal(*shape):
        return RNG.normal(size=shape).astype("float32")

    image = {"fc.weight": normal(DIM, FEATURES), "fc.bias": normal(DIM)}
    text = {"embed.weight": normal(WORDS, WORD)}
    for number in range(layers):
        for end in ("", "_reverse") if two else ("",):
            width = WORD if number == 0 else DIM
            text[f"rnn.weight_ih_l{number}{end}"] = normal(3 * DIM, width)
            text[f"rnn.weight_hh_l{number}{end}"] = normal(3 * DIM, DIM)
            text[f"rnn.bias_ih_l{number}{end}"] = normal(3 * DIM)
            text[f"rnn.bias_hh_l{number}{end}"] = normal(3 * DIM)
    return image, text


def torch_gru(inputs, text, suffix):
    """PyTorch's documented equations: gates r, z, n."""
    (ir, iz, inn), (hr, hz, hn) = (
        np.split(text[f"rnn.weight_{kind}_{suffix}"], 3) for kind in ("ih", "hh")
    )
    (bir, biz, bin_), (bhr, bhz, bhn) = (
        np.split(text[f"rnn.bias_{kind}_{suffix}"], 3) for kind in ("ih", "hh")
    )
    hidden, states = np.zeros(DIM), []
    for x in inputs:
        r = sigmoid(ir @ x + bir + hr @ hidden + bhr)
        z = sigmoid(iz @ x + biz + hz @ hidden + bhz)
        n = np.tanh(inn @ x + bin_ + r * (hn @ hidden + bhn))
        hidden = (1 - z) * n + z * hidden
        states.append(hidden)
    return states


def build(image, text):
    sizes = vsepp.sizes(image, text)
    assert (sizes["feature_dim"], sizes["vocabulary_size"]) == (FEATURES, WORDS)
    images = branches.image_branch((FEATURES,), embed_dim=DIM, normalize_input=False)
    texts = branches.text_branch(
        WORDS,
        embed_dim=sizes["embed_dim"],
        word_dim=sizes["word_dim"],
        gru_layers=sizes["gru_layers"],
        bidirectional=sizes["bidirectional"],
    )
    vsepp.assign(images, texts, image, text)
    return images, texts


@pytest.mark.parametrize("layers", [1, 2])
def test_moved_weights_give_the_same_embeddings(layers):
    image, text = state(layers=layers)
    images, texts = build(image, text)
    features = RNG.normal(size=(2, FEATURES)).astype("float32")
    expected = features @ image["fc.weight"].T + image["fc.bias"]
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(images({"image_features": features}), expected, atol=1e-5)
    # Theirs: <start> 1, unknown 3, a word 7, <end> 2; ours: 2, 1, 7, 3.
    output = np.asarray(texts({"caption_ids": np.array([[2, 1, 7, 3, 0, 0]])}))[0]
    words = text["embed.weight"][[1, 3, 7, 2]]
    for number in range(layers):
        words = torch_gru(words, text, f"l{number}")
    np.testing.assert_allclose(output, words[-1] / np.linalg.norm(words[-1]), atol=1e-5)


def test_both_directions_of_one_layer():
    image, text = state(two=True)
    _, texts = build(image, text)
    output = np.asarray(texts({"caption_ids": np.array([[5, 7, 0]])}))[0]
    words = text["embed.weight"][[5, 7]]
    both = torch_gru(words, text, "l0")[-1] + torch_gru(words[::-1], text, "l0_reverse")[-1]
    np.testing.assert_allclose(output, both / np.linalg.norm(both), atol=1e-5)


def test_what_does_not_fit_is_named():
    image, text = state()
    with pytest.raises(vsepp.CheckpointError, match="has no fc.weight"):
        vsepp.sizes({}, text)
    with pytest.raises(vsepp.CheckpointError, match="rnn.weight_hh_l0 has shape"):
        vsepp.sizes(image, text | {"rnn.weight_hh_l0": np.zeros((9, 3))})


class Tensor:
    """What `torch.load` gives, as far as a checkpoint is looked through."""

    def __init__(self, numbers, stored):
        self._numbers, self._stored = numbers, stored

    def numel(self):
        return self._numbers

    def element_size(self):
        return 4

    def untyped_storage(self):
        return types.SimpleNamespace(nbytes=lambda: self._stored)


def test_checkpoints_of_another_kind_are_named():
    good = {"fc.weight": Tensor(6, 24)}
    options = types.SimpleNamespace(measure="cosine")
    assert vsepp.parts({"model": [good, good], "opt": options}, "x")[1] == {"measure": "cosine"}
    for content in (
        [], None, {"model": 5}, {"model": [good]}, {"model": [good, [1]]},
        {"model": [good, {"w": 7}]}, {"model": [good, {7: Tensor(1, 4)}]},
        {"model": [good, {"w": Tensor(10**12, 4)}]},  # stride 0: one number, announced often
    ):  # fmt: skip
        with pytest.raises(vsepp.CheckpointError, match="x.tar: "):
            vsepp.parts(content, "x.tar")


def test_weights_that_are_none_are_named():
    image, text = state()
    for name, value, message in (
        ("fc.weight", np.zeros(3), "no matrices"),
        ("fc.weight", np.full([DIM, FEATURES], np.nan), "not finite"),
    ):
        with pytest.raises(vsepp.CheckpointError, match=message):
            vsepp.sizes(image | {name: value}, text)
