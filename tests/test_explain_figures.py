import numpy as np

from imgtext_tf import explain, explain_figures, figures

ATTENTION = explain.Attention(
    sentences=np.array([0.75, 0.25]),
    words=np.array([[0.6, 0.4, 0], [1, 0, 0]]),
    regions=np.full([2, 3, 2, 2], 0.25),
)


def test_the_picture_shades_words_and_shows_where_they_look():
    image = np.zeros([8, 8, 3])
    figure = explain_figures.picture(
        ["Red dog!", "Runs."], ATTENTION, image=image, title="$5 _x_", words_shown=2
    )
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["the image", "attention of all words", "red (45 %)", "dog (30 %)"]
    texts = {text.get_text(): text for text in figure.texts}
    assert {"$5 _x_", "red", "dog", "runs", " 75 %", " 25 %"} <= set(texts)
    shades = {w: texts[w].get_bbox_patch().get_facecolor()[0] for w in ("red", "dog", "runs")}
    assert shades["red"] < shades["dog"] < shades["runs"] < 1
    assert figures.to_image(figure).std() > 0


def test_the_picture_of_a_text_alone_wraps_long_sentences():
    words = np.full([1, 60], 1 / 60)
    figure = explain_figures.picture(
        ["lake " * 60], explain.Attention(np.ones(1), words), title="text"
    )
    assert not figure.axes
    rows = {round(text.get_position()[1], 4) for text in figure.texts if text.get_text() == "lake"}
    assert len(rows) == 3  # 21 words of five characters a line of 105


def test_the_effect_has_a_picture_and_a_text_of_its_own():
    effect = explain.Effect(
        np.array([[0.5, -0.2, 0], [0.1, 0, 0]]), np.array([[0.3, 0], [0, -0.1]])
    )
    figure = explain_figures.picture(["Red dog!", "Runs."], ATTENTION, effect, np.zeros([8, 8, 3]))
    titles = [axes.get_title() for axes in figure.axes]
    # The words are those that cost most when they are hidden, and "dog" costs nothing.
    assert titles[1:] == [
        "attention of all words", "red (50 points)", "runs (10 points)",
        "hiding costs up to 30 points",
    ]  # fmt: skip
    texts = [text.get_text() for text in figure.texts]
    assert texts.count("dog") == 2 and "what hiding the word costs: up to 50 points" in texts
    dogs = [text for text in figure.texts if text.get_text() == "dog"]
    # The class gains without it: no shade.
    assert dogs[1].get_bbox_patch().get_facecolor()[:3] == (1, 1, 1)


def test_a_small_effect_does_not_look_large():
    """A hundredth of the probability is a tenth of full colour, not all of it."""
    effect = explain.Effect(np.array([[0.01, 0, 0], [0, 0, 0]]), np.full([2, 2], 0.001))
    figure = explain_figures.picture(["Red dog!", "Runs."], ATTENTION, effect, np.zeros([8, 8, 3]))
    assert figure.axes[-1].get_title() == "hiding costs less than 2 points"
    assert figure.axes[-1].images[-1].get_clim() == (0, 0.1)
    reds = [text for text in figure.texts if text.get_text() == "red"]
    expected = 1 - 0.1 * (1 - explain_figures._EFFECT)
    np.testing.assert_allclose(reds[1].get_bbox_patch().get_facecolor()[:3], expected)
    # Attention that is alike everywhere is half of full colour.
    assert figure.axes[1].images[-1].get_clim() == (0, 0.5)
