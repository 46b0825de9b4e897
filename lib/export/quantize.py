"""Makes versions of an ONNX classifier whose matrix products are computed in int8.

Weights have a scale for each output channel; what they are multiplied with has one for each token, found while it runs.
ONNX Runtime's own dynamic quantization has one for all tokens of a batch instead: a text's answer then depends on those
beside it (by up to 0.14 in MiniLM), and the one token with huge numbers that decoders have coarsens all others (SmolLM2
on TREC: accuracy 77 %, with a scale for each token 94 %, in float32 95 %). Both are equally fast.

The head, and the embeddings, stay in float32. A file answers the same on every processor: x86 without VNNI adds two
neighbouring products of 8 bits in 16 bits, where a sum that does not fit is cut off, so weights are scaled for pairs of
them to fit.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lib.evaluation.classify.speed import evenly
from lib.export.graph import CONTRIB, EditedGraph, Floats, Product, make_node, running
from lib.inference.engines.onnx_engine import graph_inputs
from lib.inference.engines.saved import LOGITS
from lib.text.gpt2 import PAD

if TYPE_CHECKING:
    from onnx import NodeProto

Tokens = Sequence[Sequence[int]]

MIDDLE = 128  # what stands for zero in unsigned 8 bits, so that they reach as far as signed ones
REACH = 127  # the largest number of signed 8 bits, used on both sides
BLOCK = 32  # weights of a block, which has a scale of its own
SMOOTHING = 0.7  # share of the differences between channels that weights take over; MiniLM likes 0.5 best, SmolLM2 0.7
RARE = 0.1  # of the mean channel: what a channel that is silent in the calibration is taken to reach
CALIBRATION_TOKENS = 1024  # read to learn how far each channel reaches
SENSITIVITY_TOKENS = 20_000  # in all passes together, of which there is one for each layer
LEFT_OUT_SHARE = 0.1  # of the weights, in the layers that stay in float32
SWITCHES = "switches"


def int8_per_channel(source: Path, target: Path, sequences: Tokens) -> None:
    """Writes the float32 classifier `source` with all layers in int8; see `int8_but`."""
    int8_but((), source, target, sequences)


def int8_but(left_out: Collection[str], source: Path, target: Path, sequences: Tokens) -> None:
    """Writes the float32 classifier `source` with its layers in int8, but for those that `sensitive_layers` named.

    The same arguments give the same bytes. Large weights lie in a second file, `target`'s name with `.data`, that is
    mapped into memory. Raises `WeightsError` if no layer has constant weights, `ExtraError` without the extra `onnx`.

    Args:
        sequences: the tokens of texts like those to come, of which some show how far each channel of a layer's input
            reaches. Channels that reach far are divided, and their weights multiplied, by a constant (G. Xiao et al.,
            "SmoothQuant: accurate and efficient post-training quantization for large language models", ICML 2023).
    """
    graph = EditedGraph(source)
    layers = _Int8Layers(graph, _largest_inputs(source, sequences))
    graph.replace(lambda product, output: layers.nodes(product, output), but=left_out)
    graph.save(target)


def blocks_of_8_bits(source: Path, target: Path) -> None:
    """Writes the float32 classifier `source` with weights of 8 bits that have a scale for each `BLOCK` of them, as have
    their inputs: slower than `int8_per_channel`, and nearer to float32. Files and errors are those of `int8_but`."""
    graph = EditedGraph(source)
    graph.replace(lambda product, output: [_blocks(graph, product, output)])
    graph.save(target)


def sensitive_layers(source: Path, sequences: Tokens, *, pad: int) -> tuple[str, ...]:
    """Returns the layers of the float32 classifier `source` that int8 harms most for their size, the worst first.

    Each layer in turn is computed in int8, the others in float32; what that moves the logarithms of the probabilities
    of a few texts by (root mean square), squared and divided by the layer's weights, is its rank. The worst layers that
    together have `LEFT_OUT_SHARE` of the weights are named; it may be none. Takes as many passes as there are layers.
    sequences, errors: as in `int8_but`. pad: the token that rows are padded with.
    """
    graph = EditedGraph(source)
    layers = _Int8Layers(graph, _largest_inputs(source, sequences))
    numbers = {product.layer: number for number, product in enumerate(graph.products)}
    graph.add_input(SWITCHES, len(numbers))
    graph.replace(lambda product, output: _switched(layers, product, output, numbers[product.layer]))
    feed = graph_inputs(_some(sequences, SENSITIVITY_TOKENS // len(numbers)), pad=pad)
    with running(graph) as run:

        def answers(switches: NDArray[np.bool_]) -> NDArray[np.float64]:
            (logits,) = run([LOGITS], {**feed, SWITCHES: switches})
            return _log_softmax(np.asarray(logits, np.float64))

        exact = answers(np.zeros(len(numbers), bool))
        moved = [float(np.square(answers(one) - exact).mean()) for one in np.eye(len(numbers), dtype=bool)]
    return _worst({product.layer: (moved[numbers[product.layer]], product.size) for product in graph.products})


@dataclass
class _Int8Layers:
    """The nodes of layers in int8; layers that read the same input share its numbers in int8.

    largest: for each input of a layer, the largest size of each channel. dividers: what its channels are divided by.
    """

    graph: EditedGraph
    largest: dict[str, Floats]
    dividers: dict[str, Floats] = field(default_factory=dict)

    def nodes(self, product: Product, output: str) -> list["NodeProto"]:
        """Returns the nodes that compute a product, and its input's numbers in int8 if nothing did so before."""
        read, graph = product.input, self.graph
        nodes = [] if read in self.dividers else self._input_nodes(read)
        weights = graph.weights(product) * self.dividers[read][:, None]
        scale = _scale(_largest_pairs(weights))
        operands = [
            f"{read}.int8",
            graph.constant(f"{product.layer}.weights", np.rint(weights / scale).astype(np.int8)),
            graph.constant("int8.step", np.array(1 / REACH, np.float32)),
            graph.constant(f"{product.layer}.scale", scale),
            graph.constant("int8.middle", np.array(MIDDLE, np.uint8)),
        ]
        by_row = f"{output}.by_row"  # each row still has to be multiplied by its largest number
        return [
            *nodes,
            make_node("MatMulIntegerToFloat", operands, by_row, domain=CONTRIB),
            make_node("Mul", [by_row, f"{read}.largest"], output),
        ]

    def _input_nodes(self, read: str) -> list["NodeProto"]:
        """Returns the nodes that divide the channels, and then each token's numbers by the largest of them: the result
        (..., inputs) uint8, and the largest (..., 1) float32."""
        constant = self.graph.constant
        weights = [np.abs(self.graph.weights(each)).max(axis=1) for each in self.graph.products if each.input == read]
        self.dividers[read] = _dividers(self.largest[read], np.max(weights, axis=0))
        shared = constant(f"{read}.multipliers", 1 / self.dividers[read])
        last, tiny = constant("int8.last", np.array([-1])), constant("int8.tiny", np.array(1e-30, np.float32))
        reach, one = constant("int8.reach", np.array(REACH, np.float32)), constant("int8.one", np.array(1, np.float32))
        return [
            make_node("Mul", [read, shared], f"{read}.smooth"),
            make_node("Abs", [f"{read}.smooth"], f"{read}.sizes"),
            make_node("ReduceMax", [f"{read}.sizes", last], f"{read}.reached", keepdims=1),
            make_node("Max", [f"{read}.reached", tiny], f"{read}.largest"),
            make_node("Div", [reach, f"{read}.largest"], f"{read}.steps"),
            make_node("Mul", [f"{read}.smooth", f"{read}.steps"], f"{read}.scaled"),
            make_node(
                "QuantizeLinear",
                [f"{read}.scaled", one, constant("int8.middle", np.array(MIDDLE, np.uint8))],
                f"{read}.int8",
            ),
        ]


def _blocks(graph: EditedGraph, product: Product, output: str) -> "NodeProto":
    weights = graph.weights(product).T  # (outputs, inputs)
    outputs, inputs = weights.shape
    padded = np.pad(weights, ((0, 0), (0, -inputs % BLOCK))).reshape(outputs, -1, BLOCK)
    scale = _scale(np.abs(padded).max(axis=2))
    numbers = np.rint(padded / scale[:, :, None]) + MIDDLE
    operands = [
        product.input,
        graph.constant(f"{product.layer}.weights", numbers.astype(np.uint8)),
        graph.constant(f"{product.layer}.scale", scale),
    ]
    # Level 4: inputs are taken in 8 bits too, which is fast; at the other levels weights become float32 first.
    shape = {"K": inputs, "N": outputs, "bits": 8, "block_size": BLOCK, "accuracy_level": 4}
    return make_node("MatMulNBits", operands, output, domain=CONTRIB, **shape)


def _switched(layers: _Int8Layers, product: Product, output: str, number: int) -> list["NodeProto"]:
    """Returns nodes that compute a product in float32, or in int8 where its switch is on."""
    exact, rounded, switch = f"{output}.exact", f"{output}.rounded", f"{output}.switch"
    index = layers.graph.constant(f"{output}.number", np.array(number))
    weights = layers.graph.constant(f"{output}.transposed", layers.graph.weights(product))
    return [
        make_node("MatMul", [product.input, weights], exact),
        *layers.nodes(product, rounded),
        make_node("Gather", [SWITCHES, index], switch),
        make_node("Where", [switch, rounded, exact], output),
    ]


def _largest_inputs(source: Path, sequences: Tokens) -> dict[str, Floats]:
    """Returns, for each input of a layer, the largest size of each channel (inputs,) float32 in some of the texts."""
    graph = EditedGraph(source)
    names = sorted({product.input for product in graph.products})
    graph.add_outputs(names)
    largest: dict[str, Floats] = {}
    with running(graph) as run:
        for sequence in _some(sequences, CALIBRATION_TOKENS):  # one by one, so that none is padded
            for name, values in zip(names, run(names, graph_inputs([sequence], pad=PAD)), strict=True):
                reached = np.abs(values).reshape(-1, values.shape[-1]).max(axis=0)
                largest[name] = np.maximum(largest.get(name, reached), reached)
    return largest


def _dividers(inputs: Floats, weights: Floats) -> Floats:
    """Returns what each channel (inputs,) is divided by, from the largest sizes of its inputs and of its weights."""
    inputs = np.maximum(inputs, RARE * inputs.mean())
    weights = np.maximum(weights, RARE * weights.mean())
    dividers: Floats = (inputs**SMOOTHING / weights ** (1 - SMOOTHING)).astype(np.float32)
    return np.where(np.isfinite(dividers) & (dividers > 0), dividers, np.float32(1))


def _worst(layers: dict[str, tuple[float, int]]) -> tuple[str, ...]:
    """Returns the layers that fit into `LEFT_OUT_SHARE` of all weights; layers: error and weights by name."""
    left = LEFT_OUT_SHARE * sum(size for _, size in layers.values())
    worst = []
    for name, (_, size) in sorted(layers.items(), key=lambda layer: -layer[1][0] / layer[1][1]):
        if size <= left:
            worst.append(name)
            left -= size
    return tuple(worst)


def _some(sequences: Tokens, tokens: int) -> list[Sequence[int]]:
    """Returns texts of all lengths that have about so many tokens together, at least one text."""
    mean = sum(map(len, sequences)) / len(sequences)
    return evenly(sequences, max(1, round(tokens / mean)))


def _largest_pairs(weights: Floats) -> Floats:
    """Returns the largest sum of neighbours of one sign in each column (outputs,) of weights (inputs, outputs).

    Inputs are at most 255, so that two products fit into signed 16 bits where two weights of 8 bits together make 128.
    """
    pairs = np.pad(weights, ((0, len(weights) % 2), (0, 0))).reshape(-1, 2, weights.shape[1])
    sums = [np.maximum(sign * pairs, 0).sum(axis=1).max(axis=0) for sign in (1, -1)]
    largest: Floats = np.maximum(*sums)
    return largest


def _scale(largest: Floats) -> Floats:
    """Returns the step between two numbers of 8 bits; where all are zero it is 1."""
    return np.where(largest > 0, largest / REACH, 1).astype(np.float32)


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = logits - logits.max(axis=1, keepdims=True)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result
