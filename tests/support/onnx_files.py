"""Small classifiers as ONNX files, made by hand, and how ONNX Runtime answers with any."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from lib.model.labels import Probabilities
from lib.text.batching import pad_tokens

VOCABULARY, WIDTH, CLASSES = 50, 32, 3


def ask(file: Path, sequences: Sequence[Sequence[int]], *, pad: int = 0) -> Probabilities:
    """Returns the probabilities (sequences, classes) of the tokens of texts, in one batch."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    tokens, lengths = pad_tokens(sequences, pad=pad)
    mask = (np.arange(tokens.shape[1]) < lengths[:, None]).astype(np.int64)
    (logits,) = session.run(["logits"], {"input_ids": tokens, "attention_mask": mask})
    shares = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    probabilities: Probabilities = shares / shares.sum(axis=1, keepdims=True)
    return probabilities


def write_layers(file: Path, factors: Sequence[float], *, gemm: bool = False, padding: float = 1) -> Path:
    """Writes a classifier whose layers side by side read each token's vector; the sum of what they give, each times its
    factor, is added up over the tokens and read by the head.

    Layer i is called `layer.i`; with `gemm` each is a Gemm with a bias that reads the sum of the vectors instead.
    padding: the size of the vector of token 0.
    """
    draw = np.random.default_rng(1)
    vectors = draw.standard_normal((VOCABULARY, WIDTH))
    vectors[0] *= padding
    constants = {
        "embedding": vectors.astype(np.float32),
        "head": (draw.standard_normal((CLASSES, WIDTH)) / WIDTH).astype(np.float32),
        "last": np.array([-1]),
        "tokens": np.array([1]),
    }
    nodes = [
        helper.make_node("Gather", ["embedding", "input_ids"], ["vectors"]),
        helper.make_node("Cast", ["attention_mask"], ["flat mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["flat mask", "last"], ["mask"]),
    ]

    def add_up(read: str, output: str) -> None:
        nodes.append(helper.make_node("Where", ["is token", read, "nothing"], [f"{output} of tokens"]))
        nodes.append(helper.make_node("ReduceSum", [f"{output} of tokens", "tokens"], [output], keepdims=0))

    nodes.append(helper.make_node("Cast", ["mask"], ["is token"], to=TensorProto.BOOL))
    constants["nothing"] = np.array(0, np.float32)
    read, total = "vectors", "vectors"
    if gemm:
        add_up("vectors", "text")
        read = total = "text"
    for index, factor in enumerate(factors):
        constants[f"weights.{index}"] = (draw.standard_normal((WIDTH, WIDTH)) / WIDTH**0.5).astype(np.float32)
        constants[f"bias.{index}"] = draw.standard_normal(WIDTH).astype(np.float32)
        constants[f"factor.{index}"] = np.array(factor, np.float32)
        inputs = [read, f"weights.{index}", f"bias.{index}"]
        nodes += [
            helper.make_node("Gemm", inputs, [f"layer.{index}"], transB=1)
            if gemm
            else helper.make_node("MatMul", inputs[:2], [f"layer.{index}"]),
            helper.make_node("Mul", [f"layer.{index}", f"factor.{index}"], [f"scaled.{index}"]),
        ]
        if index:
            nodes.append(helper.make_node("Add", [total, f"scaled.{index}"], [f"total.{index}"]))
        total = f"total.{index}" if index else f"scaled.{index}"
    if not gemm:
        add_up(total, "text")
        total = "text"
    nodes.append(helper.make_node("Gemm", [total, "head"], ["logits"], transB=1))
    arguments = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["b", "l"]) for name in ("input_ids", "attention_mask")
    ]
    output = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", CLASSES])
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "classifier", arguments, [output], tensors)
    onnx.save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), file)
    return file


def operators(file: Path) -> dict[str, str]:
    """What computes each value of a file: the operator by the name of its output."""
    return {node.output[0]: node.op_type for node in onnx.load(file, load_external_data=False).graph.node}
