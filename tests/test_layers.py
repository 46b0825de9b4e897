"""The house rules that imports can break: layers in one direction, folders from the bottom up, nothing pickled."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
LAYERS = ("lib", "tasks", "flows")  # each may import from those before it
# Each folder from the bottom up: what it holds may import from its own row and from the rows before it. Modules that
# are not named here stand together in the row "*".
ROWS: dict[str, tuple[tuple[str, ...], ...]] = {
    "lib": (
        ("visible",),
        ("errors", "progress", "extras", "markdown", "secrets", "sizes"),
        ("files", "processes"),
        ("text",),
        ("store",),
        ("cluster",),
        ("search",),  # whose spaces a recipe names
        ("recipes",),  # a recipe's prompt styles are those of `lib.text.prompts`
        ("data",),
        ("model",),
        ("training",),
        ("inference",),
        ("evaluation",),
        ("comparison",),
        ("scoring",),
        ("export",),
        ("serving",),
    ),
    "lib.data": (("*",), ("source",), ("messages",), ("entries",), ("samples", "inspection")),
    "lib.model": (
        ("labels", "trainable", "padding"),
        ("machine",),
        ("weights",),
        ("usage",),
        ("adapters",),
        ("backbone", "language_model", "choice"),
        ("gpt2", "hugging_face"),
        ("network",),
        ("features",),
        ("*",),
    ),
    "lib.inference": (("engines",), ("*",)),
    "lib.training": (("*",), ("classify", "instruct")),
    "lib.evaluation": (("*",), ("classify", "instruct", "judge", "drift")),
    "tasks": (
        ("environment", "secrets"),
        ("running", "temporary", "store"),
        ("engine",),
        ("record",),
        ("registry",),
        ("report",),
        ("steps",),
        ("compare",),
        ("use",),
    ),
    "tasks.steps": (("*",), ("classify", "instruct")),
    "flows": (("use_cases",), ("run",), ("terminal",), ("servers", "http"), ("*",)),
}
# MLflow itself loads the first two; the third is how they are logged.
KNOWS_MLFLOW = {"lib.serving.classifier", "lib.serving.follower", "lib.serving.logged_model"}
RECIPES = "lib.recipes"
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


def imported(tree: ast.AST) -> set[str]:
    """Every name that is imported anywhere in the tree, in functions and for types too, and the modules that it may
    stand for."""
    names: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are written in full here"
            names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
        else:
            names |= imported(node)
    return names


def project_imports(module: str) -> set[str]:
    """The modules of this project that a module imports."""
    return imported(TREES[module]) & TREES.keys() - {module}


def row(folder: str, name: str) -> int:
    """How far up a module or folder stands in `folder`."""
    places = {each: place for place, names in enumerate(ROWS[folder]) for each in names}
    assert name in places or "*" in places, f"{folder}.{name} has no place: add it to ROWS where it belongs"
    return places.get(name, places.get("*", 0))


def upwards(module: str) -> set[str]:
    """What a module imports from higher rows of a folder that both are in."""
    found = set()
    for name in project_imports(module):
        ours, theirs = module.split("."), name.split(".")
        shared = [".".join(ours[:length]) for length in range(1, len(ours)) if ours[:length] == theirs[:length]]
        for folder in shared:
            depth = folder.count(".") + 1
            # A package's own file says what the folder holds, and belongs to no row of it.
            if folder in ROWS and len(theirs) > depth and row(folder, theirs[depth]) > row(folder, ours[depth]):
                found.add(name)
    return found


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
    assert {
        "flows.classify",
        "tasks.steps.classify.finetune",
        "lib.training.classify.finetune",
        "lib.data.samples.messages",
    } <= TREES.keys()


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


@pytest.mark.parametrize("module", TREES)
def test_folders_inside_a_layer_import_downwards(module: str) -> None:
    assert not upwards(module)


@pytest.mark.parametrize("module", LIB)
def test_lib_takes_plain_values_and_no_recipe(module: str) -> None:
    recipes = {name for name in project_imports(module) if name.startswith(RECIPES)}
    assert not recipes or module.startswith(RECIPES)


def test_the_root_of_flows_holds_doors_only() -> None:
    """What a person, systemd or prefect.yaml starts by name."""
    doors = {module for module in TREES if module.startswith("flows.") and module.count(".") == 1}
    folders = {"flows.http", "flows.run", "flows.servers", "flows.terminal", "flows.use_cases"}
    assert doors - folders == {
        *("flows.classify", "flows.instruct", "flows.score", "flows.deployments", "flows.serve", "flows.store"),
        *("flows.compare", "flows.deliver"),
        "flows.inspect",
        *("flows.up", "flows.ui", "flows.deploy", "flows.database", "flows.__main__", "flows.completion"),
        *("flows.export", "flows.push"),
    }


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
    assert imported(tree) == {"a.b", "c", "c.d", "lib", "lib.serving", "only_types", "other"}


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
