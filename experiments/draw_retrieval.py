r"""Draws Gordo2017's Figures 2 and 4 from finished runs.

    python -m experiments.draw_retrieval --runs=baseline=runs/baseline,joint=runs/joint \
        --output_dir=figures --sheets=20

Figure 2: NDCG@R and PCC@R of all runs, and the scatter of caption and visual similarity. Figure 4:
for some queries the images that each run finds, one row a run, on `sheets` pages of five queries.

Reference: Gordo2017, Figures 2 and 4.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
from typing import Any

import numpy as np
from absl import app, flags, logging

from experiments import common_flags, retrieval_data, retrieval_report
from experiments.retrieval_data import Data
from experiments.retrieval_flags import Settings
from imgtext_tf import figures, filesystem, retrieval_figures, runs, untrusted
from imgtext_tf.data import examples, images

_PER_PAGE = 5
_SHOWN = 7
_POINTS, _NEAR = 4000, 20
_HEADING = """On the left a query, then the images that a method finds, best first.
Above an image: how similar its captions are to the query's (tf-idf, 0 to 1; more is better).
Above the query: the method, the mean of its row, and (the query's id)."""
# Runs that agree in these share an opened data set.
_INPUTS = (
    *("data_dir", "backbone", "backbone_weights", "input_range", "longest_side", "rmac_levels"),
    *("cache_features", "term_weight", "idf", "min_documents"),
)


def run(
    named: dict[str, str], output_dir: str, *, queries: int = 20, seed: int = 0
) -> list[pathlib.Path]:
    """Draws the figures of runs on one data set and returns their files.

    Args:
        named: name -> run directory, of evaluate_retrieval (method visual) or train_retrieval.
        output_dir: folder of the figures.
        queries: for how many queries the found images are drawn.
        seed: of the draw of these queries and of the scatter's points.

    Raises:
        RunError: if a run is not finished, or has no vectors.
    """
    filesystem.must_be_local(output_dir, "figures are drawn here")
    folder, vectors, metrics = pathlib.Path(output_dir), {}, {}
    opened: dict[tuple, Data] = {}
    results = {name: runs.read_json(os.path.join(d, "result.json")) for name, d in named.items()}
    split = _common_split(results)
    for name, directory in named.items():
        result, settings = results[name], _settings(results[name], directory)
        metrics |= _curves(name, result["metrics"], split)
        if result["settings"].get("method", "visual") != "visual":
            continue
        inputs = tuple(getattr(settings, field) for field in _INPUTS)
        if inputs not in opened:
            opened[inputs] = retrieval_data.open_data(settings)
        data = opened[inputs]
        vectors[name] = _vectors(settings, data, runs.RunDirectory(directory))
    files = []
    if vectors:
        scatter = {name: _pairs(found, data, split, seed) for name, found in vectors.items()}
        figure = retrieval_figures.curves_figure(metrics, scatter=scatter)
        files += _sheets(vectors, data, split, folder, queries, seed)
    else:
        figure = retrieval_figures.curves_figure(metrics)
    files.insert(0, figures.save(figure, folder / "figure2.png"))
    for file in files:
        logging.info("wrote %s", file)
    return files


def _common_split(results: dict[str, dict[str, Any]]) -> str:
    """The split that all runs were evaluated on.

    Raises:
        RunError: if they were evaluated on different images.
    """
    found = {
        name: (result["dataset"]["manifest_sha256"][:8], _evaluation(result)["eval_split"])
        for name, result in results.items()
    }
    if len(set(found.values())) > 1:
        lines = (f"{name}: data {data}, split {split}" for name, (data, split) in found.items())
        raise runs.RunError(f"the runs are of different images: {'; '.join(lines)}")
    return next(iter(found.values()))[1]


def _evaluation(result: dict[str, Any]) -> dict[str, Any]:
    return result.get("evaluation", result["settings"])  # results of old have settings only


def _curves(name: str, metrics: dict[str, float], split: str) -> dict[str, dict[str, float]]:
    """A run's metrics of a split, of queries by image and, where it has them, by image and text."""
    prefix = f"{split}/"
    both = f"{prefix}{retrieval_report.IMAGE_AND_TEXT}/"
    curves = {}
    for title, start in ((name, prefix), (f"{name} (image+text)", both)):
        found = {k.removeprefix(start): v for k, v in metrics.items() if k.startswith(start)}
        if any(key.startswith("ndcg@") for key in found):
            curves[title] = found
    return curves


def _settings(result: dict[str, Any], directory: str) -> Settings:
    known = {field.name for field in dataclasses.fields(Settings)}
    saved = result["settings"] | _evaluation(result)
    saved = {name: value for name, value in saved.items() if name in known}
    saved |= {"run_dir": directory, "verify": "size"}
    return runs.restored(Settings, saved, pathlib.Path(directory, "result.json"))


def _vectors(settings: Settings, data: Data, run_dir: runs.RunDirectory) -> np.ndarray:
    """The vectors [N, D] of the split's images."""
    split = settings.eval_split
    if not run_dir.model_file("best").exists():
        return retrieval_report.baseline_vectors(settings, data, split)
    model = untrusted.load_model(run_dir.model_file("best"))
    regions = data.splits[split].regions
    # A run with a tuned backbone takes images.
    if "regions" in model.input and model.input["regions"].shape[-1] != regions.shape[-1]:
        raise runs.RunError(f"{run_dir.path}: is of another backbone than its settings say")
    return retrieval_report.embeddings(model, data, split)[retrieval_report.IMAGE]


def _pairs(vectors: np.ndarray, data: Data, split: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Caption and visual similarity of random pairs; half of them near by their captions."""
    tfidf = data.splits[split].tfidf
    rng = np.random.default_rng([seed, 5])
    rows = rng.integers(len(vectors), size=_POINTS)
    others = rng.integers(len(vectors), size=_POINTS)
    similar = (tfidf[rows[: _POINTS // 2]] @ tfidf.T).toarray()
    similar[np.arange(len(similar)), rows[: _POINTS // 2]] = -1
    nearest = np.argsort(-similar, axis=1)[:, : min(_NEAR, len(vectors) - 1)]
    chosen = rng.integers(nearest.shape[1], size=len(nearest))
    others[: _POINTS // 2] = nearest[np.arange(len(nearest)), chosen]
    relevance = np.asarray(tfidf[rows].multiply(tfidf[others]).sum(axis=1)).ravel()
    return relevance, np.sum(vectors[rows] * vectors[others], axis=1)


def _sheets(
    vectors: dict[str, np.ndarray],
    data: Data,
    split: str,
    folder: pathlib.Path,
    queries: int,
    seed: int,
) -> list[pathlib.Path]:
    part = data.splits[split]
    candidates = part.query_rows(data.settings.queries)
    chosen = np.random.default_rng([seed, 6]).permutation(candidates)[:queries]

    def picture(row: int) -> np.ndarray:
        record = examples.from_bytes("image_captions", part.reader.read(np.array([row]))[0])
        return figures.thinned(images.checked_pixels(record["image"]))

    files = []
    for page in range(0, len(chosen), _PER_PAGE):
        rankings = []
        for query in chosen[page : page + _PER_PAGE].tolist():
            relevance = (part.tfidf[query] @ part.tfidf.T).toarray().ravel()
            for name, found in vectors.items():
                scores = found @ found[query]
                scores[query] = -np.inf
                best = np.argsort(-scores, kind="stable")[:_SHOWN]
                rankings.append(
                    retrieval_figures.Ranking(
                        title=f"{name} {relevance[best].mean():.2f} ({part.ids[query]})",
                        query=picture(query),
                        images=[picture(row) for row in best],
                        captions=[f"{relevance[row]:.2f}" for row in best],
                    )
                )
        sheet = retrieval_figures.ranking_sheet(rankings, columns=_SHOWN, title=_HEADING)
        files.append(figures.save(sheet, folder / f"figure4_{page // _PER_PAGE + 1}.png"))
    return files


def main(argv: list[str]) -> None:
    """Reads the names of the runs and draws."""
    common_flags.reject_positional(argv)
    named = dict(part.partition("=")[::2] for part in flags.FLAGS.runs)
    if not all(named.values()):
        raise app.UsageError("--runs: give name=folder, comma-separated")
    run(named, flags.FLAGS.output_dir, queries=flags.FLAGS.sheets, seed=flags.FLAGS.seed)


if __name__ == "__main__":
    flags.DEFINE_list("runs", None, "name=run directory of each method.", required=True)
    flags.DEFINE_string("output_dir", "figures", "Folder of the figures.")
    flags.DEFINE_integer("sheets", 20, "Queries to draw the found images of.", lower_bound=0)
    common_flags.run_main(main)
