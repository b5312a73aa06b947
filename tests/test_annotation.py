import json
import re

import numpy as np
import pytest

from imgtext_tf import annotation, annotation_page, relations
from imgtext_tf.annotation_page import Item

LONG = """pair,annotator,label,automatic
p1,ann,Anchorage,Anchorage
p1,ben,anchorage ,Anchorage
p2,ben,unsure,Contrasting
p2,cleo,NA,Contrasting
"""
WIDE = """id,ann,ben,cleo
p1,a,b,
p2,.,a,a
"""


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_one_line_a_vote(tmp_path):
    votes = annotation.read_annotations(write(tmp_path / "a.csv", LONG))
    assert votes.pairs == ("p1", "p2") and votes.annotators == ("ann", "ben", "cleo")
    assert votes.labels == (("Anchorage", "Anchorage", ""), ("", "Unsure", ""))
    assert votes.automatic == ("Anchorage", "Contrasting")
    assert votes.names() == relations.RELATIONS
    codes = votes.codes(relations.RELATIONS, missing=-1, unsure=-2)
    np.testing.assert_array_equal(codes, [[4, 4, -1], [-1, -2, -1]])


def test_case_makes_no_other_class(tmp_path):
    wide = "pair,a,b,automatic\np1,bad ANCHORAGE,Bad Anchorage,bad anchorage\np2,UNSURE,na,NA\n"
    path = write(tmp_path / "a.csv", wide)
    votes = annotation.read_annotations(path, missing=("NA", "na", "Unsure"))
    assert votes.labels == (("Bad Anchorage", "Bad Anchorage"), ("", ""))
    assert votes.automatic == ("Bad Anchorage", "") and votes.names() == relations.RELATIONS


def test_one_line_a_pair(tmp_path):
    votes = annotation.read_annotations(write(tmp_path / "a.csv", WIDE))
    assert votes.annotators == ("ann", "ben", "cleo")
    assert votes.labels == (("a", "b", ""), ("", "a", "a"))
    assert votes.names() == ("a", "b")
    # As spreadsheets write it, in one country or another.
    for delimiter in "\t;":
        other = write(tmp_path / "b.csv", "\ufeff" + WIDE.replace(",", delimiter))
        assert annotation.read_annotations(other) == votes


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pair,annotator,label\np,a,x\np,a,y\n", "line 3: 'a' voted on 'p' before"),
        ("pair,annotator,label\np,,x\n", "line 2: pair or annotator is empty"),
        ("pair,annotator,label\np,a\n", "line 2: the row has 2 columns"),
        ("pair,annotator,label,automatic\np,a,x,u\np,b,x,v\n", "line 3.*generated as 'u' before"),
        ("pair,annotator,label\np,a,dog\np,b,Dog\n", "line 3: the label 'Dog' was 'dog' before"),
        ("pair,annotator,label,automatic\np,a,dog,Dog\n", "line 2: the label 'Dog' was 'dog'"),
        ("annotator,label\na,x\n", "no column names the pair"),
        ("pair,rater_name,label\np,a,x\n", "'label' is the label.*annotator, coder, observer"),
        ("pair,Coder,said\np,a,x\n", "'Coder' is the annotator.*label, class, vote"),
        ("pair\np\n", "a column for each annotator"),
        ("pair,pair,label\n", "names a column twice"),
    ],
)
def test_bad_tables(tmp_path, text, message):
    with pytest.raises(annotation.AnnotationError, match=message):
        annotation.read_annotations(write(tmp_path / "a.csv", text))


def test_a_table_that_is_no_text(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"pair,annotator,label\np,a,\xff\n")
    with pytest.raises(annotation.AnnotationError, match="is not UTF-8"):
        annotation.read_annotations(tmp_path / "a.csv")
    with pytest.raises(annotation.AnnotationError, match="cannot be read: No such file"):
        annotation.read_annotations(tmp_path / "b.csv")


KEY = """annotator,item,pair,automatic
ann,1,x,Anchorage
ann,2,y,Contrasting
ben,1,y,Contrasting
"""


def test_votes_find_their_pairs(tmp_path):
    key = write(tmp_path / "key.csv", KEY)
    paths = {
        "ann": write(tmp_path / "votes_ann.csv", "item,label\n1,bad anchorage\n2,\n"),
        "ben": write(tmp_path / "votes_ben.csv", '\ufeff"item";"label"\r\n1;UNSURE\r\n'),
    }
    rows = annotation.join_votes(key, paths)
    assert [tuple(row.values()) for row in rows] == [
        ("x", "ann", "Bad Anchorage", "Anchorage"),
        ("y", "ann", "", "Contrasting"),
        ("y", "ben", "Unsure", "Contrasting"),
    ]
    annotation.write_table(tmp_path / "out.csv", annotation.ANNOTATION_COLUMNS, rows)
    votes = annotation.read_annotations(tmp_path / "out.csv")
    assert votes.labels == (("Bad Anchorage", ""), ("", "Unsure"))


@pytest.mark.parametrize(
    ("votes", "message"),
    [
        ("item,label\n3,Anchorage\n", "line 2: the key has no item '3'"),
        ("item,label\n1,Anchorage\n1,Unsure\n", "line 3: item 1 stands twice"),
        ("item,label\n1,Nonsense\n", "unknown label 'Nonsense': use Uncorrelated"),
        ("item\n1\n", "no column label"),
    ],
)
def test_votes_that_do_not_fit(tmp_path, votes, message):
    key = write(tmp_path / "key.csv", KEY)
    path = write(tmp_path / "votes_ann.csv", votes)
    with pytest.raises(annotation.AnnotationError, match=message):
        annotation.join_votes(key, {"ann": path})
    with pytest.raises(annotation.AnnotationError, match="no annotator 'dora'"):
        annotation.join_votes(key, {"dora": path})


def test_a_page_needs_no_network_and_tells_no_class():
    items = [Item("1", b"jpeg", 'He said: "<b>5 > 3</b> & </script>".'), Item("2", b"j", "Two")]
    page = annotation_page.voting_page(items, annotator="ann", kit="k")
    assert not re.search(r"https?:|src=\"(?!data:)|href=\"", page)
    assert "&lt;b&gt;5 &gt; 3&lt;/b&gt; &amp; &lt;/script&gt;" in page
    # One choice of each class and Unsure for each item.
    for name in (*relations.RELATIONS, "Unsure"):
        assert len(re.findall(f'value="{name}"', page)) == 2
    assert page.count("data:image/jpeg;base64,") == 2
    # Each class has a key, the same on every page, and a vote can be none else.
    choices = (*relations.RELATIONS, "Unsure")
    for key, name in enumerate(choices, start=1):
        assert page.count(f"<kbd>{key}</kbd> {name}</label>") == 2
    kit = json.loads(re.search(r'id="kit" type="application/json">(.*?)</script>', page).group(1))
    assert kit == {"kit": "k", "annotator": "ann", "items": ["1", "2"], "labels": list(choices)}
    # All that the script asks for is there.
    for name in re.findall(r'element\("(\w+)"\)', page):
        assert f'id="{name}"' in page
    assert page.count("<script") == 2 == page.count("</script>")


def test_a_page_refuses_what_is_not_blind():
    with pytest.raises(ValueError, match="names its class"):
        annotation_page.voting_page([Item("1", b"", "t", "Anchorage")], annotator="a", kit="k")
    with pytest.raises(ValueError, match="one number"):
        annotation_page.voting_page([Item("1", b"", "t")] * 2, annotator="a", kit="k")


def test_the_instructions_have_all_classes_and_metrics():
    examples = [Item("", b"j", f"text of {name}", name) for name in relations.RELATIONS]
    sheet = annotation_page.instruction_sheet(examples)
    for name, (cmi, sc, stat) in relations.METRICS_OF_RELATION.items():
        row = f'<td class="class">{name}</td><td>{cmi}</td><td>{sc}</td><td>{stat}</td>'
        assert row in sheet and f"<h3>{name}</h3>" in sheet and f"text of {name}" in sheet
    assert "Unsure" in sheet and not re.search(r"https?:", sheet)
