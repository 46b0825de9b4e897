"""An ONNX graph whose matrix products with constant weights can be replaced, run and saved."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lib.errors import WeightsError
from lib.extras import require
from lib.inference.engines.onnx_engine import open_session

if TYPE_CHECKING:
    from onnx import NodeProto

Floats = NDArray[np.float32]
Run = Callable[[Collection[str], dict[str, NDArray[Any]]], list[Any]]  # names of outputs, and inputs, to values

CONTRIB = "com.microsoft"  # the domain of ONNX Runtime's own operators


@dataclass(frozen=True)
class Product:
    """A matrix product with constant weights, (inputs, outputs); its layer is called by its output."""

    node: "NodeProto"
    size: int

    @property
    def layer(self) -> str:
        return str(self.node.output[0])

    @property
    def input(self) -> str:
        return str(self.node.input[0])

    @property
    def bias(self) -> str | None:
        return str(self.node.input[2]) if len(self.node.input) == 3 else None


class EditedGraph:
    """An ONNX graph whose products with constant weights are replaced, all but the last one, which is the head."""

    def __init__(self, source: Path) -> None:
        require("onnx", "onnx", "serving.precision int8")
        import onnx

        self.model = onnx.load(source)
        self.constants = {tensor.name: tensor for tensor in self.model.graph.initializer}
        found = [Product(node, self._size(node)) for node in self.model.graph.node if self._is_product(node)]
        self.products = found[:-1]
        if not self.products:
            raise WeightsError(f"{source} has no layers that int8 could compute: leave serving.precision at float32")

    def weights(self, product: Product) -> Floats:
        """Returns the weights (inputs, outputs) float32 of a product."""
        from onnx import numpy_helper

        weights: Floats = numpy_helper.to_array(self.constants[product.node.input[1]])
        return weights.T if _attributes(product.node).get("transB") else weights

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Adds a constant, if there is none of this name yet, and returns its name."""
        from onnx import numpy_helper

        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(values, name)
        return name

    def add_input(self, name: str, length: int) -> None:
        """Adds an input (length,) of truth values."""
        from onnx import TensorProto, helper

        self.model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.BOOL, [length]))

    def add_outputs(self, names: Collection[str]) -> None:
        """Makes values inside the graph outputs too, of float32."""
        from onnx import TensorProto, helper

        self.model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)

    def replace(self, make: Callable[[Product, str], list["NodeProto"]], *, but: Collection[str] = frozenset()) -> None:
        """Replaces each product by the nodes that `make` returns for it and the name of their output, without bias."""
        replaced = {product.layer: product for product in self.products if product.layer not in but}
        nodes: list[NodeProto] = []
        for node in self.model.graph.node:
            product = replaced.get(node.output[0])
            if product is None:
                nodes.append(node)
            elif product.bias is None:
                nodes += make(product, product.layer)
            else:
                without = f"{product.layer}.product"
                nodes += [*make(product, without), make_node("Add", [without, product.bias], product.layer)]
        del self.model.graph.node[:]
        self.model.graph.node.extend(nodes)

    def save(self, file: Path) -> None:
        """Writes the graph without the weights that no product reads any more, and large constants beside it."""
        import onnx

        graph = self.model.graph
        read = {name for node in graph.node for name in node.input}
        unread = {product.node.input[1] for product in self.products} - read
        del graph.initializer[:], graph.value_info[:]
        graph.initializer.extend(tensor for name, tensor in self.constants.items() if name not in unread)
        if CONTRIB not in {each.domain for each in self.model.opset_import}:
            self.model.opset_import.append(onnx.helper.make_opsetid(CONTRIB, 1))
        weights = file.with_name(f"{file.name}.data")
        weights.unlink(missing_ok=True)  # onnx would add to it
        onnx.save_model(self.model, file, save_as_external_data=True, location=weights.name)

    def _is_product(self, node: "NodeProto") -> bool:
        if node.op_type not in ("MatMul", "Gemm"):
            return False
        weights = self.constants.get(node.input[1])
        if weights is None or len(weights.dims) != 2:
            return False
        scaled = {"alpha": 1.0, "beta": 1.0, "transA": 0}
        return all(value == scaled.get(name, value) for name, value in _attributes(node).items())

    def _size(self, node: "NodeProto") -> int:
        return int(np.prod(self.constants[node.input[1]].dims))


def make_node(
    operator: str, inputs: list[str], output: str, *, domain: str | None = None, **attributes: Any
) -> "NodeProto":
    """Returns a node with one output, by which it is called."""
    from onnx import helper

    return helper.make_node(operator, inputs, [output], name=output, domain=domain, **attributes)


def _attributes(node: "NodeProto") -> dict[str, Any]:
    from onnx import helper

    return {each.name: helper.get_attribute_value(each) for each in node.attribute}


@contextmanager
def running(graph: EditedGraph) -> Iterator[Run]:
    """Yields how ONNX Runtime computes the graph: names of outputs and the inputs to arrays."""
    require("onnxruntime", "onnx", "serving.precision int8")
    with TemporaryDirectory() as folder:
        file = Path(folder) / "graph.onnx"
        graph.save(file)
        yield open_session(file).run
