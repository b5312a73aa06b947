"""What a run is made with: versions, device, processor, the commit of the code."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

import tensorflow as tf

_PACKAGES = ("imgtext_tf", "tensorflow", "keras", "tensorflow-text", "tensorflow-hub", "numpy")


def environment() -> dict[str, Any]:
    """Versions, devices and the commit of the code, for `environment.json`."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    gpus = [
        tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
        for gpu in tf.config.list_physical_devices("GPU")
    ]
    return {
        "versions": versions,
        "device": ", ".join(gpus) or "CPU",
        "cpu": _cpu_name(),
        "cpu_cores": os.cpu_count(),
        "platform": platform.platform(),
        "git_commit": _git_commit(),
    }


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
        if match:
            return match.group(1)
    return platform.processor() or platform.machine()


def _git_commit() -> str | None:
    """The commit of this file, with "-dirty" after it if the tree has changes; None outside git."""
    git = ["git", "-C", str(Path(__file__).parent)]
    options = {"check": True, "capture_output": True, "text": True, "timeout": 10}
    try:
        # An installed copy may lie inside some other repository, which does not track it.
        subprocess.run([*git, "ls-files", "--error-unmatch", Path(__file__).name], **options)
        command = [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(command, **options).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
