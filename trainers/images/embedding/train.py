"""Trains the frozen embedding network: a small CNN on MNIST whose last layer but one online models learn from (way 2).

Not an endpoint: the network is trained here once, and its file is committed as streams/base/embedding.tflite. It is frozen
because online models must keep understanding the features of every earlier lesson; a new network is a new reader.

It is trained on MNIST alone, never on players' drawings. See README.md for the command.
"""

import argparse
import gzip
import json
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

SIDE = 28
SIZE = 64
"""The numbers of the embedding."""
LENGTH = 4.0
"""The length of every embedding, as a vector: the online models' learning rates are meant for it."""
EPOCHS = 10
BATCH = 128
ROTATION, SCALE, SHEAR, SHIFT = 0.12, 0.08, 0.12, 1.5
"""Bounds of the augmentation: radians, ratio, ratio, pixels. Light: heavier makes real pen drawings worse."""


def idx(path: Path) -> np.ndarray:
    """Read the array of a gzipped IDX file of bytes."""
    raw = gzip.decompress(path.read_bytes())
    shape = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(raw[3])]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)


def augmented(images: tf.Tensor, rng: np.random.Generator) -> tf.Tensor:
    """Turn, scale, slant and move each image a little about its centre; shape (n, 28, 28, 1)."""
    n = len(images)
    turn, slant = rng.uniform(-ROTATION, ROTATION, n), rng.uniform(-SHEAR, SHEAR, n)
    wide, high = rng.uniform(1 - SCALE, 1 + SCALE, (2, n))
    dx, dy = rng.uniform(-SHIFT, SHIFT, (2, n))
    a, b = np.cos(turn) / wide, (slant - np.sin(turn)) / wide
    d, e = np.sin(turn) / high, np.cos(turn) / high
    centre = (SIDE - 1) / 2
    zero = np.zeros(n)
    matrix = np.stack(
        [a, b, centre - a * centre - b * centre + dx, d, e, centre - d * centre - e * centre + dy, zero, zero], axis=1
    )
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.constant(matrix, tf.float32),
        output_shape=[SIDE, SIDE],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )


def network() -> tuple[tf.keras.Model, tf.keras.Model]:
    """Make the classifier that is trained, and the part of it that gives the embedding."""
    layers = tf.keras.layers
    image = x = layers.Input((SIDE, SIDE, 1))
    for filters, window, stride, padding in ((24, 5, 2, "valid"), (32, 3, 1, "valid"), (64, 3, 2, "same"), (64, 3, 1, "valid")):
        x = layers.Conv2D(filters, window, stride, padding, use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    x = layers.Dropout(0.3)(layers.Flatten()(x))
    embedding = layers.Dense(SIZE, activation="relu")(x)
    logits = layers.Dense(10)(layers.Dropout(0.2)(embedding))
    return tf.keras.Model(image, logits), tf.keras.Model(image, embedding)


def train(images: np.ndarray, labels: np.ndarray, seed: int) -> tuple[tf.keras.Model, tf.keras.Model]:
    """Train a classifier; return it and its embedding: Adam on a falling cosine, the weights averaged over the last steps."""
    tf.keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    rng = np.random.default_rng(seed)
    classifier, embedding = network()
    steps = EPOCHS * (len(images) // BATCH)
    optimizer = tf.keras.optimizers.Adam(
        tf.keras.optimizers.schedules.CosineDecay(3e-3, steps, alpha=0.01), use_ema=True, ema_momentum=0.998
    )
    entropy = tf.keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.05)
    one_hot = np.eye(10, dtype=np.float32)[labels]
    scaled = (images.astype(np.float32) / 255)[..., None]

    @tf.function
    def step(x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = entropy(y, classifier(x, training=True))
        optimizer.apply_gradients(
            zip(tape.gradient(loss, classifier.trainable_variables), classifier.trainable_variables, strict=True)
        )
        return loss

    for epoch in range(EPOCHS):
        began, total = time.monotonic(), 0.0
        order = rng.permutation(len(images))
        for first in range(0, len(order) - BATCH + 1, BATCH):
            rows = order[first : first + BATCH]
            total += float(step(augmented(tf.constant(scaled[rows]), rng), tf.constant(one_hot[rows])))
        print(
            f"epoch {epoch + 1}/{EPOCHS} loss {total / (len(order) // BATCH):.4f} {time.monotonic() - began:.0f} s", flush=True
        )
    optimizer.finalize_variable_values(classifier.trainable_variables)
    # Batch normalisation saw the unaveraged weights: let it see the averaged ones, on unchanged images.
    for first in range(0, 30_000, 500):
        classifier(scaled[first : first + 500], training=True)
    return classifier, embedding


def exported(embedding: tf.keras.Model, mean: np.ndarray, scale: np.ndarray) -> bytes:
    """Export the embedding as a LiteRT file: one raster (1, 784) of bytes in, one standardised vector of length 4 out.

    One row at a time: a drawing's embedding is then the same, bit for bit, whatever it is asked together with. Batch
    normalisation is folded into the convolutions before it, and all weights are constants, kept as float16.
    """
    convolutions: list[list[Any]] = []
    dense: tuple[Any, Any] | None = None
    for layer in embedding.layers:
        if isinstance(layer, tf.keras.layers.Conv2D):
            convolutions.append([layer.kernel.numpy(), None, layer.strides[0], layer.padding.upper()])
        elif isinstance(layer, tf.keras.layers.BatchNormalization):
            factor = layer.gamma.numpy() / np.sqrt(layer.moving_variance.numpy() + layer.epsilon)
            convolutions[-1][0] = convolutions[-1][0] * factor
            convolutions[-1][1] = layer.beta.numpy() - layer.moving_mean.numpy() * factor
        elif isinstance(layer, tf.keras.layers.Dense):
            dense = layer.kernel.numpy(), layer.bias.numpy()
    assert dense is not None, "the embedding ends in a dense layer"
    matrix, offset = dense

    @tf.function(input_signature=[tf.TensorSpec((1, SIDE * SIDE), tf.uint8)])
    def embed(raster: tf.Tensor) -> tf.Tensor:
        x = tf.reshape(tf.cast(raster, tf.float32) / 255.0, (1, SIDE, SIDE, 1))
        for kernel, bias, stride, padding in convolutions:
            x = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, tf.constant(kernel), stride, padding), tf.constant(bias)))
        x = tf.nn.relu(tf.matmul(tf.reshape(x, (1, -1)), tf.constant(matrix)) + tf.constant(offset))
        x = (x - tf.constant(mean)) * tf.constant(scale)
        return LENGTH * x / tf.sqrt(tf.reduce_sum(x * x, axis=1, keepdims=True) + 1e-12)

    converter = tf.lite.TFLiteConverter.from_concrete_functions([embed.get_concrete_function()])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    converted: bytes = converter.convert()
    return converted


def main() -> None:
    """Train, export, and say how good the network is by itself on MNIST test."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--mnist", type=Path, required=True, help="folder of the IDX files")
    arguments.add_argument("--out", type=Path, required=True, help="where the .tflite goes")
    arguments.add_argument("--seed", type=int, default=20181103)
    given = arguments.parse_args()
    images, labels = (idx(given.mnist / f"train-{kind}-ubyte.gz") for kind in ("images-idx3", "labels-idx1"))
    test, truth = (idx(given.mnist / f"t10k-{kind}-ubyte.gz") for kind in ("images-idx3", "labels-idx1"))
    classifier, embedding = train(images, labels, given.seed)
    right = classifier.predict((test / 255.0).astype(np.float32)[..., None], batch_size=500, verbose=0).argmax(1) == truth
    vectors = embedding.predict((images / 255.0).astype(np.float32)[..., None], batch_size=500, verbose=0)
    mean, deviation = vectors.mean(0), vectors.std(0)
    scale = np.where(deviation > 1e-4, 1 / np.maximum(deviation, 1e-4), 0)  # a unit that never fires stays silent
    given.out.write_bytes(exported(embedding, mean.astype(np.float32), scale.astype(np.float32)))
    print(json.dumps({"mnist_test": float(right.mean()), "bytes": given.out.stat().st_size, "silent": int((scale == 0).sum())}))


if __name__ == "__main__":
    main()
