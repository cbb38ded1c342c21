"""Answers which digit a drawing is, from the typical drawings that are like it (way 1, ANSWER)."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import container
import features
import own_code
import serving
from clusters import Clusters


def load() -> serving.Model:
    """Load the clusters from the model's folder."""
    container.about("kmeans", features.NAME)
    return Clusters.load(container.model_dir() / "clusters.npz").answer


if __name__ == "__main__":
    own_code.serve(load)
