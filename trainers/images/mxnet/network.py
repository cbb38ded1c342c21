"""The network of the MXNet image, in the JSON that MXNet reads, so that training and serving build the same one.

It is code and not part of an artifact: an artifact holds numbers only.
"""

import json
from typing import Any, Final

SIDE: Final = 28
LAYERS: Final = ((32, 5, 2), (32, 3, 1), (64, 3, 2))
"""Filters, window and stride of each convolution."""
HIDDEN: Final = 96
LOGITS: Final = "logits_output"
"""The output that training uses; the network's own output is probabilities."""


def symbol() -> str:
    """Return the network: from images of shape (n, 1, 28, 28), in 0..1, to probabilities (n, 10)."""
    nodes: list[dict[str, Any]] = []

    def node(op: str, name: str, inputs: list[int], **attrs: object) -> int:
        listed = [[i, 0, 0] for i in inputs]
        nodes.append({"op": op, "name": name, "attrs": {key: str(value) for key, value in attrs.items()}, "inputs": listed})
        return len(nodes) - 1

    def layer(op: str, name: str, above: int, numbers: tuple[str, ...], **attrs: object) -> int:
        return node(op, name, [above, *(node("null", f"{name}_{number}", []) for number in numbers)], **attrs)

    x = node("null", "data", [])
    for i, (filters, window, stride) in enumerate(LAYERS):
        window_, stride_ = (window, window), (stride, stride)
        x = layer("Convolution", f"conv{i}", x, ("weight",), kernel=window_, stride=stride_, num_filter=filters, no_bias=True)
        x = layer("BatchNorm", f"norm{i}", x, ("gamma", "beta", "moving_mean", "moving_var"), fix_gamma=False, eps=1e-5)
        x = node("Activation", f"relu{i}", [x], act_type="relu")
    x = layer("FullyConnected", "hidden", node("Flatten", "flat", [x]), ("weight", "bias"), num_hidden=HIDDEN)
    x = node("Dropout", "dropout", [node("Activation", "relu", [x], act_type="relu")], p=0.4)
    x = layer("FullyConnected", "logits", x, ("weight", "bias"), num_hidden=10)
    x = node("softmax", "probabilities", [x])
    numbers = [i for i, made in enumerate(nodes) if made["op"] == "null"]
    ends = [*range(len(nodes) + 1)]
    return json.dumps(
        {
            "nodes": nodes,
            "arg_nodes": numbers,
            "node_row_ptr": ends,
            "heads": [[x, 0, 0]],
            "attrs": {"mxnet_version": ["int", 10901]},
        }
    )
