import pytest

from imgtext_tf import curve_figures


def test_curves_draw_what_the_history_says():
    history = [
        {"step": "10", "train/loss": "", "val/accuracy": "0.5", "val/recall/Anchorage": "0.25"},
        {"step": "20", "train/loss": "1.5", "val/accuracy": "0.75", "val/recall/Anchorage": "0.5"},
        {"step": "30", "val/sc/accuracy": "0.25"},
    ]
    figure = curve_figures.training_curves(history)
    lines = {line.get_label(): line.get_xydata().tolist() for a in figure.axes for line in a.lines}
    assert lines == {
        "train loss": [[20, 1.5]],
        "val accuracy": [[10, 0.5], [20, 0.75]],
        "val sc accuracy": [[30, 0.25]],
        "Anchorage": [[10, 0.25], [20, 0.5]],
    }
    with pytest.raises(ValueError, match="no rows"):
        curve_figures.training_curves([])
