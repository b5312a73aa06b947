"""The fusion classifier: loop form, variants, and one label or several."""

import keras
import numpy as np
import pytest

from imgtext_tf.models import fusion_classifier
from tests import reference

DIMS = {"visual": 6, "text": 4, "phrase": 3}
RNG = np.random.default_rng(0)
INPUTS = {name: RNG.normal(size=[8, dim]).astype(np.float32) for name, dim in DIMS.items()}


def make(variant="multimodal", **kwargs):
    settings = {"num_labels": 5, "dims": DIMS, "fc_units": (7, 3), "seed": 1} | kwargs
    return fusion_classifier.fusion_classifier(variant=variant, **settings)


def inputs_of(variant):
    return {name: INPUTS[name] for name in fusion_classifier.VARIANTS[variant]}


@pytest.mark.parametrize("variant", fusion_classifier.VARIANTS)
def test_equals_the_loop_form(variant):
    """Concatenation, then a fully connected network; new batch statistics change nothing much."""
    model = make(variant, normalize=False)
    found = model(inputs_of(variant))["logits"].numpy()
    weights = [[w.numpy() for w in model.get_layer(name).weights] for name in
               ("fc1", "fc2", "logits")]  # fmt: skip
    for row in range(8):
        joined = np.concatenate([array[row] for array in inputs_of(variant).values()])
        expected = reference.fully_connected(joined, weights)
        np.testing.assert_allclose(found[row], expected, rtol=1e-4, atol=1e-5)


def test_variants_differ_in_their_input_layer_only():
    """Section 4.2: "the same architecture as the multimodal model, except for the input layer"."""
    shapes = {
        variant: [tuple(w.shape) for w in make(variant, normalize=False).weights][1:]
        for variant in fusion_classifier.VARIANTS
    }
    assert len({tuple(one) for one in shapes.values()}) == 1


@pytest.mark.parametrize("fusion", fusion_classifier.FUSIONS)
@pytest.mark.parametrize("several", [False, True])
def test_learns_what_only_both_inputs_say(fusion, several, tmp_path):
    """The label is in the signs of a visual and a text number together."""
    rng = np.random.default_rng(0)
    visual, text = (rng.choice([-1.0, 1.0], [256, 1]) for _ in range(2))
    labels = (visual[:, 0] > 0) * 2 + (text[:, 0] > 0)
    targets = np.eye(4)[labels] if several else labels
    if several:
        targets[::5, 2] = -1
    keras.utils.set_random_seed(2)
    model = make(
        num_labels=4, dims={"visual": 1, "text": 1}, fusion=fusion, dropout=0.0, fc_units=(16,)
    )
    fusion_classifier.compile_classifier(model, keras.optimizers.Adam(0.03), several_labels=several)
    inputs = {"visual": visual, "text": text}
    model.fit(inputs, {"logits": targets}, epochs=12, batch_size=32, verbose=0)
    predicted = model.predict(inputs, verbose=0)["logits"].argmax(1)
    assert (predicted == labels).mean() > 0.98
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(inputs, verbose=0)["logits"].argmax(1), predicted)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="variant 'both'"):
        make("both")
    with pytest.raises(ValueError, match="fusion 'sum'"):
        make(fusion="sum")
    with pytest.raises(ValueError, match="needs the length of phrase"):
        make("everything", dims={"visual": 6, "text": 4})
