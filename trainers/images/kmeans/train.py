"""Finds typical drawings by k-means, and what each of them was called (way 3, REBUILD).

Features are projected on their principal components, centroids are found without the labels, and then each centroid is
told how the drawings nearest to it were labelled. numpy alone. Progress is a line a round of the form
`round=3/15 train-distance=0.17321 ...`.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import features
import numpy as np
import parent
import training
from clusters import Clusters
from numpy.typing import NDArray
from training import Drawings

FILE = "clusters.npz"
_ROWS = 2000  # at a time: the distances of a pass stay in the cache
_DOUBT = 0.05
"""How many drawings of each digit every centroid is assumed to have seen before (a prior)."""

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Hyperparameters:
    """What can be set, with the values that the base model was made with."""

    clusters: int = training.count(1000)
    components: int = training.count(80)
    """Principal components that distances are measured in."""
    rounds: int = training.count(15)
    softness: float = training.share(0.03)
    """Squared distance over which a centroid's weight falls by a factor of e, in units of the data's variance."""
    seed: int = training.count(20181103, least=0)


def find(
    drawings: Drawings, watched: Drawings | None, given: Hyperparameters, before: Clusters | None = None
) -> tuple[Clusters, dict[str, float]]:
    """Find the clusters, or move those of ``before``; return them with their last metrics. Prints a line a round."""
    rng = np.random.default_rng(given.seed)
    weights = drawings.weights / drawings.weights.mean()
    table: Matrix = features.features(drawings.images)
    mean: Matrix
    axes: Matrix
    points: Matrix
    if before is not None:
        mean, axes, centroids = (np.asarray(part, np.float32) for part in (before.mean, before.axes, before.centroids))
        points = np.asarray((table - mean) @ axes, np.float32)
    else:
        mean, axes, points = _components(table, weights, given.components)
        likely = weights / weights.sum()
        chosen = rng.choice(len(points), min(given.clusters, int((weights > 0).sum())), replace=False, p=likely)
        centroids = points[chosen]
    for step in range(given.rounds):
        nearest, distance = _nearest(points, centroids)
        metrics = {"train-distance": float((weights * distance).mean())}
        centroids = _moved(points, weights, centroids, nearest, distance)
        if step + 1 < given.rounds:
            training.tell("round", step + 1, given.rounds, metrics)
    nearest, _ = _nearest(points, centroids)
    labels = np.full((len(centroids), 10), _DOUBT)
    np.add.at(labels, (nearest, drawings.labels), weights)
    found = Clusters(
        mean.astype(np.float16),
        axes.astype(np.float16),
        centroids.astype(np.float16),
        (labels / labels.sum()).astype(np.float32),
        np.float32(given.softness),
    )
    if watched:
        parts = [found.answer(watched.images[first : first + _ROWS]) for first in range(0, len(watched.labels), _ROWS)]
        right = np.concatenate(parts).argmax(axis=1) == watched.labels
        metrics["validation-accuracy"] = training.share_right(right, watched.weights)
    training.tell("round", given.rounds, given.rounds, metrics)
    return found, metrics


def _components(table: Matrix, weights: Matrix, count: int) -> tuple[Matrix, Matrix, Matrix]:
    """Return the mean, the axes of largest variance, and the points along them, scaled to a mean squared length of 1."""
    mean = (weights @ table) / weights.sum()
    table = table - mean
    scatter = (table * weights[:, None]).T @ table
    axes = np.linalg.eigh(scatter.astype(np.float64))[1][:, ::-1][:, :count].astype(np.float32)
    points = table @ axes
    scale = 1 / np.sqrt((weights * np.einsum("nk,nk->n", points, points)).mean() + 1e-12)
    return mean, axes * scale, points * scale


def _nearest(points: Matrix, centroids: Matrix) -> tuple[NDArray[np.intp], Matrix]:
    """Return the centroid nearest to each point, and its squared distance."""
    lengths = np.einsum("kc,kc->k", centroids, centroids)
    nearest = np.empty(len(points), np.intp)
    distance = np.einsum("nc,nc->n", points, points)
    for first in range(0, len(points), _ROWS):
        part = lengths - 2 * points[first : first + _ROWS] @ centroids.T
        nearest[first : first + _ROWS] = part.argmin(axis=1)
        distance[first : first + _ROWS] += part.min(axis=1)
    return nearest, np.maximum(distance, 0)


def _moved(points: Matrix, weights: Matrix, centroids: Matrix, nearest: NDArray[np.intp], distance: Matrix) -> Matrix:
    """Move each centroid to the mean of its points; one without points goes to a point that is far from its centroid."""
    size = np.bincount(nearest, weights, len(centroids))
    order = np.argsort(nearest, kind="stable")
    ends = np.concatenate([[0], np.cumsum(np.bincount(nearest, minlength=len(centroids)))])
    weighted = (points * weights[:, None])[order]
    sums = np.concatenate([np.zeros((1, points.shape[1])), np.cumsum(weighted, axis=0, dtype=np.float64)])
    moved = (sums[ends[1:]] - sums[ends[:-1]]) / np.maximum(size, 1e-12)[:, None]
    empty = np.flatnonzero(size == 0)
    moved[empty] = points[np.argsort(weights * distance)[::-1][: len(empty)]]
    return np.asarray(moved, np.float32)


def make(drawings: Drawings, watched: Drawings | None, given: Hyperparameters, folder: Path) -> dict[str, float]:
    """Find the clusters, write them into a folder, and return their last metrics."""
    before = parent.read("kmeans", features.NAME, FILE)
    clusters = Clusters.load(io.BytesIO(before.files[FILE])) if before else None
    if clusters is not None and clusters.centroids.shape != (given.clusters, given.components):
        kept = "clusters={} and components={}".format(*clusters.centroids.shape)
        raise training.BadInput(f"a model that training goes on from keeps its {kept}")
    found, metrics = find(drawings, watched, given, clusters)
    found.save(folder / FILE)
    return metrics


def main() -> None:
    """Train as the container contract says."""
    training.carry_out("kmeans", features.NAME, Hyperparameters, make, {})


if __name__ == "__main__":
    training.run(main)
