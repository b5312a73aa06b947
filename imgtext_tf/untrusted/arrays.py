"""NumPy arrays and Keras models: data only, never code."""

from __future__ import annotations

import contextlib
import io
import math
import os
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from imgtext_tf import filesystem
from imgtext_tf.untrusted.paths import DamagedError, size_of

_EXPANSION, _SMALL = 20, 2**26  # how much larger than its archive a model may be
_SHOWN = 500


def load_npz(path: str | os.PathLike, data: bytes | None = None) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` file that `np.savez` wrote.

    Args:
        path: of the file.
        data: its content, where it was read before.

    Raises:
        DamagedError: naming the file.
        FileNotFoundError: if it is missing.
    """
    try:
        size = size_of(path) if data is None else len(data)
        with filesystem.open_binary(path) if data is None else io.BytesIO(data) as file:
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
            # savez stores; what is compressed could be of any size.
            if any(m.compress_type != zipfile.ZIP_STORED for m in members):
                raise DamagedError("holds compressed arrays")
            if sum(member.file_size for member in members) > size:
                raise DamagedError("announces more bytes than it has")
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                return {name: np.asarray(arrays[name]) for name in arrays.files}
    except FileNotFoundError:
        raise
    except Exception as error:  # NumPy's and zip's parsers raise whatever they trip over
        raise DamagedError(f"{path}: is no archive of arrays ({_short(error)})") from error


def load_npy(path: str | os.PathLike, *, mmap: bool = False) -> np.ndarray:
    """An array that `np.save` wrote; with `mmap` it stays in its file, or a remote one's copy.

    Raises:
        DamagedError: naming the file.
        FileNotFoundError: if it is missing.
    """
    try:
        size_of(path)
        if mmap:
            found = np.load(filesystem.local_copy(path), mmap_mode="r", allow_pickle=False)
        else:
            with filesystem.open_binary(path) as file:
                found = np.load(file, allow_pickle=False)
        if not isinstance(found, np.ndarray):
            found.close()
            raise DamagedError("it is an archive of arrays")
        return found
    except FileNotFoundError:
        raise
    except Exception as error:
        raise DamagedError(f"{path}: is no array ({_short(error)})") from error


def load_model(path: str | os.PathLike) -> Any:
    """A Keras model, not compiled, loaded in safe mode: no code in the file is run.

    Raises:
        DamagedError: naming the file, if it is damaged or holds what only code can rebuild, such as
            a Lambda layer.
        FileNotFoundError: if it is missing.
    """
    import keras  # Slow, and readers of raw data do without.

    path = os.fspath(path)
    try:
        local = filesystem.local_copy(path)
        size = size_of(local)
        if zipfile.is_zipfile(local):
            size = _check_archive(local)
        with _weights_of_at_most(size + _SMALL):
            model = keras.saving.load_model(local, compile=False, safe_mode=True)
        if not isinstance(model, keras.Model):
            raise DamagedError(f"it holds a {type(model).__name__}")
        return model
    except FileNotFoundError:
        raise
    except Exception as error:  # Keras and HDF5 raise whatever they trip over
        if "lambda" in str(error).lower():
            raise DamagedError(
                f"{path}: holds a Lambda layer, whose code is not run from a file; replace it by a "
                "registered layer and save the model again"
            ) from error
        raise DamagedError(f"{path}: is no Keras model ({_short(error)})") from error


@contextlib.contextmanager
def _weights_of_at_most(most: int) -> Iterator[None]:
    """Refuses models whose layers want more weights than their file can hold a byte each of.

    A few letters announce a layer of any size, which Keras makes before it looks for its weights.
    """
    import keras

    wanted, add_weight = 0, keras.Layer.add_weight

    def counted(layer: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal wanted
        shape = kwargs.get("shape", args[0] if args else ())
        sides = shape if isinstance(shape, list | tuple) else [shape]
        wanted += math.prod(side for side in sides if isinstance(side, int))
        if wanted > most:
            raise DamagedError(f"its layers want {wanted} weights or more, its file holds fewer")
        return add_weight(layer, *args, **kwargs)

    keras.Layer.add_weight = counted  # there is no other place between a layer's shape and memory
    try:
        yield
    finally:
        keras.Layer.add_weight = add_weight


def load_weights(model: Any, path: str | os.PathLike) -> None:
    """Loads a file of weights into a Keras model.

    Raises:
        DamagedError: naming the file, if it is damaged or of another model.
    """
    try:
        size_of(path)
        model.load_weights(filesystem.local_copy(path))
    except Exception as error:
        raise DamagedError(f"{path}: holds no weights of {model.name} ({_short(error)})") from error


def _check_archive(path: str) -> int:
    """Compares the check sums, which Keras does not, and gives the size that it unpacks to."""
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > _EXPANSION * os.path.getsize(path) + _SMALL:
            raise DamagedError(f"it would unpack to {unpacked} bytes")
        if name := archive.testzip():
            raise DamagedError(f"{name} in it is damaged")
    return unpacked


def _short(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]:.{_SHOWN}}" if text else repr(error)
