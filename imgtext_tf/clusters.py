"""Which workers a training has, read from the environment: TF_CONFIG or Slurm."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Mapping

from imgtext_tf import untrusted

_SLURM = tuple(
    f"SLURM_{name}" for name in ("PROCID", "STEP_NUM_TASKS", "STEP_NODELIST", "STEP_TASKS_PER_NODE")
)
_FIRST_PORT, _PORTS = 20_000, 20_000
_EXAMPLE = (
    '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": 0}}'
)


class ClusterError(RuntimeError):
    """The cluster is not described, or broke."""


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The workers, in the order of their numbers; the first is the chief.

    Attributes:
        workers: "host:port" of each.
        number: of this process.
    """

    workers: tuple[str, ...]
    number: int

    def config(self) -> str:
        """The cluster as TensorFlow wants it in TF_CONFIG."""
        return json.dumps(
            {
                "cluster": {"worker": list(self.workers)},
                "task": {"type": "worker", "index": self.number},
            }
        )


def from_environment(environ: Mapping[str, str] | None = None) -> Cluster:
    """The cluster that TF_CONFIG describes or, without one, the Slurm step of this process.

    Args:
        environ: the variables; None for those of the process.

    Raises:
        ClusterError: if there is neither, or one is wrong.
    """
    environ = os.environ if environ is None else environ
    if environ.get("TF_CONFIG"):
        return _from_tf_config(environ["TF_CONFIG"])
    if "SLURM_PROCID" in environ:
        return _from_slurm(environ)
    raise ClusterError(
        f"--strategy=multi_worker: set TF_CONFIG for each worker, such as TF_CONFIG='{_EXAMPLE}', "
        "or start the workers with Slurm's srun"
    )


def _from_tf_config(text: str) -> Cluster:
    try:
        config = untrusted.parse_json(text)
        tasks, own = config["cluster"], config["task"]
        # TensorFlow counts a chief before the workers.
        workers = [*tasks.get("chief", ()), *tasks.get("worker", ())]
        other = sorted(set(tasks) - {"chief", "worker"})
        number = int(own["index"]) + (len(tasks.get("chief", ())) if own["type"] == "worker" else 0)
        known = own["type"] in ("chief", "worker")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ClusterError(
            f"TF_CONFIG: {type(error).__name__}: {error}; give JSON such as {_EXAMPLE}"
        ) from None
    if other or not known:
        raise ClusterError(f"TF_CONFIG: tasks {other or own['type']}: use chief and worker only")
    if not workers or not 0 <= number < len(workers):
        raise ClusterError(f"TF_CONFIG: task {own} is none of the workers {workers}")
    return Cluster(tuple(workers), number)


def _from_slurm(environ: Mapping[str, str]) -> Cluster:
    """The tasks of a Slurm step, by the order in which Slurm numbers them.

    TensorFlow's own SlurmClusterResolver needs GPUs and sorts hosts by name: "n10" before "n9".
    """
    if missing := [name for name in _SLURM if name not in environ]:
        raise ClusterError(f"Slurm set no {', '.join(missing)}: start the workers with srun")
    if environ.get("SLURM_DISTRIBUTION", "block").split(",")[0].split(":")[0] == "cyclic":
        raise ClusterError("srun --distribution=cyclic: use block, where a host's tasks follow")
    hosts = _hosts(environ["SLURM_STEP_NODELIST"])
    counts = _tasks_of_hosts(environ["SLURM_STEP_TASKS_PER_NODE"])
    total = int(environ["SLURM_STEP_NUM_TASKS"])
    if len(hosts) != len(counts) or sum(counts) != total:
        raise ClusterError(
            f"Slurm's variables disagree: hosts {hosts}, tasks a host {counts}, {total} tasks"
        )
    # Jobs that share a host take other ports; the tasks of a job one after the other.
    job = int(environ.get("SLURM_JOB_ID", 0))
    first = _FIRST_PORT + job * 64 % _PORTS
    workers = [
        f"{host}:{first + task}"
        for host, count in zip(hosts, counts, strict=True)
        for task in range(count)
    ]
    return Cluster(tuple(workers), int(environ["SLURM_PROCID"]))


def _hosts(text: str) -> list[str]:
    """Slurm's short form of hosts, such as "n[1-2,07],m5": every host."""
    found = []
    for part in re.findall(r"(?:[^,\[\]]|\[[^\]]*\])+", text):
        head, _, rest = part.partition("[")
        if not rest:
            found.append(part)
            continue
        ranges, _, tail = rest.partition("]")
        for one in ranges.split(","):
            low, _, high = one.partition("-")
            if not low.isdigit() or (high and not high.isdigit()) or "[" in tail:
                raise ClusterError(f"SLURM_STEP_NODELIST: cannot read {part!r}; set TF_CONFIG")
            numbers = range(int(low), int(high or low) + 1)
            found += [f"{head}{str(number).zfill(len(low))}{tail}" for number in numbers]
    return found


def _tasks_of_hosts(text: str) -> list[int]:
    """Slurm's short form of numbers, such as "2(x3),1": 2, 2, 2, 1."""
    found = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if match is None:
            raise ClusterError(f"SLURM_STEP_TASKS_PER_NODE: cannot read {text!r}; set TF_CONFIG")
        found += [int(match[1])] * int(match[2] or 1)
    return found
