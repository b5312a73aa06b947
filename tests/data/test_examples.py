"""Records: encode and decode are inverse, deterministic, and name what is wrong."""

import numpy as np
import pytest
import tensorflow as tf

from imgtext_tf.data import examples

FEATURE = {"image_id": "0a", "shape": [1, 1, 2], "dtype": "float16", "values": b"\0\1\2\3"}


def test_every_kind_survives_the_round_trip(record):
    pair = record(3)
    base = {name: pair[name] for name in ("id", "image", "image_id", "height", "width")}
    base |= {"source": "s", "group": "g"}
    records = {
        "relation": pair | {"swaps": ['[0, 4, "red", "green"]'], "sentences": ["Über 1.", "二"]},
        "own_relation": base | {"sentences": ["one"], "relation": "parallel", "swaps": []},
        "image_captions": base
        | {"sentences": ["one", "two"], "sentence_ids": ["c1", "c2"]}
        | {"objects": ["dog.n.01"]},
        "image_query": base | {"queries": ["red dog", "dog"], "more_queries": ["a dog"]},
        "image_labels": base | {"positives": ["Dog"], "negatives": []},
        "feature": FEATURE,
    }
    assert set(records) == set(examples.KINDS)
    for kind, one in records.items():
        assert examples.from_bytes(kind, examples.encode(kind, one)) == one


def test_equal_records_give_equal_bytes_in_any_field_order(record):
    one = record(5)
    assert examples.encode("relation", one) == examples.encode(
        "relation", dict(reversed(one.items()))
    )


def test_defaults_fill_missing_fields(record):
    data = examples.encode("relation", record(0))
    assert examples.from_bytes("relation", data)["swaps"] == []


def test_decode_gives_scalars_and_lists(record):
    one = record(2) | {"sentences": ["a", "b c"]}
    decoded = examples.decode("relation", examples.encode("relation", one))
    assert decoded["height"].shape == [] and decoded["height"] == one["height"]
    assert decoded["sentences"].numpy().tolist() == [b"a", b"b c"]
    assert decoded["image"] == one["image"]
    assert set(decoded) == set(examples.KINDS["relation"])


def test_decode_gives_ragged_batches_in_the_graph(record):
    texts = [["a"], ["b", "c", "d"], ["e", "f"]]
    batch = [examples.encode("relation", record(n) | {"sentences": t}) for n, t in enumerate(texts)]
    decode = tf.function(lambda x: examples.decode("relation", x, fields=["sentences", "sc"]))
    decoded = decode(tf.constant(batch))
    assert set(decoded) == {"sentences", "sc"}
    assert decoded["sentences"].to_list() == [[s.encode() for s in text] for text in texts]
    assert decoded["sc"].numpy().tolist() == [record(n)["sc"] for n in range(3)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sentences": []}, "sentences.*empty text"),
        ({"sentences": ["fine", "  "]}, "sentences.*empty text"),
        ({"sentences": "one string"}, "sentences.*list"),
        ({"sentences": [b"bytes"]}, "sentences.*bytes.*give str"),
        ({"sentences": ["bad \udcff"]}, "sentences.*Unicode"),
        ({"image": b""}, "image.*empty"),
        ({"image": "text"}, "image.*give bytes"),
        ({"height": 1.5}, "height.*1.5.*int"),
        ({"height": None}, "height.*missing"),
        ({"colour": "red"}, "colour.*no field"),
        ({"id": ""}, "id.*empty"),
        ({"id": "a\nb"}, "control characters"),
        ({"id": "i" * 600}, "longer than 512"),
        ({"cmi": 2}, "no leaf"),
        ({"relation": "Anchorage"}, "'Anchorage'.*say 'Interdependent'"),
        ({"cmi": 0, "sc": -1, "relation": "Undefined"}, "Undefined"),
    ],
)
def test_a_wrong_record_is_named_with_field_and_mend(record, change, message):
    one = record(1) | change
    with pytest.raises(examples.ExampleError, match=message) as caught:
        examples.encode("relation", one)
    assert repr(one["id"][:40])[:-1] in str(caught.value)


def test_sentence_ids_are_as_many_as_sentences(record):
    base = {name: record(0)[name] for name in ("id", "image", "image_id", "height", "width")}
    captions = base | {"source": "s", "group": "g", "sentences": ["a"], "sentence_ids": []}
    with pytest.raises(examples.ExampleError, match="one id each"):
        examples.encode("image_captions", captions)


def test_numpy_integers_are_integers_and_bools_are_not(record):
    one = record(0)
    same = one | {"height": np.int64(one["height"])}
    assert examples.encode("relation", same) == examples.encode("relation", one)
    with pytest.raises(examples.ExampleError, match="True"):
        examples.encode("relation", one | {"width": True})


def test_foreign_bytes_and_kinds_raise():
    with pytest.raises(examples.ExampleError, match="not a record"):
        examples.from_bytes("feature", b"\xff\xff")
    with pytest.raises(examples.ExampleError, match="no field"):
        examples.from_bytes("relation", examples.encode("feature", FEATURE))
    with pytest.raises(examples.ExampleError, match="unknown record kind"):
        examples.encode("video", {})
    with pytest.raises(examples.ExampleError, match="no field 'colour'"):
        examples.decode("feature", b"", fields=["colour"])


def test_a_class_of_the_users_own_has_a_name_and_no_metrics(record):
    pair = {name: value for name, value in record(3).items() if name not in ("cmi", "sc", "stat")}
    assert b"parallel" in examples.encode("own_relation", pair | {"relation": "parallel"})
    with pytest.raises(examples.ExampleError, match="'relation' is empty"):
        examples.encode("own_relation", pair | {"relation": " "})
    with pytest.raises(examples.ExampleError, match="'cmi' is no field"):
        examples.encode("own_relation", record(3))
