"""The pages of the annotation kit: one HTML file each that needs no network and no server.

A page holds its pictures, keeps votes in the browser while they are made, and gives them back as a
CSV file. The sheet of instructions has what the paper's annotators were given: short definitions of
the metrics, the categorisation, and an example of each class (Otto2020, Section 5.1).
"""

from __future__ import annotations

import base64
import dataclasses
import html
import json
from collections.abc import Sequence

from imgtext_tf import relations
from imgtext_tf.annotation import UNSURE

# Wordings are ours, after Sections 3.1 and 3.2.
METRIC_TEXTS = {
    "Cross-modal mutual information (CMI)": (
        "Do picture and text show and name the same things? <b>0</b>: no shared object, person or "
        "concept. <b>1</b>: at least one that matters. Whether what is said of them is right does "
        "not count here, and neither do trifles in the background."
    ),
    "Semantic correlation (SC)": (
        "Do the meanings fit together? <b>1</b>: they belong together. <b>0</b>: they have nothing "
        "to do with each other. <b>-1</b>: they contradict each other, because the text gives "
        "something in the picture other attributes, or speaks of what should be there and is not."
    ),
    "Status (STAT)": (
        "Which of the two matters more? <b>T</b>: the text; the picture could be replaced by quite "
        "another one. <b>I</b>: the picture; the text says what it shows. <b>0</b>: both "
        "alike."
    ),
}
CLASS_TEXTS = {
    "Uncorrelated": "Picture and text do not belong together in any obvious way.",
    "Interdependent": (
        "They share no object, yet together they say what neither says alone, as the slogan and "
        "the picture of an advertisement do."
    ),
    "Complementary": "They share something, and each adds something that the other has not.",
    "Illustration": "A general text, such as a definition, with a picture of one example.",
    "Anchorage": "A description of what is to be seen in the picture.",
    "Contrasting": "As Complementary, but they contradict each other in details.",
    "Bad Illustration": "As Illustration, but the picture contradicts the text in details.",
    "Bad Anchorage": "As Anchorage, but the description is wrong in details.",
}
UNSURE_TEXT = "No class can be assigned."

_STYLE = """
body { font: 16px/1.45 sans-serif; margin: 0 auto; max-width: 60em; padding: 1em; color: #222; }
table { border-collapse: collapse; } td, th { border: 1px solid #bbb; padding: .3em .6em; }
img { max-width: 100%; max-height: 26em; display: block; }
article { border-top: 1px solid #ccc; padding: 1em 0; }
article.done { background: #f1f6fb; } .class { font-weight: bold; }
label { display: inline-block; margin: .15em .9em .15em 0; white-space: nowrap; }
#bar { position: sticky; top: 0; background: #fff; padding: .6em 0; border-bottom: 1px solid #888; }
.text { margin: .6em 0; } button { font-size: 1em; }
"""

_SCRIPT = """
const kit = JSON.parse(document.getElementById("kit").textContent);
const place = "votes " + kit.kit + " " + kit.annotator;
let votes = {};
try { votes = JSON.parse(localStorage.getItem(place) || "{}"); } catch (error) { votes = {}; }
function show() {
  let done = 0;
  for (const item of kit.items) {
    const label = votes[item];
    document.getElementById("item" + item).className = label ? "done" : "";
    for (const choice of document.getElementsByName("vote" + item)) {
      choice.checked = choice.value === label;
    }
    if (label) done += 1;
  }
  document.getElementById("count").textContent = done + " of " + kit.items.length;
}
function keep() {
  try { localStorage.setItem(place, JSON.stringify(votes)); } catch (error) { /* no storage */ }
  show();
}
document.addEventListener("change", (event) => {
  if (event.target.name && event.target.name.startsWith("vote")) {
    votes[event.target.name.slice(4)] = event.target.value;
    keep();
  }
});
document.getElementById("save").addEventListener("click", () => {
  const lines = ["item,label"].concat(kit.items.map((item) => item + "," + (votes[item] || "")));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([lines.join("\\n") + "\\n"], {type: "text/csv"}));
  link.download = "votes_" + kit.annotator + ".csv";
  link.click();
});
document.getElementById("load").addEventListener("change", async (event) => {
  const file = event.target.files[0];
  if (!file) return;
  for (const line of (await file.text()).split(/\\r?\\n/).slice(1)) {
    const [item, label] = line.split(",");
    if (label && kit.items.includes(item)) votes[item] = label;
  }
  keep();
});
show();
"""


@dataclasses.dataclass(frozen=True)
class Item:
    """A pair as it is shown.

    Attributes:
        number: what the annotator knows it by.
        image: a JPEG file.
        text: the text.
        relation: its class, on the sheet of instructions only; "" on a page of votes.
    """

    number: str
    image: bytes
    text: str
    relation: str = ""


def voting_page(items: Sequence[Item], *, annotator: str, kit: str) -> str:
    """The page on which one annotator votes on all items, in their order.

    Args:
        items: the pairs; none may say its class.
        annotator: goes into the name of the file with the votes.
        kit: tells this kit's votes from those of others in the same browser.

    Raises:
        ValueError: if an item tells its class, or a number stands twice.
    """
    if any(item.relation for item in items):
        raise ValueError("an item of a blind page names its class; leave it empty")
    numbers = [item.number for item in items]
    if len(set(numbers)) < len(numbers):
        raise ValueError("two items have one number")
    data = json.dumps({"kit": kit, "annotator": annotator, "items": numbers})
    articles = []
    for item in items:
        choices = "".join(
            f'<label title="{html.escape(hint)}"><input type="radio" name="vote{item.number}" '
            f'value="{html.escape(name)}"> {html.escape(name)}</label>'
            for name, hint in (CLASS_TEXTS | {UNSURE: UNSURE_TEXT}).items()
        )
        articles.append(
            f'<article id="item{item.number}"><h2>{item.number}</h2>{_picture(item)}'
            f'<p class="text">{html.escape(item.text)}</p><p>{choices}</p></article>'
        )
    bar = (
        '<div id="bar"><b id="count"></b> voted. <button id="save">Save the votes</button> '
        '<label>Go on with saved votes: <input id="load" type="file" accept=".csv"></label></div>'
    )
    body = [
        "<h1>How do picture and text relate?</h1>",
        "<p>Read the instructions first. Choose one class for each pair, or Unsure. Votes stay in "
        "this browser until you save them; send the saved file back.</p>",
        bar,
        *articles,
        # "<" cannot end the script where it is written so.
        '<script id="kit" type="application/json">' + data.replace("<", "\\u003c") + "</script>",
        f"<script>{_SCRIPT}</script>",
    ]
    return _document("Votes", body)


def instruction_sheet(examples: Sequence[Item]) -> str:
    """The sheet of instructions, with examples that say their class.

    Reference: Otto2020, Sections 3 and 5.1.
    """
    metrics = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in METRIC_TEXTS.items())
    rows = "".join(
        f'<tr><td class="class">{name}</td><td>{cmi}</td><td>{sc}</td><td>{stat}</td>'
        f"<td>{CLASS_TEXTS[name]}</td></tr>"
        for name, (cmi, sc, stat) in relations.METRICS_OF_RELATION.items()
    )
    shown = "".join(
        f"<article><h3>{html.escape(item.relation)}</h3>{_picture(item)}"
        f'<p class="text">{html.escape(item.text)}</p></article>'
        for item in examples
    )
    body = [
        "<h1>Instructions</h1>",
        "<p>You see pairs of a picture and a text. Say of each how the two relate. Judge the pair "
        "as it is; do not guess where it comes from, and do not talk about pairs with the other "
        "annotators before all are done.</p>",
        f"<h2>Three questions</h2><dl>{metrics}</dl>",
        "<h2>Eight classes</h2><p>The answers lead to the class. Other combinations of answers do "
        "not occur: if you arrive at one, think again.</p><table><tr><th>class</th><th>CMI</th>"
        f"<th>SC</th><th>STAT</th><th>in short</th></tr>{rows}</table>",
        f"<p><b>{UNSURE}</b>: {UNSURE_TEXT} Use it where you cannot decide, not where deciding "
        "takes a while.</p>",
        f"<h2>An example of each class</h2>{shown}",
    ]
    return _document("Instructions", body)


def _picture(item: Item) -> str:
    data = base64.b64encode(item.image).decode("ascii")
    return f'<img alt="picture {html.escape(item.number)}" src="data:image/jpeg;base64,{data}">'


def _document(title: str, body: Sequence[str]) -> str:
    head = f'<meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    parts = "\n".join(body)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n{parts}\n</body></html>\n'
