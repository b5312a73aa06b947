"""The comparisons of speed run both ways and see that they agree; their times are not judged."""

import functools

from experiments import benchmark_retrieval, retrieval_speed


def test_both_ways_agree():
    found = {
        "rmac": retrieval_speed.rmac(images=2, shape=(5, 7), channels=6, repeats=1),
        "compiled": retrieval_speed.rmac(
            images=2, shape=(5, 7), channels=6, repeats=1, compiled_loop=True
        ),
        "mining": retrieval_speed.mine(
            images=120, queries=8, positives=3, dimensions=7, keep=5, repeats=1
        ),
        "joint": retrieval_speed.mine(
            images=120, queries=8, positives=3, dimensions=7, keep=5, joint=True, repeats=1
        ),
        "ndcg": retrieval_speed.ndcg(queries=5, images=200, repeats=1),
    }
    for values in found.values():
        assert set(values) == {"seconds", "plain_seconds", "ratio"} and values["ratio"] > 0


def test_the_page_has_a_row_for_each_comparison(tmp_path):
    small = functools.partial(retrieval_speed.ndcg, queries=5, images=200)
    page = benchmark_retrieval.run(
        str(tmp_path / "page.md"), repeats=1, comparisons={"one": small, "two": small}
    )
    assert (tmp_path / "page.md").read_text() == page
    assert [line.split(" | ")[0] for line in page.splitlines()[-2:]] == ["| one", "| two"]
