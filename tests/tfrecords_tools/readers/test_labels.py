"""WebVision, ImageNet and OpenImages: labelled photos in their official layouts."""

import numpy as np
import pytest
import scipy.io

from tfrecords_tools.readers import base, imagenet_labels, openimages, webvision


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def info(tmp_path):
    folder = tmp_path / "info"
    write(folder / "synsets.txt", "n02 tench, Tinca tinca\nn01 crane\n")
    write(folder / "train_filelist_google.txt", "google/q0001/a.jpg 0\ngoogle/q0002/b.jpg 1\n")
    write(folder / "val_filelist.txt", "val1.jpg 1\n")
    return folder


def test_webvision(info, tmp_path):
    synsets = webvision.read_synsets(info)
    assert [(s.wnid, s.terms) for s in synsets] == [
        ("n02", ("tench", "Tinca tinca")),
        ("n01", ("crane",)),
    ]
    (tmp_path / "val_images_256").mkdir()
    found = list(webvision.read_files(info, tmp_path))
    assert found == [
        ("train", "google/q0001/a.jpg", str(tmp_path / "google/q0001/a.jpg"), 0),
        ("train", "google/q0002/b.jpg", str(tmp_path / "google/q0002/b.jpg"), 1),
        ("val", "val1.jpg", str(tmp_path / "val_images_256/val1.jpg"), 1),
    ]


def test_webvision_parts(info, tmp_path):
    write(info / "train_filelist_flickr.txt", "flickr/q0001/c.jpg 0\n")
    assert len([x for x in webvision.read_files(info, tmp_path) if x[0] == "train"]) == 3
    assert len([x for x in webvision.read_files(info, tmp_path, part="flickr")]) == 2
    write(info / "train_filelist_all.txt", "flickr/q0001/c.jpg 0\n")
    assert len([x for x in webvision.read_files(info, tmp_path) if x[0] == "train"]) == 1
    with pytest.raises(base.ReaderError, match="no such list"):
        (info / "train_filelist_google.txt").unlink()
        list(webvision.read_files(info, tmp_path, part="google"))


def test_webvision_bad_lines(info, tmp_path):
    write(info / "val_filelist.txt", "val1.jpg 2\nval2.jpg x\n../up.jpg 1\n")
    bad = [x for x in webvision.read_files(info, tmp_path) if isinstance(x, base.BadRecord)]
    assert len(bad) == 3 and "label 2 is not below 2" in bad[0].reason
    write(info / "synsets.txt", "n02\n")
    with pytest.raises(base.ReaderError, match="expected 'n01440764"):
        webvision.read_synsets(info)


def test_webvision_queries_and_meta(info, files):
    assert webvision.read_queries(info) == {} and list(webvision.read_meta(info)) == []
    write(info / "queries_google.txt", "1 tench\n12 tinca fish\n")
    queries = webvision.read_queries(info)
    assert queries == {"1": "tench", "12": "tinca fish"}
    assert webvision.query_of("google/q0012/a.jpg", queries) == "tinca fish"
    assert webvision.query_of("google/q0003/a.jpg", queries) is None
    assert webvision.query_of("n01/a.jpg", queries) is None
    write(info / "train_meta_list_google.txt", "google/q0001.json 2\ngoogle/q0002.json 1\n")
    files.json(info.parent / "google" / "q0001.json", [{}, {"title": "A tench", "tags": ["fish"]}])
    files.json(info.parent / "google_json" / "q0002.json", [{"title": None}])
    assert list(webvision.read_meta(info)) == [
        ("google/q0001/a.jpg", ["A tench", "fish"]),
        ("google/q0002/b.jpg", []),
    ]


def test_imagenet(tmp_path, files):
    write(tmp_path / "LOC_synset_mapping.txt", "n02 crane\nn01 tench, Tinca tinca\n")
    for name in ("train/n01/a.JPEG", "train/n02/b.JPEG", "val/c.JPEG"):
        files.jpeg(tmp_path / name, 1)
    write(tmp_path / "LOC_val_solution.csv", "ImageId,PredictionString\nc,n02 1 2 3 4\n")
    synsets, items = imagenet_labels.read(tmp_path, tmp_path)
    assert list(synsets.items()) == [("n01", ("tench", "Tinca tinca")), ("n02", ("crane",))]
    assert [(split, name, wnid) for split, name, _, wnid in items] == [
        ("train", "train/n01/a.JPEG", "n01"),
        ("train", "train/n02/b.JPEG", "n02"),
        ("val", "val/c", "n02"),
    ]
    with pytest.raises(base.ReaderError, match="--images_dir"):
        imagenet_labels.read(tmp_path, tmp_path / "val")


def test_imagenet_of_the_development_kit(tmp_path, files):
    write(tmp_path / "synset_words.txt", "n02 crane\nn01 tench, Tinca tinca\nn03 maillot\n")
    files.jpeg(tmp_path / "train/n01/a.JPEG", 1)
    kit = tmp_path / "data"
    # Numbers are in no order of the wnids, and inner synsets have numbers, too.
    rows = np.array([(1, "n03"), (2, "n01"), (3, "n02"), (4, "n09")],
                    [("ILSVRC2012_ID", object), ("WNID", object)])  # fmt: skip
    kit.mkdir()
    scipy.io.savemat(kit / "meta.mat", {"synsets": rows})
    write(kit / "ILSVRC2012_validation_ground_truth.txt", "3\n1\n\n2\n4\nx\n")
    _, items = imagenet_labels.read(tmp_path, tmp_path)
    good = [item for item in items if not isinstance(item, base.BadRecord)]
    root = tmp_path / "val"
    assert good[1:] == [
        ("val", f"val/ILSVRC2012_val_{n:08d}", str(root / f"ILSVRC2012_val_{n:08d}.JPEG"), wnid)
        for n, wnid in ((1, "n02"), (2, "n03"), (4, "n01"))
    ]
    bad = [item.reason for item in items if isinstance(item, base.BadRecord)]
    assert bad == ["4 is the number of no known label", "x is the number of no known label"]
    (kit / "meta.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(40))
    with pytest.raises(base.ReaderError, match=r"meta.mat.*fetch it again"):
        imagenet_labels.read(tmp_path, tmp_path)
    (kit / "meta.mat").write_bytes(bytes(2**20 + 1))
    with pytest.raises(base.ReaderError, match=r"meta.mat: has 1048577 bytes, more than"):
        imagenet_labels.read(tmp_path, tmp_path)


HEADER = "ImageID,Source,LabelName,Confidence\n"


@pytest.fixture
def openimages_dir(tmp_path):
    write(
        tmp_path / "train-annotations-human-imagelabels.csv",
        HEADER + "a,verification,/m/1,1\na,verification,/m/2,0\na,crowdsource,/m/2,1\n"
        "b,verification,/m/2,0\n",
    )
    write(tmp_path / "validation-annotations-human-imagelabels.csv", HEADER + "c,v,/m/1,1.0\n")
    write(tmp_path / "class-descriptions.csv", '/m/1,Dog\n/m/2,"Chair, wooden"\n')
    return tmp_path


def test_openimages(openimages_dir):
    assert openimages.read_classes(openimages_dir) == {"/m/1": "Dog", "/m/2": "Chair, wooden"}
    assert list(openimages.read_labels(openimages_dir)) == [
        ("train", "a", ["/m/1", "/m/2"], []),
        ("train", "b", [], ["/m/2"]),
        ("val", "c", ["/m/1"], []),
    ]
    assert openimages.read_trainable(openimages_dir) is None
    write(openimages_dir / "classes-trainable.txt", "/m/2\n")
    assert openimages.read_trainable(openimages_dir) == ["/m/2"]


def test_openimages_in_folders_of_the_splits(openimages_dir, files):
    for folder in ("train", "validation"):
        files.jpeg(openimages_dir / folder / "a.jpg", 1)
    folders = openimages.image_folders(openimages_dir)
    assert folders == {
        "train": str(openimages_dir / "train"),
        "val": str(openimages_dir / "validation"),
        "test": str(openimages_dir),
    }


def test_openimages_header_of_later_releases(openimages_dir):
    write(openimages_dir / "class-descriptions.csv", "LabelName,DisplayName\n/m/1,Dog\n")
    assert openimages.read_classes(openimages_dir) == {"/m/1": "Dog"}
    write(openimages_dir / "class-descriptions.csv", "/m/1\n")
    with pytest.raises(base.ReaderError, match="expected /m/0abc,Name"):
        openimages.read_classes(openimages_dir)


def test_openimages_bad_lines(openimages_dir):
    path = openimages_dir / "validation-annotations-human-imagelabels.csv"
    write(path, HEADER + "c,v,/m/1,often\n")
    bad = [x for x in openimages.read_labels(openimages_dir) if isinstance(x, base.BadRecord)]
    assert len(bad) == 1 and "often" in bad[0].reason
    write(path, "ImageID,LabelName\n")
    with pytest.raises(base.ReaderError, match="no column Confidence"):
        list(openimages.read_labels(openimages_dir))
    with pytest.raises(base.ReaderError, match="no train-annotations"):
        list(openimages.read_labels(openimages_dir / "none"))


def test_the_kit(kit):
    assert len(webvision.read_synsets(kit / "webvision" / "info")) == 16
    files = list(webvision.read_files(kit / "webvision" / "info", kit / "imagenet" / "train"))
    assert len(files) == 569 and not any(isinstance(x, base.BadRecord) for x in files)
    synsets, photos = imagenet_labels.read(kit / "imagenet", kit / "imagenet")
    assert len(synsets) == len(photos) == 750 and {photo[0] for photo in photos} == {"train"}
    assert len(openimages.read_classes(kit / "openimages")) == 87
    rows = list(openimages.read_labels(kit / "openimages"))
    assert sum(len(p) + len(n) for _, _, p, n in rows) == 73_477 + 11_300 + 14_146
