"""Figures 2 to 5: panels, images and captions that must be there."""

import numpy as np
import pytest

from imgtext_tf import figures, retrieval_figures

IMAGE = np.zeros((6, 8, 3), np.uint8)


def texts_of(figure):
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]


def test_a_sheet_has_every_image_and_wraps_long_rankings():
    rows = [
        retrieval_figures.Ranking("baseline", IMAGE, [IMAGE] * 3, ["a", "b", "c"]),
        retrieval_figures.Ranking("+horse -beach", None, [IMAGE] * 5, ["d"]),
    ]
    figure = retrieval_figures.ranking_sheet(rows, columns=3, title="found")
    assert sum(len(axes.images) for axes in figure.axes) == 1 + 3 + 5
    assert {"baseline", "a", "b", "c", "d", "+horse -beach", "found"} <= set(texts_of(figure))
    assert figures.to_image(figure).std() > 0
    with pytest.raises(ValueError, match="at least one"):
        retrieval_figures.ranking_sheet([])


def test_curves_hold_the_metrics():
    metrics = {"ndcg@1": 50.0, "ndcg@8": 60.0, "pcc@2": 10.0, "pcc@8": 20.0, "ndcg_auc": 55.0}
    scatter = {"baseline": (np.arange(4), np.arange(4))}
    figure = retrieval_figures.curves_figure({"ours": metrics}, scatter=scatter)
    assert len(figure.axes) == 3
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_xydata(), [[1, 50], [8, 60]])
    np.testing.assert_array_equal(figure.axes[1].lines[0].get_xydata(), [[2, 10], [8, 20]])
    assert "baseline (r = 1.00)" in texts_of(figure)
    figures.to_image(figure)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()][-1].isdigit()
    assert len(retrieval_figures.curves_figure({"ours": metrics}).axes) == 2
    flat = {"flat": (np.zeros(4), np.arange(4))}
    assert "flat (r = 0.00)" in texts_of(
        retrieval_figures.curves_figure({"ours": metrics}, scatter=flat)
    )


def test_heatmaps_lie_on_their_images():
    heat = np.linspace(0, 1, 6).reshape(2, 3)
    figure = retrieval_figures.grounding_figure([(IMAGE, heat, IMAGE, heat)], ["similar"])
    assert [len(axes.images) for axes in figure.axes] == [1, 2, 1, 2]
    assert figure.axes[1].images[0].get_extent() == figure.axes[1].images[1].get_extent()
