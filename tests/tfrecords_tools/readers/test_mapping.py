import json
import struct

import pytest
import tensorflow as tf

from tfrecords_tools.readers import base, mapping

SIMPLE = "image=photo,text=caption,label=class"


def test_csv_and_tsv_with_quotes_and_newlines(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('photo,caption,class\nx.jpg,"One, ""two"".\nThree.",Anchorage\nx.jpg,y\n')
    first, second = mapping.pairs(path, mapping.parse_mapping(SIMPLE), tmp_path / "images")
    assert first.sentences == ('One, "two".', "Three.")
    assert first.image_path == str(tmp_path / "images/x.jpg")
    assert isinstance(second, base.BadRecord) and "columns" in second.reason
    path = tmp_path / "a.tsv"
    path.write_text("photo\tcaption\tclass\nx.jpg\tA text\tUncorrelated\n")
    (pair,) = mapping.pairs(path, mapping.parse_mapping(SIMPLE))
    assert pair.relation == "Uncorrelated"


def test_a_bad_or_long_row_of_a_table_costs_no_other(tmp_path):
    path = tmp_path / "a.csv"
    long = b"word " * 30_000  # 150,000 bytes; Python's csv stops at 131,072 by itself
    path.write_bytes(
        b"photo,caption,class\nx.jpg,caf\xe9,Anchorage\nx.jpg," + long + b",Anchorage\n"
    )
    first, second = mapping.pairs(path, mapping.parse_mapping(SIMPLE))
    assert isinstance(first, base.BadRecord) and "not UTF-8" in first.reason
    assert len(second.sentences[0].split()) == 30_000


def test_jsonl_with_renamed_labels_and_splits(tmp_path, files):
    files.json(
        tmp_path / "m.json",
        {
            "fields": {"image": "i", "text": "t", "label": "l", "split": "s", "id": "k"},
            "labels": {"3": "Illustration"},
            "splits": {"dev": "val"},
        },
    )
    record = {"i": "a.jpg", "t": ["A.", "B."], "l": 3, "s": "dev", "k": 17, "more": None}
    (tmp_path / "a.jsonl").write_text(json.dumps(record) + "\n{}\n")
    fields = mapping.parse_mapping(str(tmp_path / "m.json"))
    first, second = mapping.pairs(tmp_path / "a.jsonl", fields)
    assert (first.id, first.relation, first.split) == ("a/17", "Illustration", "val")
    assert isinstance(second, base.BadRecord) and "'i'" in second.reason


def test_tfrecord_with_image_bytes_or_paths(tmp_path, files):
    files.jpeg(tmp_path / "x.jpg", 1)
    image = (tmp_path / "x.jpg").read_bytes()
    path = str(tmp_path / "a.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        for value in (image, b"folder/y.jpg"):
            features = {
                "photo": tf.train.Feature(bytes_list=tf.train.BytesList(value=[value])),
                "t": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"A.", b"B."])),
                "cmi": tf.train.Feature(int64_list=tf.train.Int64List(value=[1])),
                "sc": tf.train.Feature(int64_list=tf.train.Int64List(value=[-1])),
                "stat": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"T"])),
            }
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())
    fields = mapping.parse_mapping("image=photo,text=t,cmi=cmi,sc=sc,stat=stat")
    for _ in range(2):
        first, second = mapping.pairs(path, fields, tmp_path / "images")
    assert first.sentences == ("A.", "B.")
    assert first.relation == "Bad Illustration"
    (written,) = (tmp_path / "images").iterdir()
    assert first.image_path == str(written) and written.read_bytes() == image
    assert second.image_path == str(tmp_path / "images/folder/y.jpg")
    data = bytearray(open(path, "rb").read())
    data[20] ^= 1
    (tmp_path / "b.tfrecord").write_bytes(data)
    with pytest.raises(base.ReaderError, match="b.tfrecord"):
        list(mapping.pairs(tmp_path / "b.tfrecord", fields))


@pytest.mark.parametrize(
    "text, reason",
    [
        ("image=a,text=b", "needs image, text and label"),
        ("image=a,text=b,cmi=c,sc=d", "needs image, text and label"),
        ("image=a,text=b,label=c,colour=d", "colour"),
        ("image=a,text=,label=c", "unknown or empty"),
    ],
)
def test_wrong_mappings(text, reason):
    with pytest.raises(base.ReaderError, match=reason):
        mapping.parse_mapping(text)


def test_unknown_suffix_and_bad_encoding(tmp_path):
    fields = mapping.parse_mapping(SIMPLE)
    with pytest.raises(base.ReaderError, match="use a .csv"):
        list(mapping.pairs(tmp_path / "a.xlsx", fields))
    # Bytes of another encoding cost their rows; a whole file of them is over the limit then.
    (tmp_path / "a.csv").write_bytes(b"photo,caption,class\nx,\xff,Anchorage\n")
    (item,) = mapping.pairs(tmp_path / "a.csv", fields)
    assert isinstance(item, base.BadRecord) and "a.csv:2" in item.id


def test_a_record_that_is_no_example_is_bad(tmp_path):
    path = str(tmp_path / "a.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        writer.write(b"\xff\xff no example")
    (item,) = mapping.pairs(path, mapping.parse_mapping(SIMPLE))
    assert isinstance(item, base.BadRecord) and "tf.train.Example" in item.reason


def test_a_record_that_announces_a_terabyte_is_named(tmp_path):
    """With the right check sum of its length, for which TensorFlow would take the memory."""
    length = struct.pack("<Q", 2**40)
    crc = 0xFFFFFFFF
    for byte in length:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    (tmp_path / "a.tfrecord").write_bytes(length + struct.pack("<I", masked) + bytes(100))
    fields = mapping.parse_mapping("image=i,text=t,label=l")
    with pytest.raises(base.ReaderError, match="byte 0 announces 1099511627776 bytes"):
        list(mapping.pairs(tmp_path / "a.tfrecord", fields))
