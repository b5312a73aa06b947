"""Flags that two or more scripts share, and how a script is started.

A script adopts them with `flags.adopt_module_key_flags(common_flags)`, reads them only in its
`main(argv)`, and starts with `common_flags.run_main(main)`.
"""

from __future__ import annotations

import contextlib
import io
import logging as standard_logging
import os
import pathlib
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf
from absl import app, flags, logging

from imgtext_tf import clusters, distribution, runs, training
from imgtext_tf.data import shards

FLAGFILES = pathlib.Path(__file__).parent / "flagfiles"
# Errors whose message says what is wrong and how to mend it.
MISTAKES = (
    OSError,
    ValueError,
    clusters.ClusterError,
    runs.RunError,
    shards.ShardError,
    training.TrainingError,
)
# What a shell reports of a program that SIGTERM ended.
STOPPED = 128 + signal.SIGTERM
LOST_WORKER = 3
FLAGS = flags.FLAGS

flags.DEFINE_string("data_dir", None, "Folder of the shards that tfrecords_tools.build wrote.")
flags.DEFINE_string("input", None, "What to read; the script says which kinds of file.")
flags.DEFINE_string("output", None, "The file to write; the script says which kind.")
flags.DEFINE_string("run_dir", None, "Folder of the run: settings, weights, TensorBoard, result.")
flags.DEFINE_integer("seed", 0, "Seed of initialisation, order, dropout and distortions.")
flags.DEFINE_integer("batch_size", 12, "Pairs a training step.", lower_bound=1)
flags.DEFINE_integer("max_steps", 100_000, "Training steps in all.", lower_bound=1)
flags.DEFINE_integer("checkpoint_every", 1000, "Steps between two checkpoints.", lower_bound=1)
flags.DEFINE_list("eval_steps", [], "Steps after which to evaluate on val (comma-separated).")
flags.DEFINE_integer("eval_every", 0, "Steps between two evaluations on val; 0: see eval_steps.")
flags.DEFINE_bool("eval_only", False, "Evaluate the run's best weights; do not train.")
flags.DEFINE_enum("eval_split", "test", ["val", "test"], "The split to report on.")
flags.DEFINE_enum("which", "best", ["best", "last"], "The trained run's model to use.")
flags.DEFINE_bool("deterministic", False, "Bit-equal repetition, at some cost in speed.")
flags.DEFINE_bool("mixed_precision", False, "Compute in 16 bits: float16 on a GPU, else bfloat16.")
flags.DEFINE_bool("jit_compile", False, "Compile the training step with XLA.")
flags.DEFINE_enum(
    "verify",
    "full",
    ["full", "size"],
    "Check of the shards before the start: their sha256, or only that all are there in full size.",
)


flags.DEFINE_enum(
    "strategy",
    "single",
    distribution.STRATEGIES,
    "Train on one device, on all GPUs of this machine, or on the machines of TF_CONFIG or Slurm. "
    "--batch_size is that of all together.",
)


def installed_flagfiles() -> list[str]:
    """The names of the flagfiles that came with the package, such as "otto2020/x.flags"."""
    return sorted(path.relative_to(FLAGFILES).as_posix() for path in FLAGFILES.rglob("*.flags"))


def find_flagfile(name: str) -> str:
    """The path of a flagfile given by path or by the name of an installed one.

    Args:
        name: a file, or the name of an installed flagfile; the folder and the ending `.flags` may
            be left out where the rest says which one is meant.

    Raises:
        FileNotFoundError: if there is none, or several; lists the installed ones.
    """
    if pathlib.Path(name).expanduser().is_file():
        return name
    wanted = pathlib.PurePosixPath(name.removesuffix(".flags") + ".flags")
    found = [
        known for known in installed_flagfiles() if pathlib.PurePosixPath(known).match(str(wanted))
    ]
    if len(found) == 1:
        return str(FLAGFILES / found[0])
    known = "\n  ".join(found or installed_flagfiles())
    problem = "is the name of several flagfiles" if found else "is neither a file nor installed"
    raise FileNotFoundError(f"--flagfile={name}: {name!r} {problem}. Installed:\n  {known}")


def resolve_flagfiles(argv: Sequence[str]) -> list[str]:
    """Replaces the name of each `--flagfile` of a command line by its path.

    Raises:
        FileNotFoundError: as `find_flagfile`.
    """
    resolved, is_value = [], False
    for argument in argv:
        option, equals, value = argument.partition("=")
        if is_value:
            argument = find_flagfile(argument)
        elif option in ("--flagfile", "-flagfile") and equals:
            argument = f"{option}={find_flagfile(value)}"
        is_value = argument in ("--flagfile", "-flagfile")
        resolved.append(argument)
    return resolved


def reject_positional(argv: Sequence[str]) -> None:
    """Stops a script that was given more than flags, such as a flag without its dashes.

    Raises:
        app.UsageError: naming the surplus arguments.
    """
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments {argv[1:]}: every setting is a --flag=value")


def numbers(name: str, values: Sequence[str], kind: type = int) -> tuple:
    """The numbers of the list flag `name`.

    Args:
        name: of the flag.
        values: what stands between its commas.
        kind: int or float.

    Raises:
        app.UsageError: if one is no such number.
    """
    try:
        return tuple(kind(value) for value in values)
    except ValueError as error:
        what = "integers" if kind is int else "numbers"
        raise app.UsageError(f"--{name}: {error}; give {what}, comma-separated") from None


def data_fault(error: tf.errors.OpError) -> str:
    """What the input pipeline found wrong with the data; "" if TensorFlow itself failed.

    TensorFlow turns an error of Python code in a pipeline into one of its own, with a traceback.
    """
    found = re.findall(r"^(?:[\w.]*\.)?(?:\w*Error): (.+)$", str(error.message), re.M)
    ours = re.search(r"\b(?:ImageError|ShardError|ExampleError|CaptionError|FeatureError): ",
                     str(error.message))  # fmt: skip
    if found and ours:
        return found[-1]
    parsed = re.search(r"(Feature|Key): \w+\W.*", str(error.message))
    if parsed is None:
        return ""
    return (
        f"a record does not fit its kind ({parsed[0]:.200}); verify the shards, or build them again"
    )


@contextlib.contextmanager
def _workers() -> Iterator[None]:
    """Trains by --strategy. Only the chief has the run directory; others write to a temporary one.

    A worker that has lost another one ends at once, with a message, whatever still waits.
    """
    if FLAGS.strategy == "single":
        yield
        return
    if FLAGS.eval_only:
        raise app.UsageError("--eval_only: one process evaluates; leave out --strategy")
    cluster = clusters.from_environment() if FLAGS.strategy == "multi_worker" else None
    with tempfile.TemporaryDirectory(prefix="worker-") as folder:
        if cluster is not None and cluster.number > 0:
            FLAGS.run_dir = folder
        try:
            with distribution.started(FLAGS.strategy, cluster):
                # TensorFlow has put a handler of its own in its place.
                signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
                yield
        except tf.errors.OpError as error:
            if not distribution.is_lost(error):
                raise
            logging.debug("where it happened:", exc_info=True)
            print(
                f"error: another worker is gone ({_reason(error)}): see its log; start the same "
                "command on all workers to go on from the last checkpoint",
                file=sys.stderr, flush=True,
            )  # fmt: skip
            shutil.rmtree(folder, ignore_errors=True)
            # Threads of TensorFlow wait for the lost worker: a usual exit would hang.
            os._exit(LOST_WORKER)


def _reason(error: Exception) -> str:
    """What of an error says why workers no longer hear each other."""
    _, _, after = str(error).partition("Collective ops is aborted by: ")
    lines = (after or str(error)).strip().splitlines()
    return " ".join(line.strip() for line in lines[:2])[:300]


def run_main(main: Callable[[list[str]], object], *, trains: bool = False) -> None:
    """Starts a script: finds its flagfiles, parses its flags, logs to standard error.

    What a user can mend ends the script with its message, without a traceback unless verbose. A
    script that a signal stopped before its end exits with `STOPPED`, so that what should come after
    it does not.

    Args:
        main: of the script.
        trains: whether it trains, and takes a --strategy.
    """

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    def guarded(argv: list[str]) -> None:
        # A training takes both signals itself; this is for what comes before and after it.
        before = signal.signal(signal.SIGTERM, stop)
        try:
            if not trains and FLAGS.strategy != "single":
                raise app.UsageError("this script trains no network: leave out --strategy")
            with _workers():
                result = main(argv)
        except (*MISTAKES, tf.errors.OpError) as error:
            logging.debug("where it happened:", exc_info=True)
            message = data_fault(error) if isinstance(error, tf.errors.OpError) else str(error)
            if isinstance(error, UnicodeDecodeError):
                message = (
                    f"something read is no UTF-8 text, or no record ({error}); verify the data"
                )
            if not message:
                raise
            sys.exit(f"error: {message} (--verbosity=1 shows where)")
        except KeyboardInterrupt:
            print("stopped: run the same command to go on", file=sys.stderr)
            sys.exit(STOPPED)
        finally:
            signal.signal(signal.SIGTERM, before)
        if isinstance(result, dict) and result.get("status") == "stopped":
            sys.exit(STOPPED)

    try:
        argv = resolve_flagfiles(sys.argv)
    except FileNotFoundError as error:
        sys.exit(str(error))
    logging.set_verbosity(logging.INFO)
    # A terminal that cannot show a letter shows its number.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    logging.use_absl_handler()
    # It logs every file it opens, at length.
    standard_logging.getLogger("gensim").setLevel(standard_logging.WARNING)
    # It logs every sum over the workers.
    standard_logging.getLogger("tensorflow").setLevel(standard_logging.WARNING)
    app.run(guarded, argv=argv)
