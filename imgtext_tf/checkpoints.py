"""The variables of a model that a checkpoint holds: model, optimisers, seed generators."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterable, Iterator, Mapping

import keras
import numpy as np

from imgtext_tf import replicated_step


@contextlib.contextmanager
def as_if_ended(model: keras.Model) -> Iterator[None]:
    """Gives the model the weights it would end with now, and afterwards its old state back.

    The final weights are averaged ones if the optimiser averages. The states of seed generators
    come back too: a Keras RNN with dropout draws its masks in prediction as well as in training,
    so that without this an evaluation would change the training after it.
    """
    weights = {id(variable) for variable in model.weights}
    seeds = [variable for variable in model.variables if id(variable) not in weights]
    before = [(variable, variable.numpy()) for variable in [*model.trainable_variables, *seeds]]
    if model.optimizer is not None:
        model.optimizer.finalize_variable_values(model.trainable_variables)
    try:
        yield
    finally:
        for variable, value in before:
            variable.assign(value)


def variables_by_name(model: keras.Model) -> dict[str, keras.Variable]:
    """All variables that training changes, by a name that depends on their order only.

    `model.variables` holds the weights and the states of the seed generators; metrics begin anew.
    Variables that a layer marks as constant (tables of given vectors, frozen backbones: most of the
    bytes) are left out.
    """
    groups = {"model": [value for value in model.variables if not is_constant(value)]}
    for number, optimizer in enumerate(replicated_step.optimizers_of(model)):
        if not optimizer.built:
            raise ValueError(f"the optimiser {optimizer.name!r} must be built before training")
        groups[f"optimizer{number}"] = optimizer.variables
    return {
        f"{group}/{index:05d}": variable
        for group, variables in groups.items()
        for index, variable in enumerate(variables)
    }


def is_constant(variable: keras.Variable) -> bool:
    """Whether a layer marked the variable as given from outside and never trained."""
    return getattr(variable, "constant", False)


def checksum(variables: Iterable[keras.Variable]) -> int:
    """A checksum of the values, in the variables' order."""
    value = 0
    for variable in variables:
        value = zlib.crc32(np.ascontiguousarray(variable.numpy()).data, value)
    return value


def assign(variables: Mapping[str, keras.Variable], arrays: Mapping[str, np.ndarray]) -> None:
    """Gives variables their values; ValueError if they do not fit."""
    if variables.keys() != arrays.keys():
        raise ValueError(
            f"the checkpoint has {len(arrays)} variables and the model with its optimisers "
            f"{len(variables)}: it is of another model"
        )
    for name, variable in variables.items():
        array = arrays[name]
        if array.dtype.kind == "V":  # NumPy's files forget the name of bfloat16
            array = array.view(variable.numpy().dtype)
        if array.shape != tuple(variable.shape):
            raise ValueError(
                f"the checkpoint has shape {array.shape} for {variable.path} of shape "
                f"{tuple(variable.shape)}: it is of another model"
            )
        variable.assign(array)
