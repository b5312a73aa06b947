"""ImageNet (ILSVRC) as labelled photos.

    LOC_synset_mapping.txt          "n01440764 tench, Tinca tinca"; or so synset_words.txt
    train/<wnid>/*.JPEG             below the image folder (or the folder itself holds <wnid>)
    val/<wnid>/*.JPEG, or val/*.JPEG with LOC_val_solution.csv
                                    or the development kit's data/meta.mat and
                                    data/ILSVRC2012_validation_ground_truth.txt

Of a ground truth, a number a line, meta.mat says which wnid each number is. Labels are numbered by
wnid, as in Keras; names are no keys, for "crane" and "maillot" occur twice.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator

import scipy.io

from imgtext_tf import filesystem
from tfrecords_tools.readers import base

_WORDS = ("LOC_synset_mapping.txt", "synset_words.txt")
_META_BYTES = 2**20  # it is packed, and could unpack to a thousand times as much
_META, _TRUTH = "meta.mat", "ILSVRC2012_validation_ground_truth.txt"


def read(
    folder: str | os.PathLike, images_dir: str | os.PathLike
) -> tuple[dict[str, tuple[str, ...]], list[tuple[str, str, str, str] | base.BadRecord]]:
    """Reads the labels and lists the images.

    Returns:
        wnid -> terms in the order of the wnids; and (split, name, path, wnid) of each image, or a
        bad record.

    Raises:
        base.ReaderError: if the mapping is missing, or there is no folder of a known wnid.
    """
    paths = [os.path.join(folder, name) for name in _WORDS]
    path = next(filter(filesystem.exists, paths), paths[0])
    synsets = {}
    for name, line in base.read_lines(path):
        wnid, _, terms = ("" if isinstance(line, base.BadRecord) else line).partition(" ")
        # The id is a folder's name, too.
        if not terms.strip() or not wnid.isalnum():
            raise base.ReaderError(f"{name}: expected 'n01440764 tench, Tinca tinca', got {line!r}")
        synsets[wnid] = tuple(term.strip() for term in terms.split(",") if term.strip())
    synsets = dict(sorted(synsets.items()))
    train = os.path.join(images_dir, "train")
    items = list(_by_folder("train", train if filesystem.isdir(train) else images_dir, synsets))
    if not items:
        raise base.ReaderError(f"{images_dir}: no folder <wnid> with images; mend --images_dir")
    validation = os.path.join(images_dir, "val")
    items += _by_folder("val", validation, synsets)
    solution = os.path.join(folder, "LOC_val_solution.csv")
    kits = [os.path.join(folder, "data"), os.fspath(folder)]
    kits = [kit for kit in kits if filesystem.exists(os.path.join(kit, _TRUTH))]
    if filesystem.exists(solution):
        items += _flat(solution, validation, synsets)
    elif kits:
        items += _by_ground_truth(kits[0], validation, synsets)
    return synsets, items


def _by_folder(split: str, root: str, synsets: dict) -> Iterator[tuple[str, str, str, str]]:
    for wnid in synsets:
        folder = os.path.join(root, wnid)
        for name in filesystem.listdir(folder) if filesystem.isdir(folder) else ():
            if name.lower().endswith(base.IMAGE_SUFFIXES):
                yield split, f"{split}/{wnid}/{name}", os.path.join(folder, name), wnid


def _flat(
    solution: str, root: str, synsets: dict
) -> Iterator[tuple[str, str, str, str] | base.BadRecord]:
    for name, row in base.read_table(solution, needed=("ImageId", "PredictionString")):
        if isinstance(row, base.BadRecord):
            yield row
        else:
            yield base.attempt(name, _solved, row, root, synsets)


def _solved(row: dict[str, str], root: str, synsets: dict) -> tuple[str, str, str, str]:
    wnid = (row["PredictionString"].split() or [""])[0]
    if wnid not in synsets:
        raise ValueError(f"unknown label {wnid!r:.80}")
    path = base.inside(root, f"{row['ImageId']}.JPEG")
    return "val", base.checked_name(f"val/{row['ImageId']}"), path, wnid


def _by_ground_truth(
    kit: str, root: str, synsets: dict
) -> Iterator[tuple[str, str, str, str] | base.BadRecord]:
    """The development kit: line i is the number of the label of ILSVRC2012_val_<i>.JPEG."""
    wnid_of = _wnids(os.path.join(kit, _META))
    for name, line in base.read_lines(os.path.join(kit, _TRUTH)):
        wnid = wnid_of.get("" if isinstance(line, base.BadRecord) else line.strip())
        if wnid not in synsets:
            yield base.BadRecord(name, f"{line!s:.80} is the number of no known label")
        else:
            image = f"ILSVRC2012_val_{int(name.rpartition(':')[2]):08d}"
            yield "val", f"val/{image}", os.path.join(root, f"{image}.JPEG"), wnid


def _wnids(path: str) -> dict[str, str]:
    """Number -> wnid, as meta.mat has them: they are in no order of the wnids."""
    try:
        data = base.read_bytes(path, most=_META_BYTES)
        synsets = scipy.io.loadmat(io.BytesIO(data), squeeze_me=True)["synsets"]
        numbers, wnids = synsets["ILSVRC2012_ID"], synsets["WNID"]
        return {str(int(number)): str(wnid) for number, wnid in zip(numbers, wnids, strict=True)}
    except base.ReaderError:
        raise
    except Exception as error:  # SciPy raises whatever it trips over
        raise base.ReaderError(base.damaged(path, error)) from error
