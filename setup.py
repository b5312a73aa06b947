"""Packaging of imgtext_tf: the library, its training scripts and its data tools."""

import pathlib

from setuptools import find_packages, setup

RUNTIME = [
    "absl-py",
    "gensim>=4.3",
    # The multi-worker override of distribution.py stands on Keras 3.15.
    "keras>=3.15,<3.16",
    "matplotlib",
    "nltk",
    "numpy",
    "pillow",
    "scikit-learn",
    "scipy",
    # tensorflow-hub imports pkg_resources, which setuptools 82 dropped.
    "setuptools<82",
    # TensorFlow no longer brings TensorBoard.
    "tensorboard",
    "tensorflow==2.21.*",
    "tensorflow-hub",
    "tensorflow-text==2.21.*",
    "tqdm",
]
TEST = ["hypothesis>=6", "pytest>=8", "pytest-xdist>=3.6", "ruff"]

setup(
    name="imgtext_tf",
    version="0.1.0",
    description="Reproductions of papers on image-text relations in TensorFlow and Keras",
    long_description=pathlib.Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.13",
    packages=find_packages(
        include=[
            "imgtext_tf",
            "imgtext_tf.*",
            "experiments",
            "experiments.*",
            "tfrecords_tools",
            "tfrecords_tools.*",
        ]
    ),
    package_data={
        "imgtext_tf": ["data/*.tsv"],
        "experiments": ["flagfiles/*/*.flags", "tables/*.csv", "results/*/*/*.json", "*.html"],
    },
    install_requires=RUNTIME,
    extras_require={
        "cuda": ["tensorflow[and-cuda]==2.21.*"],
        # Further back ends of imgtext_tf.search.
        "ann": ["faiss-cpu>=1.9"],
        "scann": ["scann>=1.4,<2"],
        # --runner=beam. It wants protobuf below 7, which TensorFlow takes, too: install it without
        # requirements.lock, or after it.
        "beam": ["apache-beam>=2.77,<3"],
        # Paths of further schemes; each needs a package of its own, too, such as s3fs.
        "remote": ["fsspec"],
        # Peers that experiments.benchmark compares with.
        "peers": ["torch>=2.5", "torchmetrics>=1.4"],
        "test": TEST,
    },
    classifiers=[
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
