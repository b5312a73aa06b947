"""Who the workers are: TF_CONFIG, and what Slurm's srun sets."""

import json

import pytest

from imgtext_tf import clusters


def tf_config(kind, index, **tasks):
    tasks = tasks or {"worker": ["a:1", "b:2"]}
    return {"TF_CONFIG": json.dumps({"cluster": tasks, "task": {"type": kind, "index": index}})}


def slurm(**changes):
    environ = {
        "SLURM_PROCID": "3",
        "SLURM_STEP_NUM_TASKS": "5",
        "SLURM_STEP_NODELIST": "n[9-10],gpu07",
        "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
        "SLURM_JOB_ID": "1000",
    }
    return environ | changes


def test_tf_config():
    cluster = clusters.from_environment(tf_config("worker", 1))
    assert (cluster.workers, cluster.number) == (("a:1", "b:2"), 1)
    assert clusters.from_environment({"TF_CONFIG": cluster.config()}) == cluster


def test_a_chief_stands_before_the_workers():
    tasks = {"worker": ["b:2", "c:3"], "chief": ["a:1"]}
    cluster = clusters.from_environment(tf_config("worker", 1, **tasks))
    assert (cluster.workers, cluster.number) == (("a:1", "b:2", "c:3"), 2)
    assert clusters.from_environment(tf_config("chief", 0, **tasks)).number == 0


def test_slurm_counts_hosts_in_its_own_order():
    cluster = clusters.from_environment(slurm())
    hosts = [worker.split(":")[0] for worker in cluster.workers]
    assert hosts == ["n9", "n9", "n10", "n10", "gpu07"]
    assert cluster.number == 3
    assert len(set(cluster.workers)) == 5
    other_job = clusters.from_environment(slurm(SLURM_JOB_ID="1001"))
    assert not set(cluster.workers) & set(other_job.workers)


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("n1", ["n1"]),
        ("n[01-03,7]", ["n01", "n02", "n03", "n7"]),
        ("a,b-[1-2]-x,c", ["a", "b-1-x", "b-2-x", "c"]),
    ],
)
def test_short_forms_of_hosts(text, hosts):
    assert clusters._hosts(text) == hosts


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({}, "set TF_CONFIG"),
        ({"TF_CONFIG": "{"}, "TF_CONFIG"),
        ({"TF_CONFIG": "[]"}, "TF_CONFIG"),
        (tf_config("worker", 2), "none of the workers"),
        (tf_config("ps", 0), "chief and worker only"),
        (tf_config("worker", 0, worker=["a:1"], ps=["b:2"]), "chief and worker only"),
        ({"SLURM_PROCID": "0"}, "srun"),
        (slurm(SLURM_STEP_NUM_TASKS="4"), "disagree"),
        (slurm(SLURM_STEP_NODELIST="n[1-x]"), "cannot read"),
        (slurm(SLURM_STEP_TASKS_PER_NODE="2,y"), "cannot read"),
        (slurm(SLURM_DISTRIBUTION="cyclic"), "block"),
    ],
)
def test_errors_say_what_to_set(environ, message):
    with pytest.raises(clusters.ClusterError, match=message):
        clusters.from_environment(environ)
