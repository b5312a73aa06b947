"""The values of a training's metrics: they go on over checkpoints and resumes until logged."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np

from imgtext_tf import distribution

_PREFIX = "metrics/"  # what their names begin with in a checkpoint


class Meters:
    """What the metrics of a model had at the last checkpoint."""

    def __init__(self, model: keras.Model):
        """Knows of no values yet.

        Args:
            model: the compiled model.
        """
        self._model = model
        self._values: list[np.ndarray] = []
        self._wait = False

    def go_on(self) -> None:
        """Gives the metrics their values back: Keras resets them where an epoch begins."""
        variables = self._variables()
        # Keras makes some of them in the first step of a process only.
        self._wait = len(variables) < len(self._values)
        if not self._wait:
            for variable, value in zip(variables, self._values, strict=False):
                variable.assign(value)

    def logs(self, logs: Mapping[str, float]) -> dict[str, float]:
        """The logs of a step, with what the metrics had before a resume added."""
        if not self._wait:
            return dict(logs)
        self._wait = False
        for variable, value in zip(self._variables(), self._values, strict=False):
            variable.assign_add(value)
        results = self._model.get_metrics_result()
        return {name: float(results.get(name, old)) for name, old in logs.items()}

    def keep(self, *, logged: bool) -> None:
        """Notes the values for a checkpoint; none where they have just been logged."""
        self._values = [] if logged else [one.numpy() for one in self._variables()]

    def arrays(self) -> dict[str, np.ndarray]:
        """What a checkpoint holds of them."""
        return {f"{_PREFIX}{number:05d}": value for number, value in enumerate(self._values)}

    def take(self, arrays: dict[str, np.ndarray]) -> None:
        """Takes them out of the arrays of a checkpoint."""
        self._values = [arrays.pop(name) for name in sorted(arrays) if name.startswith(_PREFIX)]

    def _variables(self) -> list[keras.Variable]:
        """Of one replica: those of several are read by all workers together, or not at all."""
        return [] if distribution.replicas() > 1 else self._model.metrics_variables
