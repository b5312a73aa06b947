"""All runners call the same functions; Beam's workers take tasks from files with a digest."""

import dataclasses
import os
import pathlib

import pytest

from imgtext_tf import filesystem
from imgtext_tf.data import files, runners


@dataclasses.dataclass(frozen=True)
class Square:
    path: str
    number: int


def write(task):
    if task.number < 0:
        raise files.ShardError(f"no square of {task.number}")
    files.write_file(task.path, str(task.number**2).encode())
    return task.number**2


def finished(task):
    return int(filesystem.read_bytes(task.path)) if filesystem.exists(task.path) else None


def squares(folder, numbers, runner):
    tasks = [Square(os.path.join(folder, str(number)), number) for number in numbers]
    made = runners.map_shards(write, tasks, runner, finished=finished, folder=str(folder))
    return {task.number: result for task, result in made}


BEAM = runners.Runner("beam", beam_options=("direct_running_mode=in_memory",))


@pytest.fixture
def beam():
    pytest.importorskip("apache_beam", reason="Apache Beam is not installed: .[beam] brings it")


def test_local_runner_takes_what_is_there(tmp_path):
    (tmp_path / "2").write_text("5")  # is not asked for again
    assert squares(tmp_path, [1, 2, 3], runners.Runner()) == {1: 1, 2: 5, 3: 9}


@pytest.mark.parametrize("scheme", ["", "ram"])
def test_beam_runner_leaves_the_same_and_nothing_else(tmp_path, beam, scheme):
    folder = f"ram://beam-{os.getpid()}" if scheme else str(tmp_path)
    files.write_file(f"{folder}/2", b"5")
    assert squares(folder, [1, 2, 3], BEAM) == {1: 1, 2: 5, 3: 9}
    assert filesystem.listdir(folder) == ["1", "2", "3"]


def test_error_of_a_beam_worker_is_told_and_the_rest_can_go_on(tmp_path, beam):
    with pytest.raises(files.ShardError, match="(?s)same command again.*no square of -1"):
        squares(tmp_path, [1, -1], BEAM)
    assert squares(tmp_path, [1, 3], BEAM) == {1: 1, 3: 9}
    assert sorted(os.listdir(tmp_path)) == ["1", "3"]


def test_shards_that_cannot_be_seen_are_an_error(tmp_path, beam):
    task = Square(str(tmp_path / "4"), 4)
    made = runners.map_shards(
        write, [task], BEAM, finished=lost, folder=str(tmp_path)
    )  # as if the worker had a disk of its own
    with pytest.raises(files.ShardError, match="cannot be seen here"):
        list(made)


def lost(task):
    return None


def test_a_worker_takes_only_what_the_launcher_wrote(tmp_path):
    path, digest = runners._write_task(str(tmp_path), 0, Square(str(tmp_path / "6"), 6))
    names = {"write": f"{__name__}:write", "finished": f"{__name__}:finished", "gpus": False}
    runners.run_task((path, digest), **names)
    assert (tmp_path / "6").read_text() == "36"
    pathlib.Path(path).write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
    with pytest.raises(files.ShardError, match="not what the launcher wrote"):
        runners.run_task((path, digest), **names)


def test_settings_that_do_not_go_together():
    with pytest.raises(ValueError, match="use one of local, beam"):
        runners.Runner("spark")
    with pytest.raises(ValueError, match="need --runner=beam"):
        runners.Runner(beam_options=("runner=FlinkRunner",))


def test_without_beam_the_error_names_the_mend(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "apache_beam", None)
    with pytest.raises(files.ShardError, match=r"pip install 'imgtext_tf\[beam\]'"):
        squares(tmp_path, [1], runners.Runner("beam"))
