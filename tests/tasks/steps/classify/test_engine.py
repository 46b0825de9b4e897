"""What a trained classifier is served with: named by the recipe, or chosen by measuring."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lib.data.parts import load_parts
from lib.data.tables import TOKENS
from lib.errors import RecipeError, WeightsError
from lib.evaluation.classify.findings import Findings
from lib.evaluation.classify.speed import Speed
from lib.export import candidates
from lib.export.candidates import FORMS, forms
from lib.inference.engines.loading import load_engine
from lib.model.labels import with_temperature
from lib.progress import NOBODY
from lib.recipes.classify import ClassifyRecipe
from lib.store.artifacts import Artifact
from lib.store.folder import FolderStore
from tasks.record.engine import engine_table, served_with
from tasks.steps.classify.cross_validate import cross_validate
from tasks.steps.classify.engine import engine
from tasks.steps.classify.evaluate import evaluate
from tests.support.procedure import perform
from tests.support.steps import steps_until_trained, write_data

pytestmark = pytest.mark.slow

Made = tuple[ClassifyRecipe, dict[str, Artifact]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The recipe and the artifacts of a run up to its training."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.steps.together.watched", lambda *_: nullcontext(NOBODY))
        return steps_until_trained(FolderStore(folder / "store"), write_data(folder, {}), "scratch")


@pytest.fixture
def speeds(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """What measuring says of each candidate, in messages a second; 100 of those that are not named."""
    told: dict[str, float] = {}

    def measure(classifiers: dict[str, Any], sequences: Any) -> dict[str, Speed]:
        return {name: Speed(told.get(name, 100.0), 1000 / told.get(name, 100.0)) for name in classifiers}

    monkeypatch.setattr(candidates, "measure_speed", measure)
    return told


def with_serving(recipe: ClassifyRecipe, **fields: Any) -> ClassifyRecipe:
    return ClassifyRecipe.model_validate({**recipe.model_dump(mode="json"), "serving": fields})


def calibrated(recipe: ClassifyRecipe) -> ClassifyRecipe:
    return ClassifyRecipe.model_validate({**recipe.model_dump(mode="json"), "evaluation": {"calibrate": True}})


def served(store: FolderStore, trained: Made, **fields: Any) -> Artifact:
    recipe, made = trained
    inputs = {name: made[name] for name in engine.inputs}
    return perform(store, with_serving(recipe, **fields), engine, **inputs)


def files(artifact: Artifact) -> set[str]:
    return {file.name for file in artifact.folder.iterdir()} - {"manifest.json"}


def read(artifact: Artifact, name: str) -> Any:
    return json.loads(artifact.file(name).read_text())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_torch_that_is_named_is_not_measured(store: FolderStore, trained: Made, precision: str) -> None:
    made = served(store, trained, engine="torch", precision=precision)
    assert files(made) == {"engine.json", "engines.json"}
    assert read(made, "engine.json") == {"engine": "torch", "precision": precision}
    assert read(made, "engines.json") == {"chosen": f"torch {precision}", "candidates": []}
    assert served_with(made) == f"torch {precision}"
    assert engine_table(made) == []


def test_onnxruntime_that_is_named_is_exported_and_compared(store: FolderStore, trained: Made) -> None:
    made = served(store, trained, engine="onnxruntime", precision="float32")
    assert files(made) == {"engine.json", "engines.json", "model.onnx", "model.onnx.data"}
    assert load_engine(trained[1]["finetune"].folder, engine=made.folder).name == "onnxruntime"
    assert read(made, "engines.json")["chosen"] == "onnxruntime float32"


def test_the_fastest_that_agrees_is_chosen(store: FolderStore, trained: Made, speeds: dict[str, float]) -> None:
    speeds |= {"onnxruntime float32": 250, "torch bfloat16": 200}
    made = served(store, (calibrated(trained[0]), trained[1]), largest_flip_share=1)
    table = read(made, "engines.json")
    assert [row["name"] for row in table["candidates"]] == list(FORMS)
    assert table["chosen"] == "onnxruntime float32"
    rows = {row["name"]: row for row in table["candidates"]}
    assert rows["torch float32"]["flips"] == rows["onnxruntime float32"]["flips"] == 0
    assert rows["onnxruntime float32"]["largest_difference"] < 1e-5
    assert 0 < rows["onnxruntime int8"]["largest_difference"] < 0.2
    assert files(made) == {"engine.json", "engines.json", "model.onnx", "model.onnx.data"}
    assert "onnxruntime float32: 250 messages/s, 4 ms for one (2.5 times torch float32); 0 of " in served_with(made)
    assert len(engine_table(made)) == len(FORMS)


def test_a_bad_candidate_is_refused_however_fast(
    store: FolderStore, trained: Made, speeds: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "onnxruntime int8"
    speeds |= {name: 900}

    def spoiled(source: Path, target: Path, texts: Any, pad: int) -> None:
        import onnx
        from onnx import numpy_helper

        model = onnx.load(source)
        draw = np.random.default_rng(1)
        for tensor in model.graph.initializer:
            values = numpy_helper.to_array(tensor)
            if values.dtype.kind == "f" and values.ndim == 2:
                damaged = draw.standard_normal(values.shape).astype(np.float32)
                tensor.CopyFrom(numpy_helper.from_array(damaged, tensor.name))
        onnx.save(model, target)

    monkeypatch.setitem(FORMS, name, replace(FORMS[name], quantize=spoiled))
    table = read(served(store, trained), "engines.json")
    (row,) = [row for row in table["candidates"] if row["name"] == name]
    assert "another label than float32" in row["refused"]
    assert table["chosen"] != name


def test_a_candidate_that_cannot_be_made_is_left_out(
    store: FolderStore, trained: Made, speeds: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unwritable(original: Any, folder: Path) -> None:
        raise WeightsError("a classifier on gpt2 cannot be written as ONNX (why): export with --format hf")

    monkeypatch.setattr(candidates, "write_graph", unwritable)
    table = read(served(store, trained), "engines.json")
    assert table["chosen"].startswith("torch ")
    reasons = {row["refused"] for row in table["candidates"] if row["name"].startswith("onnxruntime")}
    assert reasons == {"a classifier on gpt2 cannot be written as ONNX (why): export with --format hf"}
    with pytest.raises(WeightsError, match="cannot be written as ONNX"):
        served(store, trained, precision="int8")


def test_if_nothing_agrees_the_recipe_is_refused(
    store: FolderStore, trained: Made, speeds: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "refusal", lambda *_: "gives 9 of 12 messages another label")
    with pytest.raises(RecipeError, match=r"\(onnxruntime int8 gives 9 of 12 .*\): set serving\.precision"):
        served(store, trained, precision="int8")


@pytest.mark.parametrize(
    ("engine_name", "precision", "onnx", "expected"),
    [
        ("auto", "auto", True, list(FORMS)),
        ("auto", "auto", False, ["torch float32", "torch bfloat16"]),
        ("torch", "auto", True, ["torch float32", "torch bfloat16"]),
        ("auto", "float32", True, ["torch float32", "onnxruntime float32"]),
        ("auto", "float32", False, ["torch float32"]),
        ("onnxruntime", "float32", False, ["onnxruntime float32"]),
        ("auto", "int8", False, [name for name in FORMS if "int8" in name]),
    ],
)
def test_the_forms_that_a_recipe_allows(engine_name: str, precision: str, onnx: bool, expected: list[str]) -> None:
    assert forms(engine_name, precision, onnx=onnx) == expected


def test_the_key_has_what_the_choice_depends_on(trained: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, made = trained
    inputs = {name: made[name] for name in engine.inputs}

    def identity(**fields: Any) -> Any:
        return engine.ingredients(with_serving(recipe, **fields), inputs)["identity"]

    assert identity(engine="torch", precision="float32") == {}
    assert set(identity(engine="onnxruntime", precision="float32")) == {"onnx", "onnxruntime", "onnxscript", "torch"}
    measured = identity()
    assert set(measured) == {"onnx", "onnxruntime", "onnxscript", "torch", "device", "processor"}
    find_spec = util.find_spec
    monkeypatch.setattr("lib.extras.find_spec", lambda name: None if name == "onnxruntime" else find_spec(name))
    assert identity()["onnxruntime"] == "not installed"


def test_without_onnxruntime_torch_serves(
    store: FolderStore, trained: Made, speeds: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = util.find_spec
    monkeypatch.setattr("lib.extras.find_spec", lambda name: None if name == "onnxruntime" else find_spec(name))
    table = read(served(store, trained), "engines.json")
    assert [row["name"] for row in table["candidates"]] == ["torch float32", "torch bfloat16"]


def test_every_figure_is_of_what_is_served(store: FolderStore, trained: Made) -> None:
    recipe, made = trained
    exact = served(store, trained, engine="onnxruntime", precision="float32")
    doubted = perform(store, recipe, cross_validate, **{name: made[name] for name in cross_validate.inputs})
    inputs = {name: made[name] for name in evaluate.inputs if name not in ("engine", "cross_validate")}
    evaluated = perform(
        store, with_serving(calibrated(recipe)), evaluate, **inputs, engine=exact, cross_validate=doubted
    )
    rows = pd.read_parquet(evaluated.folder / "predictions")
    tested = rows[rows["split"] == "test"]
    tokens = load_parts(made["tokenize"].file("test"), TOKENS)["tokens"]
    wanted = load_engine(made["finetune"].folder, engine=exact.folder).probabilities(list(tokens))
    temperature = Findings.load(evaluated.folder).decision.temperature
    assert tested.filter(like="probability_").to_numpy() == pytest.approx(with_temperature(wanted, temperature), abs=0)
    assert Findings.load(evaluated.folder).about["engine"] == "onnxruntime, float32"
