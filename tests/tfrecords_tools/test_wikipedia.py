import http.server
import json
import threading
import urllib.error
import urllib.parse

import pytest

from tfrecords_tools import wikipedia
from tfrecords_tools.readers import base, imagenet

PAGES = {
    "Tench": {"title": "Tench", "extract": "The tench is a fish. It is green."},
    "Crane": {"title": "Crane", "extract": "Crane may mean:", "pageprops": {"disambiguation": ""}},
    "Grus": {"title": "Grus (genus)", "extract": " Grus is a genus.\n"},
    "Void": {"title": "Void", "extract": ""},
}


@pytest.fixture
def server():
    """A local server that answers as MediaWiki's action API does; `.asked` lists the titles."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            query = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)
            assert query["prop"] == ["extracts|pageprops"] and query["redirects"] == ["1"]
            assert "imgtext_tf" in self.headers["User-Agent"]
            (title,) = query["titles"]
            server.asked.append(title)
            status = server.failures.pop() if server.failures else 200
            self.send_response(status)
            self.send_header("Retry-After", "0")
            self.end_headers()
            page = PAGES.get(title, {"title": title, "missing": True})
            answer = json.dumps({"query": {"pages": [page]}}).encode()
            self.wfile.write(server.answers.pop() if server.answers else answer)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.failures, server.answers = [], [], []
    server.api = f"http://127.0.0.1:{server.server_port}/w/api.php"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


SYNSETS = [
    ("n1", ["tench", "Tinca tinca"]),
    ("n2", ["crane", "grus"]),
    ("n3", ["void", "nothing_at all"]),
]


def test_summaries_are_fetched_and_read_by_the_reader(server, tmp_path, files):
    path = tmp_path / "s.jsonl"
    counts = wikipedia.fetch_summaries(SYNSETS, path, api=server.api, pause=0)
    assert counts == (2, 1)
    # The first lemma that has an article counts; a disambiguation or empty page is none.
    assert server.asked == ["Tench", "Crane", "Grus", "Void", "Nothing at all"]
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert records[1] == {"wnid": "n2", "title": "Grus (genus)", "summary": "Grus is a genus."}
    assert records[2] == {"wnid": "n3", "title": None, "summary": None}
    files.jpeg(tmp_path / "n1/n1_1.JPEG", 1)
    first, *others = imagenet.illustration(tmp_path, path)
    assert first.sentences == ("The tench is a fish.", "It is green.")
    assert all(isinstance(item, base.Dropped) for item in others)


def test_fetching_goes_on_where_it_was_cut(server, tmp_path):
    path = tmp_path / "s.jsonl"
    wikipedia.fetch_summaries(SYNSETS, path, api=server.api, pause=0)
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"Grus")])
    server.asked.clear()
    assert wikipedia.fetch_summaries(SYNSETS, path, api=server.api, pause=0) == (2, 1)
    assert path.read_bytes() == whole
    assert "Tench" not in server.asked


def test_a_busy_server_is_asked_again_and_a_refusal_is_an_error(server, tmp_path):
    server.failures = [503, 429]
    path = tmp_path / "s.jsonl"
    assert wikipedia.fetch_summaries(SYNSETS[:1], path, api=server.api, pause=0) == (1, 0)
    assert server.asked == ["Tench"] * 3
    server.failures = [403]
    with pytest.raises(urllib.error.HTTPError):
        wikipedia.fetch_summaries(SYNSETS[1:], path, api=server.api, pause=0)
    # What was fetched before the error is kept.
    assert len(path.read_text().splitlines()) == 1


def test_synset_files(tmp_path):
    (tmp_path / "words.txt").write_text("n00001740\tentity\nn2\tgreat white, white_shark\n")
    assert wikipedia.read_synsets(tmp_path / "words.txt") == [
        ("n00001740", ["entity"]),
        ("n2", ["great white", "white_shark"]),
    ]
    (tmp_path / "loc.txt").write_text("n01440764 tench, Tinca tinca\nn3\n")
    with pytest.raises(base.ReaderError, match="loc.txt:2"):
        wikipedia.read_synsets(tmp_path / "loc.txt")


@pytest.mark.parametrize("answer", [b'{"error": {"code": "ratelimited"}}', b"<html>"])
def test_an_error_does_not_pass_for_a_missing_article(server, tmp_path, monkeypatch, answer):
    monkeypatch.setattr(wikipedia.time, "sleep", lambda seconds: None)
    path = tmp_path / "s.jsonl"
    server.answers = [answer] * 9
    with pytest.raises(OSError, match=r"ratelimited|no JSON"):
        wikipedia.fetch_summaries(SYNSETS, path, api=server.api, pause=0)
    assert path.read_text() == ""
    # One such answer is a reason to ask again.
    server.answers = [answer]
    assert wikipedia.fetch_summaries(SYNSETS, path, api=server.api, pause=0) == (2, 1)
