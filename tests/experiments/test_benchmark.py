import numpy as np
import pytest

from experiments import benchmark
from experiments.relation_flags import Settings


def test_alternate_runs_the_variants_in_turn_and_drops_the_first_round():
    calls = []

    def variant(name):
        def measure():
            calls.append(name)
            return float(len(calls))

        return measure

    seconds = benchmark.alternate({"a": variant("a"), "b": variant("b")}, rounds=2)
    assert calls == ["a", "b"] * 3
    # The calls are numbered 1 to 6; 1 and 2 warm up.
    assert {name: values.tolist() for name, values in seconds.items()} == {"a": [3, 5], "b": [4, 6]}


def test_table():
    """Ratios are those of each round: 30/10 = 3, 20/20 = 1, 60/30 = 2, whose median is 2."""
    seconds = {"short": np.array([0.010, 0.020, 0.030]), "long": np.array([0.030, 0.020, 0.060])}
    lines = benchmark.table(seconds, batch_size=10).splitlines()
    assert lines[2] == "| short | 20.0 | 15.0 to 25.0 | 500.0 | 1.00 (1.00 to 1.00) |"
    assert lines[3] == "| long | 30.0 | 25.0 to 45.0 | 333.3 | 2.00 (1.00 to 3.00) |"


@pytest.mark.heavy
def test_a_page_is_written(tiny_data, tmp_path):
    settings = Settings(
        data_dir=str(tiny_data),
        run_dir=str(tmp_path / "run"),
        backbone="small_cnn",
        backbone_weights="none",
        image_size=32,
        cache_features=str(tmp_path / "cache"),
        vectors="learnt",
        # Recurrent layers take minutes to build so often, and are measured like any others.
        inputs="image",
        fc_units=(8,),
        batch_size=8,
        max_sentences=3,
        max_words=6,
    )
    page = benchmark.run(
        settings, output=str(tmp_path / "page.md"), rounds=2, steps=1, pipeline_steps=1
    )
    assert (tmp_path / "page.md").read_text() == page
    assert page.count("\n## ") == 3
    assert "to 3 x 6, all sentences encoded" in page
    assert "tensorflow 2.21" in page
    # Seven variants: 3 paddings, 2 kinds of feature maps, 2 pipelines.
    assert page.count(" to ") >= 7 * 2 and "nan" not in page
