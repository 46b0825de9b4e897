"""Says in `engine.json` which engine a saved classifier is served with, and what that engine reads; without torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lib.errors import WeightsError
from lib.files.checksum import file_sha256
from lib.files.jsonfile import save_json
from lib.inference.engines.engine import ONNXRUNTIME, TORCH
from lib.model.usage import load_usage
from lib.model.weights.saved import SavedFields

ENGINE = "engine.json"  # in a classifier's folder; without it, torch computes in the precision of the training
TABLE = "engines.json"  # what was measured to choose it
MODEL = "model.onnx"  # weights of more than a few megabytes lie beside it
PRECISIONS = {TORCH: ("float32", "bfloat16"), ONNXRUNTIME: ("float32", "int8")}
TOKENS, MASK, LOGITS = "input_ids", "attention_mask", "logits"  # the graph's inputs and output


@dataclass(frozen=True)
class Graph:
    """A classifier as an ONNX graph: `TOKENS` and `MASK`, (batch, length) int64, to `LOGITS`, (batch, classes) float32.

    file: its name in the classifier's folder. sha256: of this file and of those with its weights, by name.
    opset: the version of ONNX's operators. onnxruntime: the version that it was checked with.
    pad: the token that rows are padded with. width: the numbers of a token's vector.
    """

    file: str
    sha256: Mapping[str, str]
    opset: int
    onnxruntime: str
    pad: int
    width: int

    def require_files(self, folder: Path) -> None:
        """Raises WeightsError if a file is not in the folder, or not the one that was checked."""
        for name, sha256 in self.sha256.items():
            file = folder / name
            if not file.is_file():
                raise WeightsError(f"{file} does not exist, and {folder / ENGINE} names it: register the model again")
            if file_sha256(file) != sha256:
                raise WeightsError(
                    f"{file} is not the file that {folder / ENGINE} names (another sha256), so its answers are unknown:"
                    " register the model again"
                )


@dataclass(frozen=True)
class SavedEngine:
    """What `engine.json` says: `engine`, "torch" or "onnxruntime"; the precision of its matrix products; and for
    onnxruntime the graph that it computes."""

    engine: str
    precision: str
    graph: Graph | None = None

    def save(self, folder: Path) -> None:
        """Writes `engine.json`."""
        fields = {name: value for name, value in asdict(self).items() if value is not None}
        save_json(fields, folder / ENGINE)


def saved_engine(folder: Path) -> SavedEngine:
    """Reads which engine a classifier is served with; raises WeightsError if the file is damaged."""
    if not (folder / ENGINE).is_file():
        return default_engine(folder)
    saved = SavedFields(folder / ENGINE)
    engine, precision = saved.get("engine", str), saved.get("precision", str)
    if engine not in PRECISIONS:
        raise saved.wrong("engine", engine)
    if precision not in PRECISIONS[engine]:
        raise saved.wrong("precision", precision)
    if engine == TORCH:
        return SavedEngine(engine, precision)
    fields: dict[str, Any] = {"file": str, "sha256": dict, "opset": int, "onnxruntime": str, "pad": int, "width": int}
    graph = {name: saved.get(f"graph.{name}", kind) for name, kind in fields.items()}
    names = [*graph["sha256"], graph["file"]]
    if graph["file"] not in graph["sha256"] or any(Path(name).name != name for name in names):
        raise saved.wrong("graph.sha256", graph["sha256"])
    return SavedEngine(engine, precision, Graph(**graph))


def default_engine(folder: Path) -> SavedEngine:
    """Returns what a classifier without `engine.json` is served with: torch, in the precision of its training."""
    return SavedEngine(TORCH, load_usage(folder).precision)
