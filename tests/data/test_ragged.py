import pytest
import tensorflow as tf

from imgtext_tf.data import ragged


@pytest.mark.parametrize(
    "lists",
    [
        [[b"a", b"b"], [], [b"c"]],
        [[[b"a"], [], [b"b", b"c"]], [], [[]], [[b"d"]]],
        [[[[1, 2], []], []], [[[3]]]],
    ],
)
def test_gives_what_tensorflow_gives(lists):
    tensor = tf.ragged.constant(lists)
    assert ragged.to_lists(tensor) == tensor.to_list() == lists
