"""Files that others wrote, opened with care: JSON, tables, NumPy arrays, Keras models, paths.

Whatever is wrong with such a file is a `DamagedError` that names it. Nothing here runs code of a
file, follows a path out of its folder, waits for a device, or takes memory that the file's size
does not bound. Files lie anywhere that `imgtext_tf.filesystem` reads.
"""

from imgtext_tf.untrusted.arrays import load_model, load_npy, load_npz, load_weights
from imgtext_tf.untrusted.documents import need, parse_json, parse_one, read_json
from imgtext_tf.untrusted.messages import ShortError, shortened
from imgtext_tf.untrusted.paths import (
    MAX_FILE_BYTES,
    MAX_LINE_BYTES,
    DamagedError,
    below,
    read_bytes,
    read_lines,
    size_of,
)
from imgtext_tf.untrusted.tables import read_table

__all__ = [
    "MAX_FILE_BYTES",
    "MAX_LINE_BYTES",
    "DamagedError",
    "ShortError",
    "below",
    "load_model",
    "load_npy",
    "load_npz",
    "load_weights",
    "need",
    "parse_json",
    "parse_one",
    "read_bytes",
    "read_json",
    "read_lines",
    "read_table",
    "shortened",
    "size_of",
]
