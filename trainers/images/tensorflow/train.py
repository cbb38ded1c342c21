"""Trains a small convolutional network with TensorFlow, and leaves it as a LiteRT file (way 3, REBUILD).

TensorFlow takes 1.4 GB and seconds to import, so serving knows nothing of it. Progress is a line an epoch of the form
`epoch=3/5 train-loss=0.04321 ...`.
"""

import io
import os
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import augmentation
import numpy as np
import parent
import tensorflow as tf
import training
from training import Drawings

BATCH = 128
WEIGHTS = "weights.npz"
SIDE = augmentation.SIDE
LAYERS = ((24, 5, 2), (32, 3, 1), (64, 3, 2), (64, 3, 1))
"""Filters, window and stride of each convolution."""


@dataclass(frozen=True)
class Hyperparameters:
    """What can be set, with the values that the base model was trained with."""

    epochs: int = training.count(4)
    learning_rate: float = training.share(0.003)
    """The rate at the start; it falls to zero along a cosine."""
    seed: int = training.count(20181103, least=0)


def network() -> tf.keras.Model:
    """Make the untrained network: images of shape (n, 28, 28, 1), in 0..1, to logits."""
    layers = tf.keras.layers
    image = x = layers.Input((SIDE, SIDE, 1))
    for filters, window, stride in LAYERS:
        x = layers.Conv2D(filters, window, stride, use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    return tf.keras.Model(image, layers.Dense(10)(layers.Dropout(0.4)(layers.Flatten()(x))))


def fit(
    drawings: Drawings, watched: Drawings | None, given: Hyperparameters, before: bytes | None = None
) -> tuple[tf.keras.Model, dict[str, float]]:
    """Train a network, or go on from the weights ``before``, as `packed` has them; return it with its last metrics.

    Prints a line an epoch.
    """
    tf.keras.utils.set_random_seed(given.seed)
    tf.config.experimental.enable_op_determinism()
    rng = np.random.default_rng(given.seed)
    model = network()
    if before is not None:
        with np.load(io.BytesIO(before), allow_pickle=False) as arrays:
            model.set_weights([arrays[f"{place:03}"] for place in range(len(arrays.files))])
    count = len(drawings.labels)
    steps = -(-count // BATCH)
    optimizer = tf.keras.optimizers.Adam(
        tf.keras.optimizers.schedules.CosineDecay(given.learning_rate, given.epochs * steps, alpha=0.01)
    )
    worth = drawings.weights / drawings.weights.mean()

    @tf.function(reduce_retracing=True)
    def step(images: tf.Tensor, labels: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, model(images, training=True))
            loss = tf.reduce_mean(losses * weights)
        optimizer.apply_gradients(zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables, strict=True))
        return loss

    metrics: dict[str, float] = {}
    for epoch in range(given.epochs):
        order = rng.permutation(count)
        losses = []
        for first in range(0, count, BATCH):
            rows = order[first : first + BATCH]
            images = augmentation.augmented(drawings.images[rows], rng)[..., None]
            losses.append(
                step(tf.constant(images), tf.constant(drawings.labels[rows].astype(np.int32)), tf.constant(worth[rows]))
            )
        metrics = {"train-loss": float(np.mean([float(loss) for loss in losses]))}
        if watched:
            metrics["validation-accuracy"] = accuracy(model, watched)
        training.tell("epoch", epoch + 1, given.epochs, metrics)
    return model, metrics


def accuracy(model: tf.keras.Model, drawings: Drawings) -> float:
    """Return the share of the drawings that the network gets right."""
    scaled = (drawings.images.reshape(-1, SIDE, SIDE, 1) / 255).astype(np.float32)
    answers = model.predict(scaled, batch_size=500, verbose=0).argmax(axis=1)
    return training.share_right(answers == drawings.labels, drawings.weights)


def packed(model: tf.keras.Model) -> bytes:
    """Return the weights as an npz file, in the order of the layers: training can go on from them, not from LiteRT's file."""
    out = io.BytesIO()
    np.savez(out, **{f"{place:03}": array for place, array in enumerate(model.get_weights())})
    return out.getvalue()


def exported(model: tf.keras.Model) -> bytes:
    """Export the network as a LiteRT file: a raster of bytes (1, 784) in, probabilities (1, 10) out; weights as float16.

    It takes one row at a time: LiteRT is no faster with more, and an answer does not depend on the other rows.
    """
    layers = tf.keras.layers
    raster = layers.Input(batch_shape=(1, SIDE * SIDE), dtype="uint8")
    logits = model(layers.Reshape((SIDE, SIDE, 1))(layers.Rescaling(1 / 255)(raster)))
    converter = tf.lite.TFLiteConverter.from_keras_model(tf.keras.Model(raster, layers.Softmax()(logits)))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    return bytes(converter.convert())


def make(drawings: Drawings, watched: Drawings | None, given: Hyperparameters, folder: Path) -> dict[str, float]:
    """Train the network, write it into a folder, and return its last metrics."""
    before = parent.read("tensorflow", "raster-1", WEIGHTS)
    model, metrics = fit(drawings, watched, given, before.files[WEIGHTS] if before else None)
    (folder / WEIGHTS).write_bytes(packed(model))
    (folder / "model.tflite").write_bytes(exported(model))
    return metrics


def main() -> None:
    """Train as the container contract says."""
    training.carry_out("tensorflow", "raster-1", Hyperparameters, make, {"tensorflow": tf.__version__})


if __name__ == "__main__":
    training.run(main)
