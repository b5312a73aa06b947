"""How similar the texts of two images are: the proxies of Gordo2017's Table 1."""

from imgtext_tf.text_similarity.fisher import FisherVectors
from imgtext_tf.text_similarity.meteor import JavaMeteor, find_wordnet, match_kernel, nltk_meteor
from imgtext_tf.text_similarity.tfidf import TfIdf, UnknownWordError

__all__ = [
    "FisherVectors",
    "JavaMeteor",
    "TfIdf",
    "UnknownWordError",
    "find_wordnet",
    "match_kernel",
    "nltk_meteor",
]
