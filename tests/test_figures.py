import matplotlib.text
import numpy as np
import pytest
from PIL import Image

from imgtext_tf import figures

MATRIX = np.array([[8, 2, 0], [1, 3, 0], [0, 0, 0]])


def texts(figure):
    return [found.get_text() for found in figure.findobj(matplotlib.text.Text) if found.get_text()]


def tile(**changes):
    plain = {"image": np.full((30, 40, 3), 128, np.uint8), "text": "A dog.", "truth": "Anchorage"}
    return figures.PairTile(**(plain | changes))


def test_confusion_matrix_shows_counts_and_margins():
    shown = texts(figures.confusion_matrix_figure(MATRIX, ["a", "b", "c"], title="by hand"))
    for words in ("8", "2", "1", "3", "by hand", "a (10)", "Recall", "Precision"):
        assert words in shown
    # Recall 8/10 and 3/4; precision 8/9 and 3/5; accuracy 11/14; class c has none of them.
    for words in ("80.0 %", "75.0 %", "88.9 %", "60.0 %", "accuracy\n78.6 %"):
        assert words in shown
    assert shown.count("–") == 2


def test_confusion_matrix_says_what_its_sides_are():
    axes = figures.confusion_matrix_figure(MATRIX, ["a", "b", "c"]).axes[0]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("true class (pairs)", "predicted class")
    sides = {"rows": "majority", "columns": "generated"}
    axes = figures.confusion_matrix_figure(MATRIX, ["a", "b", "c"], **sides).axes[0]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("majority", "generated")


def test_the_heading_of_few_classes_is_not_cut():
    title = "test_balanced, predecessor, sc: 60.2% of 798 pairs and more words that follow"
    figure = figures.confusion_matrix_figure(MATRIX[:2, :2], ["a", "b"], title=title)
    renderer = figure.canvas.get_renderer()
    figure.draw(renderer)
    (heading,) = [
        found
        for found in figure.findobj(matplotlib.text.Text)
        if found.get_text().startswith("test_balanced")
    ]
    box = heading.get_window_extent(renderer)
    assert box.x0 >= 0 and box.x1 <= figure.bbox.width and box.y1 <= figure.bbox.height
    # Nor does it lie on the cells.
    assert box.y0 >= figure.axes[0].get_window_extent(renderer).y1


def test_confusion_matrix_shades_by_share_of_the_row():
    figure = figures.confusion_matrix_figure(MATRIX, ["a", "b", "c"])
    shades = figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(shades, [[0.8, 0.2, 0], [0.25, 0.75, 0], [0, 0, 0]])


def test_the_undefined_column_has_a_name_and_no_precision():
    matrix = np.array([[3, 1, 1], [0, 5, 0]])
    shown = texts(figures.confusion_matrix_figure(matrix, ["a", "b"]))
    assert "Undefined" in shown
    assert sorted(words for words in shown if words.endswith("%")) == [
        "100.0 %",  # recall b 5/5 and precision a 3/3
        "100.0 %",
        "60.0 %",  # recall a
        "83.3 %",  # precision b 5/6
        "accuracy\n80.0 %",
    ]


def test_a_matrix_that_does_not_fit_the_names_raises():
    with pytest.raises(ValueError, match="does not fit 2 names"):
        figures.confusion_matrix_figure(MATRIX, ["a", "b"])


def test_pair_sheet_says_right_and_wrong():
    figure = figures.pair_sheet(
        [
            tile(predicted="Anchorage", probability=0.912, title="id 1"),
            tile(predicted="Contrasting"),
            tile(),
        ],
        columns=2,
    )
    shown = texts(figure)
    assert "✓ Anchorage  91 %" in shown and "id 1" in shown
    assert "✗ Contrasting" in shown and "   truth: Anchorage" in shown
    assert "Anchorage" in shown
    colours = {found.get_text(): found.get_color() for found in figure.texts}
    assert colours["✓ Anchorage  91 %"] != colours["✗ Contrasting"]
    assert len(figure.axes) == 3


def test_pair_sheet_wraps_cuts_and_keeps_dollars():
    words = "It costs $5 or $6 at the new shop. " * 40
    figure = figures.pair_sheet([tile(text=words), tile(text=" ")], text_lines=4)
    long = next(found for found in texts(figure) if found.startswith("It costs"))
    assert len(long.splitlines()) == 4 and long.endswith("…")
    assert max(map(len, long.splitlines())) <= 50
    assert "(no text)" in texts(figure)
    # Would raise where "$5 or $" were read as a formula.
    assert figures.to_image(figure).shape[2] == 3


def test_an_empty_sheet_raises():
    with pytest.raises(ValueError, match="at least one"):
        figures.pair_sheet([])


def test_to_image_and_save_draw_the_same(tmp_path):
    figure = figures.confusion_matrix_figure(MATRIX, ["a", "b", "c"])
    image = figures.to_image(figure)
    assert image.dtype == np.uint8 and image.ndim == 3 and image.std() > 10
    path = figures.save(figure, tmp_path / "new" / "matrix.png")
    np.testing.assert_array_equal(np.asarray(Image.open(path).convert("RGB")), image)
    assert [file.name for file in path.parent.iterdir()] == ["matrix.png"]


def test_a_failed_save_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="nonsense"):
        figures.save(figures.pair_sheet([tile()]), tmp_path / "sheet.nonsense")
    assert not list(tmp_path.iterdir())


def test_write_to_board_gives_pictures_and_a_table():
    class Board:
        def __init__(self):
            self.written = {}

        def image(self, step, tag, image):
            self.written[step, tag, "image"] = image

        def text(self, step, tag, markdown):
            self.written[step, tag, "text"] = markdown

    board = Board()
    tiles = [tile(text="a | b\nc", predicted="Contrasting", title="id 1")]
    figures.write_to_board(board, 7, matrix=MATRIX, class_names=["a", "b", "c"], tiles=tiles)
    assert board.written[7, "val/confusion_matrix", "image"].dtype == np.uint8
    assert board.written[7, "val/examples", "image"].ndim == 3
    table = board.written[7, "val/examples", "text"].splitlines()
    assert table[-1] == "| id 1 | Anchorage | Contrasting | a \\| b c |" and len(table) == 3
