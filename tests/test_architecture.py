"""Holds docs/architecture.md: who may import whom, and the rules that the eye forgets."""

import ast
import fnmatch
import pathlib

import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = ("imgtext_tf", "experiments", "tfrecords_tools")
FILES = sorted(path for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py"))

TEXT_AND_LAYERS = ("imgtext_tf.metrics", "imgtext_tf.layers", "imgtext_tf.data.text")
# Files lie anywhere, and what others wrote is opened with care: everything may import these.
EVERYWHERE = ("imgtext_tf.untrusted", "imgtext_tf.filesystem")
# Module pattern -> what it may import of the project; the first pattern that fits counts.
MAY_IMPORT = {
    "imgtext_tf": (),
    "imgtext_tf.filesystem": ("imgtext_tf.remote",),
    "imgtext_tf.remote": (),
    "imgtext_tf.untrusted*": ("imgtext_tf.untrusted",),
    "imgtext_tf.mirror": (),
    "imgtext_tf.metrics*": (),
    "imgtext_tf.relations": (),
    "imgtext_tf.report": (),
    "imgtext_tf.markdown": ("imgtext_tf.report",),
    "imgtext_tf.annotation*": ("imgtext_tf.annotation", "imgtext_tf.relations", "imgtext_tf.data"),
    "imgtext_tf.prototypes": (),
    "imgtext_tf.layers*": ("imgtext_tf.layers",),
    "imgtext_tf.losses*": ("imgtext_tf.losses",),
    "imgtext_tf.data*": ("imgtext_tf.data", "imgtext_tf.relations"),
    "imgtext_tf.backbones": (),
    "imgtext_tf.encoders": ("imgtext_tf.layers", "imgtext_tf.backbones"),
    "imgtext_tf.branches": ("imgtext_tf.layers",),
    "imgtext_tf.stages": ("imgtext_tf.losses",),
    "imgtext_tf.sparse_gradients": (),
    "imgtext_tf.triplet_batches": (),
    "imgtext_tf.models*": (
        "imgtext_tf.encoders",
        "imgtext_tf.branches",
        "imgtext_tf.stages",
        "imgtext_tf.sparse_gradients",
        "imgtext_tf.triplet_batches",
        "imgtext_tf.layers",
        "imgtext_tf.losses",
        "imgtext_tf.data.text",
    ),
    "imgtext_tf.mining": TEXT_AND_LAYERS,
    "imgtext_tf.search*": (*TEXT_AND_LAYERS, "imgtext_tf.search"),
    "imgtext_tf.optimizers": (*TEXT_AND_LAYERS, "imgtext_tf.sparse_gradients"),
    "imgtext_tf.explain": TEXT_AND_LAYERS,
    "imgtext_tf.explain_figures": ("imgtext_tf.explain", "imgtext_tf.data.text"),
    # Between a run and a user's files: like export, but in Python.
    "imgtext_tf.predict": (
        "imgtext_tf.evaluation",
        "imgtext_tf.runs",
        "imgtext_tf.relations",
        "imgtext_tf.data",
        "imgtext_tf.metrics",
    ),
    "imgtext_tf.text_similarity*": (*TEXT_AND_LAYERS, "imgtext_tf.text_similarity"),
    "imgtext_tf.image_index": ("imgtext_tf.data",),
    "imgtext_tf.grounding": (),
    "imgtext_tf.retrieval_figures": (),
    "imgtext_tf.phrase_export": ("imgtext_tf.search", "imgtext_tf.data"),
    "imgtext_tf.export": ("imgtext_tf.runs", "imgtext_tf.search", "imgtext_tf.data"),
    "imgtext_tf.evaluation": ("imgtext_tf.metrics",),
    "imgtext_tf.matching_evaluation": ("imgtext_tf.metrics",),
    "imgtext_tf.embedding_figures": (),
    "imgtext_tf.vsepp": (),
    "imgtext_tf.training": (
        "imgtext_tf.distribution",
        "imgtext_tf.runs",
        "imgtext_tf.replicated_step",
        "imgtext_tf.callbacks",
        "imgtext_tf.board",
        "imgtext_tf.finite",
        "imgtext_tf.stop_signals",
    ),
    "imgtext_tf.callbacks": (
        "imgtext_tf.distribution",
        "imgtext_tf.replicated_step",
        "imgtext_tf.runs",
        "imgtext_tf.board",
        "imgtext_tf.checkpoints",
        "imgtext_tf.finite",
        "imgtext_tf.meters",
        "imgtext_tf.progress",
        "imgtext_tf.stop_signals",
    ),
    "imgtext_tf.board": ("imgtext_tf.event_files",),
    "imgtext_tf.event_files": ("imgtext_tf.runs",),
    "imgtext_tf.finite": ("imgtext_tf.runs",),
    "imgtext_tf.output_comparison": (),
    "imgtext_tf.checkpoints": ("imgtext_tf.replicated_step",),
    "imgtext_tf.meters": ("imgtext_tf.distribution",),
    "imgtext_tf.progress": (),
    "imgtext_tf.stop_signals": (),
    "imgtext_tf.replicated_step": ("imgtext_tf.distribution", "imgtext_tf.sparse_gradients"),
    "imgtext_tf.distribution": (),
    "imgtext_tf.clusters": (),
    "imgtext_tf.runs*": ("imgtext_tf.runs", "imgtext_tf.mirror", "imgtext_tf.run_log"),
    "imgtext_tf.run_log": (),
    "imgtext_tf.figures": (),
    "imgtext_tf.relation_figures": ("imgtext_tf.relations",),
    "imgtext_tf.label_figures": (),
    "imgtext_tf.curve_figures": (),
    # It measures all three packages.
    "experiments.benchmark*": ("imgtext_tf", "experiments", "tfrecords_tools"),
    # What the scripts of one paper share stands in modules of one topic; scripts stand alone.
    "experiments*": (
        "imgtext_tf",
        "experiments.common_flags",
        "experiments.relation_*",
        "experiments.matching_*",
        "experiments.retrieval_*",
        "experiments.settings_flags",
        "experiments.run_steps",
        "experiments.relation_*",
        "experiments.phrase_*",
        "experiments.fusion_*",
        "experiments.kill_watch",
        "experiments.embedding_*",
    ),
    "tfrecords_tools.readers*": (
        "imgtext_tf.data",
        "imgtext_tf.relations",
        "tfrecords_tools.readers",
    ),
    "tfrecords_tools*": (
        "tfrecords_tools",
        "imgtext_tf.data",
        "imgtext_tf.relations",
        "imgtext_tf.figures",
        "imgtext_tf.encoders",
    ),
}
FIT_ELSEWHERE = {
    "experiments/train_baselines.py": "scikit-learn's estimators, no Keras model",
    "imgtext_tf/text_similarity/fisher.py": "scikit-learn's mixture of Gaussians",
}
MODULE_LINES, FUNCTION_LINES = 300, 60
# Path, or path:function -> why it is longer than the limit.
LONG_FOR_A_REASON: dict[str, str] = {
    "imgtext_tf/data/pipeline.py:relation_dataset": "25 keyword arguments, passed on by name",
    "imgtext_tf/models/relation_classifier.py:relation_classifier": "one model, read top to bottom",
}


def name_of(path: pathlib.Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def short(path: pathlib.Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


MODULES = {name_of(path) for path in FILES}
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


def imports_of(tree: ast.AST) -> set[str]:
    """Every module that a tree imports, at its top or in a function."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in full}
            # `from absl import flags` imports absl.flags.
            found |= full if node.module.split(".")[0] not in PACKAGES else set()
    return found


def allowed_imports(module: str) -> tuple[str, ...] | None:
    for pattern, allowed in MAY_IMPORT.items():
        if fnmatch.fnmatchcase(module, pattern):
            return allowed
    return None


def covers(allowed: str, module: str) -> bool:
    return fnmatch.fnmatchcase(module, allowed) or module.startswith(allowed + ".")


def dotted(node: ast.AST) -> str:
    return ast.unparse(node) if isinstance(node, ast.Attribute | ast.Name) else ""


@pytest.mark.parametrize("path", FILES, ids=short)
def test_imports_follow_the_table(path):
    module = name_of(path)
    allowed = allowed_imports(module)
    assert allowed is not None, f"{module} has no row in the import table; give it one"
    project = {name for name in imports_of(TREES[path]) if name.split(".")[0] in PACKAGES}
    allowed = (*allowed, *EVERYWHERE)
    wrong = {name for name in project if not any(covers(entry, name) for entry in allowed)}
    assert not wrong, f"{module} may not import {sorted(wrong)}"


def test_no_import_of_private_or_legacy_keras():
    for path in FILES:
        names = imports_of(TREES[path]) | {dotted(node) for node in ast.walk(TREES[path])}
        banned = ("keras.src", "tf.keras", "tf_keras", "tensorflow.keras", "tensorflow.python")
        wrong = {name for name in names for bad in banned if f"{name}.".startswith(f"{bad}.")}
        assert not wrong, f"{short(path)} uses {sorted(wrong)}"


def test_the_library_reads_no_flags_and_prints_nothing():
    for path in FILES:
        if not short(path).startswith("imgtext_tf/"):
            continue
        names = imports_of(TREES[path])
        assert not names & {"absl.flags", "absl.app", "argparse"}, f"{short(path)} has flags"
        calls = [node for node in ast.walk(TREES[path]) if isinstance(node, ast.Call)]
        assert "print" not in {dotted(call.func) for call in calls}, f"{short(path)} prints"
        assert "sys.argv" not in {dotted(node) for node in ast.walk(TREES[path])}


def test_flags_are_defined_by_scripts_and_not_by_readers():
    readers = [path for path in FILES if "readers" in path.parts]
    assert all("absl.flags" not in imports_of(TREES[path]) for path in readers)


def test_fit_is_called_in_training_only():
    callers = {
        short(path)
        for path in FILES
        for node in ast.walk(TREES[path])
        if isinstance(node, ast.Call)
        and dotted(node.func).endswith(".fit")
        # `training.fit` is the way to it.
        and dotted(node.func) != "training.fit"
    }
    assert callers <= {"imgtext_tf/training.py", *FIT_ELSEWHERE}


def lengths() -> dict[str, int]:
    """Lines of each module, and of each function but its docstring under `path:name`."""
    found = {}
    for path, tree in TREES.items():
        found[short(path)] = len(path.read_text(encoding="utf-8").splitlines())
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                text = ast.get_docstring(node, clean=False)
                lines = node.end_lineno - node.lineno + 1 - (text.count("\n") + 1 if text else 0)
                found[f"{short(path)}:{node.name}"] = lines
    return found


def test_modules_and_functions_are_short_or_have_a_reason():
    long = {
        name
        for name, lines in lengths().items()
        if lines > (FUNCTION_LINES if ":" in name else MODULE_LINES)
    }
    assert long - set(LONG_FOR_A_REASON) == set(), "too long, and no reason stands in this test"
    assert set(LONG_FOR_A_REASON) - long == set(), "no longer too long: take it off the list"


def test_no_module_is_called_utils():
    assert not [name for name in MODULES if "util" in name.split(".")[-1]]


def test_every_data_file_is_packaged():
    """A flagfile or list that setup.py's patterns miss would be absent after `pip install .`."""
    call = next(
        node.value
        for node in ast.parse((REPOSITORY / "setup.py").read_text(encoding="utf-8")).body
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    )
    patterns = next(ast.literal_eval(k.value) for k in call.keywords if k.arg == "package_data")
    for package in PACKAGES:
        files = [p for p in (REPOSITORY / package).rglob("*") if p.is_file()]
        data = [p for p in files if p.suffix not in (".py", ".pyc")]
        matched = {
            m for pattern in patterns.get(package, []) for m in (REPOSITORY / package).glob(pattern)
        }
        assert set(data) == matched


def keyword(call: ast.Call, name: str) -> object:
    """The literal value of a call's keyword; None where it has none."""
    found = [k.value for k in call.keywords if k.arg == name]
    return found[0].value if found and isinstance(found[0], ast.Constant) else None


def test_no_code_is_run_from_data():
    """No pickle; NumPy, PyTorch and Keras load data only, and models in one place."""
    for path, tree in TREES.items():
        banned = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
        roots = {name.split(".")[0] for name in imports_of(tree)}
        assert not roots & banned, f"{short(path)} imports {sorted(roots & banned)}"
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            name, place = dotted(call.func), f"{short(path)}:{call.lineno}"
            assert name not in ("eval", "exec", "yaml.load"), f"{place} calls {name}"
            if name in ("np.load", "numpy.load"):
                assert keyword(call, "allow_pickle") is False, f"{place}: allow_pickle=False"
            if name == "torch.load":
                assert keyword(call, "weights_only") is True, f"{place}: weights_only=True"
            if name.endswith(("saving.load_model", "models.load_model")):
                assert keyword(call, "safe_mode") is True, f"{place}: use untrusted.load_model"
            if name.endswith("enable_unsafe_deserialization"):
                raise AssertionError(f"{place} lets code of files run")


def test_json_is_parsed_strictly_in_one_place():
    """`json.loads` falls over deep nesting, and takes NaN and fields that stand twice."""
    for path, tree in TREES.items():
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            if dotted(call.func) in ("json.load", "json.loads"):
                # Values made plain, as settings are compared: json.loads(json.dumps(...)).
                inner = call.args[0]
                plain = isinstance(inner, ast.Call) and dotted(inner.func) == "json.dumps"
                assert plain, f"{short(path)}:{call.lineno}: use untrusted.parse_json"
