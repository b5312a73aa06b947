"""Figures of the classes, the network and its results."""

import numpy as np
import pytest

from imgtext_tf import figures, relation_figures, relations

SIZES = {
    "backbone": "inception_resnet_v2",
    "feature_shape": (8, 8, 1536),
    "word_dim": 300,
    "text_dim": 1024,
    "fc_units": (1024, 512, 256, 128),
    "classes": 8,
    "image_attention": "context",
    "image_dropout": 0.3,
    "text_dropout": 0.4,
}


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_classes_and_their_metrics():
    written = texts(relation_figures.classes_figure())
    assert set(relations.RELATIONS) < set(written)
    # SC is -1 in three classes, with a true minus sign.
    assert written.count("−1") == 3 and written.count("T") == 2 and written.count("I") == 2


def test_the_categorization_has_18_leaves_and_writes_each_node_once():
    written = texts(relation_figures.categorization_figure())
    assert sorted(set(written) & set(relations.RELATIONS)) == sorted(relations.RELATIONS)
    # Section 3.3: cases A and D are three combinations each, B and C two each.
    cases = [text[-1] for text in written if "✕" in text]
    assert {case: cases.count(case) for case in "ABCD"} == {"A": 3, "B": 2, "C": 2, "D": 3}
    nodes = [text for text in written if text[:3] in ("CMI", "SC ", "STA")]
    counts = {name: sum(node.startswith(name) for node in nodes) for name in ("CMI", "SC", "STAT")}
    assert counts == {"CMI": 2, "SC": 6, "STAT": 18}


@pytest.mark.parametrize(("mode", "arrows"), [("none", 10), ("regions", 12), ("context", 13)])
def test_the_network_shows_its_sizes(mode, arrows):
    figure = relation_figures.model_figure(SIZES | {"image_attention": mode})
    written = "\n".join(texts(figure))
    for size in ("8×8×1536", "1024\nFC 512", "dropout 0.4", "softmax\n8"):
        assert size in written
    assert sum(not text.get_text() for text in figure.axes[0].texts) == arrows


def test_the_network_shows_what_is_not_the_papers():
    def written(**changes):
        return " ".join(texts(relation_figures.model_figure(SIZES | changes))).replace("\n", " ")

    paper = written()
    run = written(fusion="product", word_scores=True, metric_logits=True, image_dim=2048)
    for words in ("fusion=product", "their product", "linear model", "three metrics", "2048"):
        assert words in run and words not in paper
    only_text, only_image = written(inputs="text"), written(inputs="image")
    assert "1×1" not in only_text and "mean" not in only_text and "GRU" in only_text
    assert "GRU" not in only_image and "1×1" not in only_image and "mean" in only_image


def test_bars_stand_beside_each_other():
    scores = {"recall": {"classic": np.full(8, 0.5), "cascade": np.full(8, 0.25)}}
    figure = relation_figures.class_bars_figure(scores, relations.RELATIONS, title="Scores")
    bars = figure.axes[0].patches
    assert sorted({bar.get_height() for bar in bars}) == [0.25, 0.5]
    edges = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in bars)
    assert all(left[1] <= right[0] for left, right in zip(edges, edges[1:], strict=False))
    assert figures.to_image(figure).shape[2] == 3
