"""The figures of a data set and a run."""

import matplotlib.image
import pytest

from experiments import make_figures
from imgtext_tf import figures, relations


@pytest.fixture
def run_dir(tmp_path):
    """What make_figures reads of a run without its model: the predictions."""
    lines = ["id\ttruth\tpredicted\tprobability"]
    for relation in relations.RELATIONS:
        for number, predicted in enumerate((relation, relation, "Uncorrelated", relation)):
            name = f"test-{relation.replace(' ', '-')}-{number}"
            lines.append(f"{name}\t{relation}\t{predicted}\t0.5")
    (tmp_path / "predictions_test.tsv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_all_figures_are_drawn(tiny_data, tmp_path, run_dir, monkeypatch):
    sizes = make_figures._sizes("")
    monkeypatch.setattr(make_figures, "_sizes", lambda _: sizes)
    settings = make_figures.Settings(
        figures_dir=str(tmp_path / "figures"), data_dir=str(tiny_data), run_dir=str(run_dir)
    )
    sheets, draw = {}, figures.pair_sheet
    monkeypatch.setattr(
        figures,
        "pair_sheet",
        lambda tiles, *, title, **how: draw(sheets.setdefault(title, tiles), title=title, **how),
    )
    paths = make_figures.run(settings)
    predictions = sheets.pop("Example predictions")
    assert list(dict.fromkeys(tile.truth for tile in predictions)) == list(relations.RELATIONS)
    # Examples show what was swapped; predictions the text as the model read it.
    assert not any("[" in tile.text for tile in predictions)
    negatives = [tile for tiles in sheets.values() for tile in tiles if "[" in tile.text]
    assert {tile.truth for tile in negatives} == set(relations.NEGATIVE_OF.values())
    assert [path.name for path in paths] == [
        f"otto2020_figure{name}.png" for name in ("3", "4", "8", "9", "5", "6", "7", "10")
    ]
    for path in paths:
        picture = matplotlib.image.imread(path)
        assert picture.shape[0] > 200 and picture.std() > 0.01


def test_without_data_only_what_needs_none(tmp_path):
    paths = make_figures.run(make_figures.Settings(figures_dir=str(tmp_path)))
    assert [path.stem[-1] for path in paths] == ["3", "4", "8", "9"]
    with pytest.raises(ValueError, match="--run_dir needs --data_dir"):
        make_figures.run(make_figures.Settings(figures_dir=str(tmp_path), run_dir="x"))


def test_the_network_of_a_run(cached_run):
    settings, _ = cached_run
    sizes = make_figures._sizes(settings.run_dir)
    assert sizes["classes"] == 8 and sizes["backbone"] == "small_cnn"
    assert sizes["text_dim"] == 2 * settings.gru_units
    assert sizes["inputs"] == "both" and len(sizes["feature_shape"]) == 3
    assert sizes["word_dim"] == 300
