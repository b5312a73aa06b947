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
article { border-top: 1px solid #ccc; padding: 1em; scroll-margin-top: 5em; }
article { border-left: 4px solid transparent; }
article.done { background: #f1f6fb; } article.now { border-left-color: #0b5fa5; }
kbd { border: 1px solid #bbb; border-radius: 3px; padding: 0 .3em; font-size: .8em; color: #555; }
.class { font-weight: bold; } #message { color: #c4390a; }
label { display: inline-block; margin: .15em .9em .15em 0; white-space: nowrap; }
#bar { position: sticky; top: 0; background: #fff; padding: .6em 0; border-bottom: 1px solid #888; }
.text { margin: .6em 0; } button { font-size: 1em; }
"""

_SCRIPT = """
const element = (id) => document.getElementById(id);
const kit = JSON.parse(element("kit").textContent);
const place = "votes " + kit.kit + " " + kit.annotator;
const known = (text) => kit.labels.find((one) => one.toLowerCase() === text.toLowerCase());
let votes = {}, unsaved = false, now = kit.items[0];

function say(text) { element("message").textContent = text; }
function show(item) {
  const article = element("item" + item);
  article.classList.toggle("done", Boolean(votes[item]));
  for (const choice of article.querySelectorAll("input")) {
    choice.checked = choice.value === votes[item];
  }
}
function keep() {
  const done = kit.items.filter((item) => votes[item]).length;
  element("count").textContent = done + " of " + kit.items.length;
  try {
    localStorage.setItem(place, JSON.stringify(votes));
  } catch (error) {
    unsaved = done > 0;
    say("This browser keeps no votes for this page: save them before you close it.");
  }
}
function vote(item, label) {
  if (label) votes[item] = label; else delete votes[item];
  show(item);
  keep();
}
function mark(item) {
  element("item" + now).classList.remove("now");
  now = item;
  element("item" + now).classList.add("now");
}
function go(item) {
  if (!item) return say("Every pair has a vote: save the votes.");
  mark(item);
  element("item" + item).scrollIntoView();
}
function unvoted() {
  const next = kit.items.indexOf(now) + 1;
  return kit.items.slice(next).concat(kit.items.slice(0, next)).find((item) => !votes[item]);
}
document.addEventListener("click", (event) => {
  const article = event.target.closest && event.target.closest("article");
  if (article) mark(article.id.slice(4));
});
document.addEventListener("change", (event) => {
  if (event.target.name && event.target.name.startsWith("vote")) {
    mark(event.target.name.slice(4));
    vote(now, event.target.value);
  }
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const label = kit.labels[Number(event.key) - 1];
  if (label) { vote(now, label); go(unvoted()); }
  else if (event.key === "0") vote(now, "");
  else if (event.key === "n") go(unvoted());
  else if (event.key === "b") go(kit.items[kit.items.indexOf(now) - 1] || now);
  else return;
  event.preventDefault();
});
element("next").addEventListener("click", () => go(unvoted()));
element("save").addEventListener("click", () => {
  const lines = ["item,label"].concat(kit.items.map((item) => item + "," + (votes[item] || "")));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([lines.join("\\n") + "\\n"], {type: "text/csv"}));
  link.download = "votes_" + kit.annotator + ".csv";
  link.click();
  unsaved = false;
});
element("load").addEventListener("change", async (event) => {
  const file = event.target.files[0];
  if (!file) return;
  let count = 0;
  for (const line of (await file.text()).split(/\\r?\\n/)) {
    // A spreadsheet may write semicolons or quotes.
    const [item, label] = line.split(/[,;\\t]/).map((one) => one.trim().replace(/^"|"$/g, ""));
    if (kit.items.includes(item) && label && known(label)) {
      vote(item, known(label));
      count += 1;
    }
  }
  say(count + " votes of " + file.name + " are in.");
  event.target.value = "";
});
window.addEventListener("beforeunload", (event) => { if (unsaved) event.preventDefault(); });
let kept = {};
try { kept = JSON.parse(localStorage.getItem(place)) || {}; } catch (error) { kept = {}; }
for (const item of kit.items) {
  if (kept[item] && known(kept[item])) votes[item] = kept[item];
  show(item);
}
keep();
mark(now);
if (Object.keys(votes).length && unvoted()) go(votes[now] ? unvoted() : now);
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
    texts = CLASS_TEXTS | {UNSURE: UNSURE_TEXT}
    data = json.dumps({"kit": kit, "annotator": annotator, "items": numbers, "labels": list(texts)})
    articles = []
    for item in items:
        choices = "".join(
            f'<label title="{html.escape(hint)}"><input type="radio" name="vote{item.number}" '
            f'value="{html.escape(name)}"> <kbd>{key}</kbd> {html.escape(name)}</label>'
            for key, (name, hint) in enumerate(texts.items(), start=1)
        )
        articles.append(
            f'<article id="item{item.number}"><h2>{item.number}</h2>{_picture(item)}'
            f'<p class="text">{html.escape(item.text)}</p><p>{choices}</p></article>'
        )
    bar = (
        '<div id="bar"><b id="count"></b> voted. <button id="next">Next without a vote</button> '
        '<button id="save">Save the votes</button> '
        '<label>Go on with saved votes: <input id="load" type="file" accept=".csv"></label> '
        '<span id="message" role="status"></span></div>'
    )
    body = [
        "<h1>How do picture and text relate?</h1>",
        "<p>Read the instructions first. Choose one class for each pair, or Unsure. Votes stay in "
        "this browser, also when the page is closed; in the end save them and send the file back."
        "</p><p>Keys, for the pair with the blue edge: <kbd>1</kbd> to <kbd>9</kbd> vote and go to "
        "the next pair without a vote, <kbd>0</kbd> takes a vote back, <kbd>n</kbd> goes to the "
        "next pair without a vote, <kbd>b</kbd> to the pair before.</p>",
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
        f"<h2>An example of each class</h2>{shown}" if shown else "",
    ]
    return _document("Instructions", body)


def _picture(item: Item) -> str:
    data = base64.b64encode(item.image).decode("ascii")
    return f'<img alt="picture {html.escape(item.number)}" src="data:image/jpeg;base64,{data}">'


def _document(title: str, body: Sequence[str]) -> str:
    head = f'<meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    parts = "\n".join(body)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n{parts}\n</body></html>\n'
