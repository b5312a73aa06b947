import pytest

from tfrecords_tools.readers import ads, base

SLOGANS = {
    "0/1.jpg": ["Taste the burgers!", "Taste the night."],
    "0/2.jpg": ["Obey your thirst"],
    "1/3.jpg": ["Buy the shoe", "It's in the game"],
    "1/4.jpg": ["A safer tomorrow"],
    "../5.jpg": ["Just run"],
    "0/6.jpg": "no list",
    "0/7.jpg": [" "],
}


def run(folder, **kwargs):
    items = list(ads.interdependent(folder, folder / "images", **kwargs))
    pairs = {item.sentences[0] for item in items if isinstance(item, base.Pair)}
    dropped = {(item.id, item.reason) for item in items if isinstance(item, base.Dropped)}
    bad = [item for item in items if isinstance(item, base.BadRecord)]
    return pairs, dropped, bad


def test_without_further_files_every_slogan_is_taken(tmp_path, files):
    files.json(tmp_path / "image/Slogans.json", SLOGANS)
    pairs, dropped, bad = run(tmp_path)
    assert len(pairs) == 6 and not dropped
    assert [item.id.rsplit(" ", 1)[1] for item in bad] == ["../5.jpg", "0/6.jpg", "0/7.jpg"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-8"])
def test_slogans_that_name_the_product_are_dropped(tmp_path, files, encoding):
    files.json(tmp_path / "image/Slogans.json", SLOGANS)
    files.json(tmp_path / "image/Topics.json", {"0/1.jpg": ["1", "1"], "0/2.jpg": ["Soda"]})
    text = '1. "Restaurants, cafe, burger" (ABBREVIATION: "restaurant")\r\n2. "Chips"'
    (tmp_path / "image/Topics_List.txt").write_bytes(text.encode(encoding))
    files.json(tmp_path / "image/Symbols.json", {"1/4.jpg": [[1, 2, 3, 4, "safety"]]})
    files.json(
        tmp_path / "image/QA_Action.json",
        {"1/3.jpg": ["I should buy these shoes because they win the game"]},
    )
    (tmp_path / "p.tsv").write_text("0\tthirst quencher\n")
    pairs, dropped, _ = run(tmp_path, products=tmp_path / "p.tsv")
    # By topic 1 (burger), by folder 0 (thirst), by the action (shoes); "buy" and what comes after
    # "because" name no product, and the stem of "safer" is not that of "safety".
    assert {item[0] for item in dropped} == {"ads/0/1.jpg/0", "ads/0/2.jpg/0", "ads/1/3.jpg/0"}
    assert {item[1] for item in dropped} == {"slogan names the product"}
    assert pairs == {"Taste the night.", "It's in the game", "A safer tomorrow"}


def test_an_accept_list_is_all_that_counts(tmp_path, files):
    files.json(tmp_path / "Slogans.json", SLOGANS)
    (tmp_path / "ok.txt").write_text("0/2.jpg\n1/3.jpg\tIt's in the game\n")
    pairs, dropped, _ = run(tmp_path, accept=tmp_path / "ok.txt")
    assert pairs == {"Obey your thirst", "It's in the game"}
    assert {item[1] for item in dropped} == {"slogan not in the accept list"}
    assert "ads/1/3.jpg/0" in {item[0] for item in dropped}


def test_broken_files_are_named(tmp_path, files):
    files.json(tmp_path / "Slogans.json", [1])
    with pytest.raises(base.ReaderError, match="Slogans.json"):
        run(tmp_path)
    files.json(tmp_path / "Slogans.json", SLOGANS)
    (tmp_path / "p.tsv").write_text("0 no tab\n")
    with pytest.raises(base.ReaderError, match="p.tsv:1"):
        run(tmp_path, products=tmp_path / "p.tsv")
