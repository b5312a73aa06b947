"""The schema of every record kind, with `encode` and `decode` side by side.

A record is a dict. On disk it is a serialised `tf.train.Example` in a TFRecord shard, with one
feature per field of `KINDS[kind]` (strings as UTF-8).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

import tensorflow as tf

from imgtext_tf import relations, untrusted

MAX_ID_BYTES = 512

# What batches hold, wherever they occur: name -> shape, dtype, meaning. `imgtext_tf.data.pipeline`
# makes these names, models take them.
BATCH_NAMES: dict[str, str] = {
    "image": "[B, H, W, 3] float32 in [0, 1]",
    "image_features": "[B, h, w, C] float32: a backbone's last feature map",
    "word_ids": "[B, S, W] int32: 0 padding, 1 unknown, 2.. words; S sentences of W words",
    "ngram_ids": "[B, S, W, G] int32: 0 padding; non-zero for unknown words only",
    "caption_ids": "[B, W] int32: 0 padding, 1 unknown, 2.. words of one caption",
    "image_row": "[B] int32: number of the caption's image; captions of one image share it",
    "query": "[B] int64: a query's number, by falling frequency",
    "visual": "[B, C] float32: bottleneck features of the visual embedding model",
    "text": "[B, 200] float32: mean embedding of the phrases of an image",
    "phrase": "[B, 64] float32: bottleneck of the phrase generator",
    "id": "[B] string: the record's id",
    "relation": "[B] int32 label: place in relations.RELATIONS, or in the data's own classes",
    "cmi": "[B] int32 label: place in relations.METRIC_VALUES['cmi']",
    "sc": "[B] int32 label: place in relations.METRIC_VALUES['sc']",
    "stat": "[B] int32 label: place in relations.METRIC_VALUES['stat']",
}


class ExampleError(untrusted.ShortError, ValueError):
    """A record that does not fit its kind's schema."""


@dataclasses.dataclass(frozen=True)
class Field:
    """One field of a record kind.

    Attributes:
        dtype: str, bytes or int.
        ragged: whether the value is a list of any length.
        default: the value where a record lacks the field; None makes the field a required one.
    """

    dtype: type
    ragged: bool = False
    default: Any = None


_IMAGE = {
    "id": Field(str),
    "image": Field(bytes),  # JPEG, PNG, GIF or BMP, as found
    "image_id": Field(str),  # hex of sha256(image)[:16]: an image's identity across sources
    "height": Field(int),
    "width": Field(int),
    "source": Field(str),
    "group": Field(str),
}

_PAIR = {
    **_IMAGE,
    "sentences": Field(str, ragged=True),
    "relation": Field(str),
    "swaps": Field(str, ragged=True, default=()),  # each a JSON [sentence, start, old, new]
}

KINDS: dict[str, dict[str, Field]] = {
    "relation": {
        **_PAIR,
        "cmi": Field(int),
        "sc": Field(int),
        "stat": Field(str),
    },
    # A pair whose `relation` is one of the user's own classes, which have no metrics.
    "own_relation": _PAIR,
    "image_captions": {
        **_IMAGE,
        "sentences": Field(str, ragged=True),
        "sentence_ids": Field(str, ragged=True),
        # WordNet synset of every annotated object, as often as it stands there.
        "objects": Field(str, ragged=True, default=()),
    },
    # A photo and all queries that people used for it; more_queries only name it (prototypes).
    "image_query": {
        **_IMAGE,
        "queries": Field(str, ragged=True),
        "more_queries": Field(str, ragged=True, default=()),
    },
    # A photo and what it is verified to show, and not to show; the rest is unknown.
    "image_labels": {
        **_IMAGE,
        "positives": Field(str, ragged=True),
        "negatives": Field(str, ragged=True, default=()),
    },
    "feature": {
        "image_id": Field(str),
        "shape": Field(int, ragged=True),
        "dtype": Field(str),  # "float16" or "float32", little-endian
        "values": Field(bytes),
    },
}


def fields_of(kind: str) -> dict[str, Field]:
    """The fields of a record kind.

    Raises:
        ExampleError: if the kind is unknown.
    """
    if kind not in KINDS:
        raise ExampleError(f"unknown record kind {kind!r}: use one of {', '.join(KINDS)}")
    return KINDS[kind]


def id_of(kind: str, record: Mapping[str, Any]) -> str:
    """The id of a record: field `id`, or `image_id` where the kind has no `id`."""
    return record.get("id" if "id" in fields_of(kind) else "image_id", "")


def sentences_of(kind: str, record: Mapping[str, Any]) -> list[str]:
    """The texts of a record, none for kinds without text."""
    if kind == "image_query":
        return list(record["queries"])
    return list(record["sentences"]) if "sentences" in fields_of(kind) else []


def encode(kind: str, record: Mapping[str, Any]) -> bytes:
    """Serialises a record as a `tf.train.Example`; equal records give equal bytes.

    Args:
        kind: a key of `KINDS`.
        record: one value per field; strings as str, images as bytes.

    Raises:
        ExampleError: naming record, field and mend, if the kind is unknown, a field is missing,
            unknown, empty or of another type, a text is no valid Unicode, or the values
            contradict each other.
    """
    fields = fields_of(kind)
    record_id = id_of(kind, record)
    unknown = sorted(set(record) - set(fields))
    if unknown:
        raise _error(record_id, unknown[0], f"is no field of kind {kind!r}; leave it out")
    example = tf.train.Example()
    for name, field in sorted(fields.items()):
        value = record.get(name, field.default)
        if value is None:
            raise _error(record_id, name, "is missing; give it a value")
        if field.ragged and isinstance(value, (str, bytes)):
            raise _error(record_id, name, "is a single string; give a list of them")
        values = list(value) if field.ragged else [value]
        feature = example.features.feature[name]
        if field.dtype is int:
            feature.int64_list.value.extend(_integers(record_id, name, values))
        else:
            feature.bytes_list.value.extend(_bytes(record_id, name, field.dtype, values))
    _check(kind, record_id, record)
    return example.SerializeToString(deterministic=True)


def decode(
    kind: str, serialized: tf.Tensor, *, fields: Collection[str] | None = None
) -> dict[str, tf.Tensor | tf.RaggedTensor]:
    """Parses serialised records in the graph.

    Args:
        kind: a key of `KINDS`.
        serialized: [] or [B] string.
        fields: the fields to parse; None means all. What is not named costs nothing.

    Returns:
        One tensor per field, string or int64: [] or [B]; a list field is [n] for one record and
        a RaggedTensor [B, (n)] for a batch.

    Raises:
        ExampleError: if the kind or a field is unknown.
        tf.errors.InvalidArgumentError: if the bytes are no record of this kind.
    """
    known = fields_of(kind)
    unknown = sorted(set(fields or ()) - set(known))
    if unknown:
        raise ExampleError(f"kind {kind!r} has no field {unknown[0]!r}: use {', '.join(known)}")
    spec: dict[str, tf.io.FixedLenFeature | tf.io.RaggedFeature] = {}
    for name in known if fields is None else fields:
        dtype = tf.int64 if known[name].dtype is int else tf.string
        spec[name] = (
            tf.io.RaggedFeature(dtype, row_splits_dtype=tf.int64)
            if known[name].ragged
            else tf.io.FixedLenFeature([], dtype)
        )
    serialized = tf.convert_to_tensor(serialized)
    if serialized.shape.rank == 0:
        return tf.io.parse_single_example(serialized, spec)
    return tf.io.parse_example(serialized, spec)


def from_bytes(kind: str, data: bytes) -> dict[str, Any]:
    """Parses one serialised record in plain Python: the inverse of `encode`.

    Raises:
        ExampleError: if the bytes are no record of this kind.
    """
    try:
        features = tf.train.Example.FromString(data).features.feature
    except Exception as error:  # protobuf's DecodeError is no public name of TensorFlow
        raise ExampleError(f"not a record of kind {kind!r}: {error}") from error
    record = {}
    for name, field in fields_of(kind).items():
        if name not in features:
            if field.default is None:
                raise ExampleError(f"not a record of kind {kind!r}: it has no field {name!r}")
            record[name] = list(field.default)
            continue
        held = "int64_list" if field.dtype is int else "bytes_list"
        if features[name].WhichOneof("kind") not in (held, None):
            raise ExampleError(f"not a record of kind {kind!r}: {name!r} holds another type")
        values = list(getattr(features[name], held).value)
        if field.dtype is str:
            try:
                values = [value.decode("utf-8") for value in values]
            except UnicodeDecodeError as error:
                raise ExampleError(
                    f"not a record of kind {kind!r}: {name!r} is not UTF-8 ({error.reason})"
                ) from None
        if not field.ragged and len(values) != 1:
            raise ExampleError(f"not a record of kind {kind!r}: {name!r} has {len(values)} values")
        record[name] = values if field.ragged else values[0]
    return record


def _error(record_id: str, name: str, what: str) -> ExampleError:
    return ExampleError(f"record {record_id!r}: field {name!r} {what}")


def _integers(record_id: str, name: str, values: list) -> list[int]:
    for value in values:
        # NumPy integers have __index__; floats and strings do not. A bool is no number here.
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise _error(record_id, name, f"holds {value!r}; give an int")
    return [int(value) for value in values]


def _bytes(record_id: str, name: str, dtype: type, values: list) -> list[bytes]:
    for value in values:
        if not isinstance(value, dtype):
            kind = type(value).__name__
            raise _error(record_id, name, f"holds a value of type {kind}; give {dtype.__name__}")
    if dtype is bytes:
        return values
    try:
        return [value.encode("utf-8") for value in values]
    except UnicodeEncodeError as error:
        raise _error(
            record_id, name, f"is no valid Unicode ({error.reason}); read the source as UTF-8"
        ) from error


def _check(kind: str, record_id: str, record: Mapping[str, Any]) -> None:
    """What the types alone do not say."""
    id_field = "id" if "id" in KINDS[kind] else "image_id"
    if not record_id or any(ord(letter) < 32 for letter in record_id):
        raise _error(record_id, id_field, "is empty or has control characters; give a printable id")
    if len(record_id.encode("utf-8")) > MAX_ID_BYTES:
        raise _error(record_id[:40], id_field, f"is longer than {MAX_ID_BYTES} bytes; shorten it")
    if not record.get("image", b"-"):
        raise _error(record_id, "image", "is empty; leave the record out")
    if kind not in ("feature", "image_labels"):
        sentences = sentences_of(kind, record)
        if not sentences or not all(sentence.strip() for sentence in sentences):
            name = "queries" if kind == "image_query" else "sentences"
            raise _error(record_id, name, "has an empty text; leave the sentence or record out")
    if kind == "image_captions" and len(record["sentence_ids"]) != len(record["sentences"]):
        raise _error(record_id, "sentence_ids", "is not as long as sentences; give one id each")
    if kind == "own_relation" and not record["relation"].strip():
        raise _error(record_id, "relation", "is empty; give the pair a class")
    if kind == "relation":
        try:
            expected = relations.relation_of(record["cmi"], record["sc"], record["stat"])
        except ValueError as error:
            raise _error(record_id, "cmi, sc, stat", f"are no leaf: {error}") from error
        if record["relation"] != expected or expected == relations.UNDEFINED:
            raise _error(
                record_id,
                "relation",
                f"is {record['relation']!r}, but cmi, sc and stat say {expected!r}; mend the label",
            )
