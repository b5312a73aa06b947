"""The index of a folder of photos: made once, brought up to date, resumed, refused."""

import json
import os

import numpy as np
import pytest

from imgtext_tf import image_index


def embed(paths):
    """The vector of a photo is its text; bad is no image, and away cannot be read."""
    good = [place for place, path in enumerate(paths) if "away" not in path.name]
    texts = [paths[place].read_text().replace("x", "0 0").split() for place in good]
    return good, np.array(texts, "float32").reshape(-1, 2)


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for name, vector in {
        "a.jpg": "1 0",
        "sub/b.PNG": "0 1",
        "c.jpg": "0 1",
        "bad.jpg": "x",
    }.items():
        (folder / name).write_text(vector)
    (folder / "notes.txt").write_text("no photo")
    return folder


def update(tmp_path, photos, calls=None, **changes):
    def counted(paths):
        if calls is not None:
            calls.extend(path.name for path in paths)
        return embed(paths)

    made_by = {"model": "m"} | changes
    return image_index.update(tmp_path / "index", photos, counted, made_by=made_by)


def test_photos_are_found_and_ranked_equal_ones_by_name(tmp_path, photos):
    index = update(tmp_path, photos)
    assert index.names == ("a.jpg", "c.jpg", "sub/b.PNG")
    assert index.best(np.array([0.1, 1.0]), 3) == [
        ("c.jpg", 1.0), ("sub/b.PNG", 1.0), ("a.jpg", pytest.approx(0.1))
    ]  # fmt: skip
    assert [name for name, _ in index.best(np.ones(2), 2, leave_out="a.jpg")] == [
        "c.jpg", "sub/b.PNG"
    ]  # fmt: skip


def test_only_what_is_new_or_changed_is_embedded(tmp_path, photos, monkeypatch):
    monkeypatch.setattr(image_index, "_PART", 2)
    calls = []
    update(tmp_path, photos, calls)
    assert sorted(calls) == ["a.jpg", "b.PNG", "bad.jpg", "c.jpg"]
    calls.clear()
    update(tmp_path, photos, calls)
    assert calls == []
    (photos / "a.jpg").write_text("0.6 0.8")
    (photos / "c.jpg").unlink()
    (photos / "d.jpg").write_text("1 0")
    index = update(tmp_path, photos, calls)
    assert sorted(calls) == ["a.jpg", "d.jpg"]
    np.testing.assert_allclose(index.vectors[index.names.index("a.jpg")], [0.6, 0.8])
    assert "c.jpg" not in index.names
    again, made_by = image_index.load(tmp_path / "index")
    assert again.names == index.names and made_by["model"] == "m"


def test_a_stopped_update_goes_on_behind_its_last_part(tmp_path, photos, monkeypatch):
    monkeypatch.setattr(image_index, "_PART", 1)
    seen = []

    def failing(paths):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.extend(paths)
        return embed(paths)

    with pytest.raises(KeyboardInterrupt):
        image_index.update(tmp_path / "index", photos, failing, made_by={"model": "m"})
    calls = []
    assert len(update(tmp_path, photos, calls).names) == 3
    assert len(calls) == 2


def test_what_does_not_fit_is_named(tmp_path, photos):
    update(tmp_path, photos)
    with pytest.raises(image_index.ImageIndexError, match="was made with"):
        update(tmp_path, photos, model="other")
    (tmp_path / "empty").mkdir()
    with pytest.raises(image_index.ImageIndexError, match="has no photo"):
        image_index.update(tmp_path / "i", tmp_path / "empty", embed, made_by={})
    with pytest.raises(image_index.ImageIndexError, match="is no index"):
        image_index.load(tmp_path / "none")


def test_a_photo_that_could_not_be_read_is_tried_again(tmp_path, photos):
    (photos / "away.jpg").write_text("1 1")
    assert "away.jpg" not in update(tmp_path, photos).names
    calls = []
    update(tmp_path, photos, calls)
    assert calls == ["away.jpg"]  # and not bad.jpg, which is no image


def test_the_photos_may_move(tmp_path, photos):
    before = update(tmp_path, photos)
    moved = photos.rename(tmp_path / "moved")
    calls = []
    now = update(tmp_path, moved, calls)
    assert calls == [] and now.names == before.names
    assert image_index.load(tmp_path / "index")[0].root == moved


def test_too_many_bad_photos_are_refused(tmp_path, photos, caplog):
    update(tmp_path, photos)
    assert "1 of 4 photos are no images or cannot be read, such as bad.jpg" in caplog.text
    for number in range(4):
        (photos / f"bad{number}.jpg").write_text("x")
    with pytest.raises(image_index.ImageIndexError, match="5 of 8 photos .*more than 50%"):
        update(tmp_path, photos)
    calls = []

    def embed_again(paths):
        calls.extend(paths)
        return embed(paths)

    index = image_index.update(
        tmp_path / "index", photos, embed_again, made_by={"model": "m"}, most_bad=0.7
    )
    assert len(index.names) == 3 and not calls


def test_an_index_that_lies_leads_nowhere(tmp_path, photos, monkeypatch):
    update(tmp_path, photos)
    description, part = tmp_path / "index" / "index.json", tmp_path / "index" / "part-000000.npz"
    (tmp_path / "secret.jpg").write_text("1 0")
    status = os.stat(tmp_path / "secret.jpg")
    stamp = [status.st_size, status.st_mtime_ns]
    names = ["../secret.jpg", str(tmp_path / "secret.jpg"), "sub/../../secret.jpg"]
    with open(part, "wb") as file:
        np.savez(file, names=np.array(names), stamps=[stamp] * 3, vectors=np.eye(3, 2, k=-1) + 1)
    # Nor is the whole disk walked, where the folder is said to be all of it.
    monkeypatch.setattr(image_index, "_photos", lambda root: pytest.fail("walked"))
    for root in (str(photos), "/"):
        description.write_text(json.dumps(json.loads(description.read_text()) | {"root": root}))
        with pytest.raises(image_index.ImageIndexError, match="none of its photos is in"):
            image_index.load(tmp_path / "index")
    for wrong in ({"names": np.arange(3)}, {"stamps": np.zeros(3)}, {"vectors": np.ones([2, 2])}):
        with open(part, "wb") as file:
            whole = {"names": names, "stamps": [stamp] * 3, "vectors": np.ones([3, 2])}
            np.savez(file, **(whole | wrong))
        with pytest.raises(image_index.ImageIndexError, match="part-000000.npz: is damaged"):
            image_index.load(tmp_path / "index")


def test_photos_of_strange_names_and_none_at_all(tmp_path, photos):
    strange = [b"a\\b.jpg", b"\xff\xfe.jpg", b"C:x.jpg", b"a\nb.jpg", b"...jpg"]
    for name in strange:
        with open(os.path.join(os.fsencode(photos), name), "w") as file:
            file.write("1 1")
    os.mkfifo(photos / "pipe.jpg")
    (photos / "loop.jpg").symlink_to(photos / "loop.jpg")
    (photos / "sub" / "up").symlink_to(photos)
    made = update(tmp_path, photos).names
    assert {os.fsencode(name) for name in made} == {*strange, b"a.jpg", b"c.jpg", b"sub/b.PNG"}
    assert image_index.load(tmp_path / "index")[0].names == made
