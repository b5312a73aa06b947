"""Switches of train_classic that change how a step is computed."""

import json

import keras
import pytest

from experiments import relation_data, relation_experiment
from imgtext_tf import runs
from tests.tiny_runs import command, settings_of


@pytest.fixture(autouse=True)
def precision():
    """The dtype policy counts for the whole process."""
    yield
    keras.config.set_dtype_policy("float32")


@pytest.mark.heavy
def test_a_step_compiled_by_xla_trains_and_reports(tiny_data, tmp_path):
    assert command(tiny_data, tmp_path / "run", "--jit_compile") is None
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["settings"]["jit_compile"] and result["metrics"]["test/pairs"] == 32


def test_texts_for_xla_have_one_shape(tiny_data, tmp_path):
    """And are encoded whole, for XLA cannot leave the empty sentences out."""
    settings = settings_of(
        tiny_data, tmp_path, jit_compile=True, inputs="text", max_sentences=4, max_words=7
    )
    readers = relation_data.open_readers(settings)
    vocabulary, _ = relation_data.open_text(settings, readers["train"], None)
    data = relation_data.Data(settings, readers, vocabulary)
    model = relation_experiment.build_model(data, None, None)
    assert not model.get_layer("text_encoder").get_layer("sentences").compact
    shapes = {tuple(b["word_ids"].shape) for b, _ in data.training_batches(0, 3)}
    assert shapes == {(16, 4, 7)} and model.jit_compile


@pytest.mark.heavy
def test_mixed_precision_keeps_weights_and_logits_in_32_bits(tiny_data, tmp_path):
    assert command(tiny_data, tmp_path / "run", "--inputs=text", "--mixed_precision") is None
    model = runs.load(tmp_path / "run").model
    gru = model.get_layer("text_encoder").get_layer("sentence_gru")
    assert gru.compute_dtype == "bfloat16"
    assert {weight.dtype for weight in model.trainable_weights} == {"float32"}
    assert model.output["logits"].dtype == "float32"
