"""The benchmark of many queries, on few."""

from experiments import benchmark_phrases


def test_writes_both_tables(tmp_path):
    page = benchmark_phrases.run(
        benchmark_phrases.Settings(
            str(tmp_path / "page.md"),
            classes=(300,),
            dim=8,
            batch_size=4,
            num_sampled=20,
            entries=(400,),
            queries=5,
            rounds=2,
            steps=1,
        )
    )
    assert (tmp_path / "page.md").read_text() == page
    assert "A training step at 300 queries" in page and "Search among 400 phrases" in page
    for name in ("LazyAdam", "row-wise Adagrad", "sampled, Keras Adam", "full softmax", "| ivf |"):
        assert name in page
