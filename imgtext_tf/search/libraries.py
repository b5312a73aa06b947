"""Search by other libraries, each an extra of the package: faiss and ScaNN."""

from __future__ import annotations

import math
import pathlib
import shutil
import sys
from typing import Any

import numpy as np

from imgtext_tf.search.base import Index, SearchError


class FaissIndex(Index):
    """A faiss index (`pip install imgtext_tf[ann]`).

    Options: `factory`, a string of faiss' index factory (default: an inverted file of about
    2 sqrt(N) cells, with 4-bit codes of the residuals that are refined with the vectors where the
    dimension is a multiple of 32), `probes` (cells looked at, default a tenth), `refine`
    (candidates a result that are compared exactly, default 100).

    Reference: Shah2019, Eq. 3.
    """

    backend = "faiss"

    def __init__(self, ids, vectors, *, factory=None, probes=None, refine=100):
        """See the class and `Index`."""
        cells = max(1, min(len(ids) // 39, round(2 * math.sqrt(len(ids)))))
        if factory is None:
            # 4-bit codes need some hundred vectors to train.
            coded = vectors.shape[1] % 32 == 0 and len(ids) >= 1000
            codes = f"PQ{vectors.shape[1] // 2}x4fsr,RFlat" if coded else "Flat"
            factory = f"IVF{cells},{codes}"
        super().__init__(
            ids, vectors, factory=factory, probes=probes or max(1, cells // 10), refine=refine
        )
        self._faiss = import_faiss()
        self._index: Any = None
        self._mapped: pathlib.Path | None = None

    def _train(self):
        self._index = self._faiss.index_factory(
            self.dim, self.options["factory"], self._faiss.METRIC_INNER_PRODUCT
        )
        self._index.train(self.vectors)
        self._index.add(self.vectors)
        self._set_effort()

    def _set_effort(self):
        inner = self._faiss.downcast_index(self._index)
        if isinstance(inner, self._faiss.IndexRefine):
            inner.k_factor = float(self.options["refine"])
            inner = self._faiss.downcast_index(inner.base_index)
        if hasattr(inner, "nprobe"):
            inner.nprobe = self.options["probes"]

    def _search(self, queries, k):
        scores, places = self._index.search(queries, k)
        return places, scores

    def _save(self, folder):
        if self._mapped is None:
            self._faiss.write_index(self._index, str(folder / "faiss.index"))
        else:  # faiss would write a reference to the mapped file in place of its lists.
            shutil.copyfile(self._mapped, folder / "faiss.index")

    def _load(self, folder, mmap):
        flags = self._faiss.IO_FLAG_MMAP | self._faiss.IO_FLAG_READ_ONLY if mmap else 0
        self._index = self._faiss.read_index(str(folder / "faiss.index"), flags)
        self._mapped = folder / "faiss.index" if mmap else None
        self._set_effort()


class ScannIndex(Index):
    """A ScaNN index (`pip install imgtext_tf[scann]`): tree, anisotropic hashing, exact reordering.

    Options: `leaves` (default: the root of the number of entries), `leaves_to_search` (default a
    tenth, at least 20), `reorder` (candidates compared exactly, default 500).

    Reference: Shah2019, Eq. 3.
    """

    backend = "scann"

    def __init__(self, ids, vectors, *, leaves=None, leaves_to_search=None, reorder=500):
        """See the class and `Index`."""
        leaves = leaves or max(1, round(math.sqrt(len(ids))))
        super().__init__(
            ids,
            vectors,
            leaves=leaves,
            leaves_to_search=leaves_to_search or min(leaves, max(20, leaves // 10)),
            reorder=reorder,
        )
        self._scann = import_scann()
        self._searcher: Any = None

    def _train(self):
        options = self.options
        # Trees and hashing need some hundred vectors to train.
        builder = self._scann.builder(self.vectors, min(10, len(self)), "dot_product")
        if len(self) < 1000:
            builder = builder.score_brute_force()
        else:
            builder = builder.tree(
                options["leaves"],
                options["leaves_to_search"],
                training_sample_size=min(len(self), 250_000),
            )
            builder = builder.score_ah(2, anisotropic_quantization_threshold=0.2)
            builder = builder.reorder(min(options["reorder"], len(self)))
        self._searcher = builder.build()

    def _search(self, queries, k):
        reorder = max(k, self.options["reorder"])
        found = self._searcher.search_batched(
            queries, final_num_neighbors=k, pre_reorder_num_neighbors=min(reorder, len(self))
        )
        places, scores = np.asarray(found[0], np.int64), np.asarray(found[1], np.float32)
        # Where it finds fewer, ScaNN gives NaN beside any place.
        return np.where(np.isfinite(scores), places, -1), scores

    def _save(self, folder):
        (folder / "scann").mkdir(exist_ok=True)
        self._searcher.serialize(str(folder / "scann"), relative_path=True)

    def _load(self, folder, mmap):
        self._searcher = self._scann.load_searcher(str(folder / "scann"))


def import_faiss() -> Any:
    """The module faiss.

    Raises:
        SearchError: if it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise SearchError(f"no faiss ({error}): pip install 'imgtext_tf[ann]'") from None
    return faiss


def import_scann() -> Any:
    """ScaNN's bindings that need no TensorFlow.

    Its TensorFlow operation is built for another TensorFlow, and loading it ends in an error. With
    that one submodule blocked during the import, all else works.

    Raises:
        SearchError: if it is not installed, or cannot be loaded.
    """
    name = "scann.scann_ops.py.scann_ops"
    blocked = name not in sys.modules
    if blocked:
        sys.modules[name] = None
    try:
        import scann

        return scann.scann_ops_pybind
    except Exception as error:  # A library that cannot be loaded raises whatever it likes.
        raise SearchError(f"no ScaNN ({error!r}): pip install 'imgtext_tf[scann]'") from None
    finally:
        if blocked:
            sys.modules.pop(name, None)
