r"""Shows which parts of two photos make them similar to a trained model.

    python -m experiments.explain_match --run_dir=runs/joint --output=pair.png a.jpg b.jpg

Draws both photos and their heatmaps, and prints similarity and dimensions.

Reference: Gordo2017, Section 6.2 and Figure 3.
"""

from __future__ import annotations

from absl import app, flags, logging

from experiments import common_flags
from experiments.retrieval_search import Searcher
from imgtext_tf import figures, grounding, retrieval_figures


def run(
    run_dir: str, pairs: list[tuple[str, str]], output: str, dimensions: int = 5
) -> list[float]:
    """Explains pairs of image files and returns their similarities.

    Args:
        run_dir: of experiments.train_retrieval.
        pairs: paths of image files.
        output: the picture to write.
        dimensions: how many dimensions of the descriptors count.
    """
    searcher = Searcher(run_dir)
    encode, describe = searcher.map_parts()
    drawn, titles, similarities = [], [], []
    for names in pairs:
        first, second = (searcher.read_image(name) for name in names)
        heat = grounding.pair_heatmaps(encode, describe, first, second, dimensions=dimensions)
        phi = [searcher.embed_image(name) for name in names]
        similarities.append(float(phi[0] @ phi[1]))
        titles.append(f"similarity {similarities[-1]:.3f}; dimensions {heat[2].tolist()}")
        logging.info("%s and %s: %s", *names, titles[-1])
        drawn.append((first, heat[0], second, heat[1]))
    figures.save(retrieval_figures.grounding_figure(drawn, titles), output)
    return similarities


def main(argv: list[str]) -> None:
    """Reads the two image files and the flags."""
    files = argv[1:]
    if len(files) < 2 or len(files) % 2:
        raise app.UsageError(f"give two image files (or several pairs), not {files}")
    pairs = list(zip(files[::2], files[1::2], strict=True))
    run(flags.FLAGS.run_dir, pairs, flags.FLAGS.output, flags.FLAGS.top_dimensions)
    print(f"heatmaps in {flags.FLAGS.output}")


if __name__ == "__main__":
    flags.DEFINE_integer("top_dimensions", 5, "k of Section 6.2.", lower_bound=1)
    flags.FLAGS.set_default("output", "match.png")
    flags.mark_flag_as_required("run_dir")
    common_flags.run_main(main)
