"""What `python -m experiments.benchmark` measures: one module a part.

Each has `comparisons(place, sizes)`, which yields one `measure.Comparison` after the other, so that
only one of them is in memory. Its `Sizes` are those of the papers, its `QUICK` ones for a try.
"""
