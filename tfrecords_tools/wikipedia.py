"""Wikipedia's leads of the articles that ImageNet's concepts name."""

from __future__ import annotations

import json
import os
import time
import urllib.parse
import urllib.request
from collections.abc import Sequence

from tqdm import tqdm

from imgtext_tf import filesystem, untrusted
from imgtext_tf.data import files
from tfrecords_tools.readers import base

USER_AGENT = "imgtext_tf/0.1 (research tool; fetches leads of articles named by ImageNet concepts)"
_ATTEMPTS = 5


def read_synsets(path: str | os.PathLike) -> list[tuple[str, list[str]]]:
    """Reads (wnid, lemmas) of `words.txt` (tab) or `LOC_synset_mapping.txt` (blank).

    Raises:
        base.ReaderError: if the file or a line cannot be read.
    """
    synsets = []
    for name, line in base.read_lines(path):
        parts = [] if isinstance(line, base.BadRecord) else line.split(None, 1)
        if len(parts) != 2:
            raise base.ReaderError(f"{name}: expected 'n01440764 tench, Tinca tinca' in UTF-8")
        synsets.append((parts[0], [lemma.strip() for lemma in parts[1].split(",")]))
    return synsets


def fetch_summaries(
    synsets: Sequence[tuple[str, Sequence[str]]],
    path: str | os.PathLike,
    *,
    api: str,
    pause: float = 0.1,
) -> tuple[int, int]:
    """Fetches the full lead of the first article that a lemma of each concept names.

    Redirects are followed; disambiguation pages do not count. Each answer is appended at once, one
    JSON line with `wnid`, `title` and `summary` (null: no article), so that the same call goes on
    where it was stopped.

    Args:
        synsets: (wnid, lemmas).
        path: the JSONL.
        api: address of MediaWiki's `api.php`.
        pause: seconds between two requests.

    Returns:
        The number of summaries and of concepts without one, over the whole file.

    Raises:
        OSError: if the network fails several times in a row, or the path is a remote one.

    Reference: Otto2020, Section 4.1.
    """
    filesystem.must_be_local(path, "it grows by a line at a time")
    records = _fetched(path)
    with open(path, "a", encoding="utf-8") as file:
        for wnid, lemmas in tqdm(synsets, desc="summaries", unit="concept"):
            if wnid in records:
                continue
            title, summary = next(
                filter(None, (_lead(api, lemma, pause) for lemma in lemmas)), (None, None)
            )
            records[wnid] = summary
            line = {"wnid": wnid, "title": title, "summary": summary}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            file.flush()
    found = sum(summary is not None for summary in records.values())
    return found, len(records) - found


def _fetched(path: str | os.PathLike) -> dict[str, str | None]:
    """The summaries fetched before; a last line that was cut short is taken away."""
    if not os.path.exists(path):
        return {}
    data = base.read_bytes(path)
    whole = data[: data.rfind(b"\n") + 1]
    if whole != data:
        files.write_file(path, whole)
    records = {}
    for name, record in base.read_json_lines(path):
        if isinstance(record, base.BadRecord):
            raise base.ReaderError(f"{name}: {record.reason}; remove the line and go on")
        try:
            records[base.checked_name(record["wnid"])] = record["summary"]
        except base.MALFORMED as error:
            raise base.ReaderError(f"{name}: {base.fault(error)}; remove the line") from None
    return records


def _lead(api: str, lemma: str, pause: float) -> tuple[str, str] | None:
    """(title, lead) of the article of a lemma, or None."""
    time.sleep(pause)
    title = lemma.replace("_", " ").strip()
    query = {
        "action": "query",
        "format": "json",
        "formatversion": "2",
        "redirects": "1",
        "prop": "extracts|pageprops",
        "ppprop": "disambiguation",
        "exintro": "1",
        "explaintext": "1",
        "titles": title[:1].upper() + title[1:],
    }
    answer = _get(f"{api}?{urllib.parse.urlencode(query)}")
    for page in answer.get("query", {}).get("pages", []):
        text = (page.get("extract") or "").strip()
        if text and "missing" not in page and "disambiguation" not in page.get("pageprops", {}):
            return page["title"], text
    return None


def _get(address: str) -> dict:
    request = urllib.request.Request(address, headers={"User-Agent": USER_AGENT})
    for attempt in range(_ATTEMPTS):
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return _answer(address, response.read())
        except OSError as error:
            # Only a busy or broken server or line is worth another try.
            status = getattr(error, "code", 503)
            if attempt == _ATTEMPTS - 1 or (status != 429 and status < 500):
                raise
            wait = getattr(error, "headers", None) and error.headers.get("Retry-After", "")
            time.sleep(float(wait) if wait and wait.isdigit() else 2.0**attempt)
    raise AssertionError("unreachable")


def _answer(address: str, data: bytes) -> dict:
    """The answer as an object. An error must not pass for a concept without an article.

    Raises:
        OSError: if it is none, or says that the request failed (too many of them, say).
    """
    try:
        answer = untrusted.parse_json(data)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise OSError(f"{address}: no JSON object but {data[:80]!r}; mend --wikipedia_api")
    if "error" in answer:
        raise OSError(f"{address}: {answer['error']}")
    return answer
