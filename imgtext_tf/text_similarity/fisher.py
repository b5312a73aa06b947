"""Fisher vectors of the word vectors of an image's captions, over a Gaussian mixture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import scipy.sparse
from sklearn.mixture import GaussianMixture

from imgtext_tf.text_similarity.tfidf import _count, _units_of


class FisherVectors:
    """Texts -> l2-normalised Fisher vectors of their words' vectors.

    For words x_1 .. x_T of a text and a mixture of K Gaussians with diagonal covariance, gamma_k(x)
    the posterior of Gaussian k:

    G_mu_k = 1 / (T sqrt(w_k)) sum_t gamma_k(x_t) (x_t - mu_k) / sigma_k
    G_sigma_k = 1 / (T sqrt(2 w_k)) sum_t gamma_k(x_t) ((x_t - mu_k)^2 / sigma_k^2 - 1)

    The posteriors are computed once a distinct word, and the sums as sparse products.

    Args:
        vectors: word -> [D] vector.
        gaussians: K; the paper does not say how many.
        power: exponent of the signed power normalisation; 1 is none, as in the paper.

    Reference: Gordo2017, Section 4 (Perronnin and Dance 2007; Sanchez et al. 2013).
    """

    def __init__(
        self, vectors: Mapping[str, np.ndarray], *, gaussians: int = 16, power: float = 1.0
    ):
        """Stores the vectors; see the class."""
        self._vectors = vectors
        self._gaussians = gaussians
        self._power = power
        self.mixture: GaussianMixture | None = None

    def learn(
        self, texts: Sequence[Sequence[str]], *, seed: int = 0, sample: int = 100_000
    ) -> FisherVectors:
        """Fits the mixture to the words of the train split, as often as they stand there.

        Args:
            texts: the sentences of each image.
            seed: of the sample and of the mixture's start.
            sample: words to fit it on.

        Raises:
            ValueError: if fewer words have a vector than there are Gaussians.
        """
        _, codes, names, _ = _units_of(texts, "words")
        known = np.array([name in self._vectors for name in names], bool)
        codes = codes[known[codes]] if len(codes) else codes
        if len(np.unique(codes)) < self._gaussians:
            raise ValueError(f"fewer than {self._gaussians} distinct words have a vector: use "
                             "other vectors or fewer Gaussians")  # fmt: skip
        rng = np.random.default_rng(seed)
        chosen = rng.permutation(codes)[:sample]
        words = np.stack([self._vectors[names[code]] for code in chosen]).astype(np.float64)
        mixture = GaussianMixture(
            self._gaussians, covariance_type="diag", reg_covar=1e-6, random_state=seed
        )
        self.mixture = mixture.fit(words)
        return self

    def transform(self, texts: Sequence[Sequence[str]]) -> np.ndarray:
        """The vectors of texts: [N, 2 K D] float32; zeros where no word has a vector.

        Raises:
            ValueError: if the mixture was not fitted.
        """
        if self.mixture is None:
            raise ValueError("learn the mixture first")
        owners, codes, names, _ = _units_of(texts, "words")
        known = [place for place, name in enumerate(names) if name in self._vectors]
        dim = self.mixture.means_.shape[1]
        if not known:
            return np.zeros([len(texts), 2 * self._gaussians * dim], np.float32)
        row_of = np.full(len(names), -1, np.int64)
        row_of[known] = np.arange(len(known))
        rows = row_of[codes]
        counts = _count(owners[rows >= 0], rows[rows >= 0], (len(texts), len(known)))
        words = np.stack([self._vectors[names[place]] for place in known]).astype(np.float64)
        vectors = self._gradients(counts.astype(np.float64), words)
        vectors = np.sign(vectors) * np.abs(vectors) ** self._power
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0).astype(
            np.float32
        )

    def _gradients(self, counts: scipy.sparse.csr_matrix, words: np.ndarray) -> np.ndarray:
        total = np.maximum(np.asarray(counts.sum(axis=1)), 1)
        posteriors = self.mixture.predict_proba(words)
        of_means, of_deviations = [], []
        for k, weight in enumerate(self.mixture.weights_):
            scaled = (words - self.mixture.means_[k]) / np.sqrt(self.mixture.covariances_[k])
            gamma = posteriors[:, k : k + 1]
            of_means.append((counts @ (gamma * scaled)) / (total * np.sqrt(weight)))
            squares = counts @ (gamma * (scaled**2 - 1))
            of_deviations.append(squares / (total * np.sqrt(2 * weight)))
        return np.concatenate([*of_means, *of_deviations], axis=1)
