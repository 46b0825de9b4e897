"""The house rules that imports can break: three layers in one direction, `lib` from the bottom up, nothing pickled."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
LAYERS = ("lib", "tasks", "flows")  # each may import from those before it
# `lib` from the bottom up: a module may import from its own row and from the rows before it.
ROWS = (
    ("errors", "progress", "jsonfile", "disk", "checksum"),
    ("recipe_sections", "recipe", "recipe_file", "artifacts", "fingerprint", "housekeeping"),
    ("text", "labels", "instruct_recipe"),  # a recipe's prompt styles are those of `lib.text.prompts`
    ("data",),
    ("model",),
    ("training",),
    ("evaluation",),
    ("prediction", "answering", "explanation", "invocation"),
    ("logged_model", "scoring"),
    ("serving", "instruct_serving"),
)
# MLflow itself loads the first two; the third is how they are logged.
KNOWS_MLFLOW = {"lib.serving", "lib.instruct_serving", "lib.logged_model"}
# `lib.recipe_file` reads recipes; the others say what is in them.
RECIPES = {"lib.recipe_sections", "lib.recipe", "lib.instruct_recipe", "lib.recipe_file", "lib.scoring.job"}
PICKLING_MODULES = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
PICKLING_CALLS = {"torch.save", "torch.load", "read_pickle", "to_pickle"}


def dotted(file: Path) -> str:
    """The module's name."""
    parts = file.relative_to(PROJECT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


TREES = {
    dotted(file): ast.parse(file.read_bytes(), filename=str(file))
    for layer in LAYERS
    for file in sorted((PROJECT / layer).rglob("*.py"))
}


def imported(tree: ast.AST, *, with_types: bool = True) -> set[str]:
    """Every name that is imported anywhere in the tree, functions included, and the modules that it may stand for.

    Without types: not what stands in `if TYPE_CHECKING:`, which never runs.
    """
    names: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are written in full here"
            names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING") and not with_types:
            names |= imported(ast.Module(node.orelse, []), with_types=False)
        else:
            names |= imported(node, with_types=with_types)
    return names


def project_imports(module: str, *, with_types: bool = True) -> set[str]:
    """The modules of this project that a module imports."""
    return imported(TREES[module], with_types=with_types) & TREES.keys() - {module}


def row(module: str) -> int:
    """How far up in `lib` a module stands."""
    name = module.split(".")[1]
    places = [place for place, names in enumerate(ROWS) if name in names]
    assert places, f"{module} has no place in the order of lib: add it to ROWS where it belongs"
    return places[0]


def pickles(tree: ast.AST) -> list[str]:
    """What in a module pickles, or reads pickles."""
    found = [name for name in imported(tree) if name.split(".")[0] in PICKLING_MODULES or name in PICKLING_CALLS]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            written = ast.unparse(node)
            found += [call for call in PICKLING_CALLS if written == call or written.endswith(f".{call}")]
        elif isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            found.append("allow_pickle")
    return found


LIB = [module for module in TREES if module.startswith("lib.")]


def test_all_layers_are_walked() -> None:
    assert {"flows.classify", "tasks.finetune", "lib.training.finetune", "lib.data.sample"} <= TREES.keys()


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_imports_from_the_layers_below_it_only(layer: str) -> None:
    above = LAYERS[LAYERS.index(layer) + 1 :]
    for module, tree in TREES.items():
        if module.split(".")[0] == layer:
            wrong = {name for name in imported(tree) if name.split(".")[0] in above}
            assert not wrong, f"{module} imports {wrong}"


@pytest.mark.parametrize("module", LIB)
def test_lib_knows_neither_prefect_nor_mlflow(module: str) -> None:
    services = {name.split(".")[0] for name in imported(TREES[module])} & {"prefect", "mlflow"}
    assert services == ({"mlflow"} if module in KNOWS_MLFLOW else set())


@pytest.mark.parametrize("module", LIB)
def test_lib_imports_downwards(module: str) -> None:
    upwards = {name for name in project_imports(module) if name != "lib" and row(name) > row(module)}
    assert not upwards, f"{module} imports {upwards}"


@pytest.mark.parametrize("module", LIB)
def test_lib_takes_plain_values_and_no_recipe(module: str) -> None:
    recipes = RECIPES & project_imports(module, with_types=False)
    assert not recipes or module in RECIPES


def test_no_module_imports_itself_by_way_of_others() -> None:
    try:
        TopologicalSorter({module: project_imports(module) for module in TREES}).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("module", TREES)
def test_nothing_is_pickled(module: str) -> None:
    assert pickles(TREES[module]) == []


# -- the walk itself --------------------------------------------------------------------------------------------


def test_imports_in_functions_and_of_submodules_are_seen() -> None:
    tree = ast.parse(
        "import a.b\nfrom c import d\ndef f():\n    if f:\n        from lib import serving\n"
        "if TYPE_CHECKING:\n    import only_types\nelse:\n    import other\n"
    )
    running = {"a.b", "c", "c.d", "lib", "lib.serving", "other"}
    assert imported(tree, with_types=False) == running
    assert imported(tree) == {*running, "only_types"}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "def f():\n    from joblib import dump",
        "import torch\ntorch.save(1, 2)",
        "from torch import load",
        "pd.read_pickle(file)",
        "table.to_pickle(file)",
        "np.load(file, allow_pickle=True)",
    ],
)
def test_pickling_is_seen(source: str) -> None:
    assert pickles(ast.parse(source))


def test_what_is_no_pickling_is_left_alone() -> None:
    assert not pickles(ast.parse("import json\nfrom safetensors.torch import save_file\njson.load(file)\nload(1)"))
