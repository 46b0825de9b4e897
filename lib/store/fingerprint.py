"""The part of a cache key that stands for code: a hash for every module that a step reaches.

Imports are read from the source, because executing them would load torch for a cached run. Imports of `lib` and of
other steps are followed transitively, also inside functions; `if TYPE_CHECKING:` blocks and third-party packages, whose
versions the manifest notes, are not. The hash covers the syntax tree without docstrings and comments.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable
from functools import cache, partial
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
FOLLOWED = ("lib.", "tasks.steps.")  # the rest of `tasks` does not affect a step's results


def code_fingerprint(module: str, *, project: Path = PROJECT) -> dict[str, str]:
    """Returns the hashes of `module` and of every followed module that it reaches, by dotted name. Raises
    ModuleNotFoundError if `module` has no source file below `project`."""
    file_of = cache(partial(_source_file, project=project))  # most names are imported by many modules
    found: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        file = file_of(name)
        if file is None:
            raise ModuleNotFoundError(f"no source file for {name} in {project}")
        stat = file.stat()
        digest, imports = _read(file, name, stat.st_mtime_ns, stat.st_size)
        found[name] = digest
        waiting += [target for target in imports if target not in found and file_of(target) is not None]
    return dict(sorted(found.items()))


def _source_file(module: str, project: Path) -> Path | None:
    path = project.joinpath(*module.split("."))
    for file in (path / "__init__.py", path.with_suffix(".py")):
        if file.is_file():
            return file
    return None


def _followed(imports: Iterable[str]) -> tuple[str, ...]:
    """Returns the names of followed modules that may be behind imported names, with the packages that importing them
    executes."""
    names: dict[str, None] = {}
    for imported in imports:
        parts = imported.split(".")
        # `from lib.data import split` names a module, `from lib.errors import DataError` an attribute.
        prefixes = (".".join(parts[:length]) for length in range(1, len(parts) + 1))
        names.update(dict.fromkeys(name for name in prefixes if f"{name}.".startswith(FOLLOWED)))
    return tuple(names)


@cache
def _read(file: Path, module: str, mtime_ns: int, size: int) -> tuple[str, tuple[str, ...]]:  # noqa: ARG001
    """Returns a source file's hash, and the names of what it imports; time and size only key the cache."""
    tree = ast.parse(file.read_bytes(), filename=str(file))
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    return hashlib.sha256(_normalise(tree).encode()).hexdigest()[:16], _followed(_imports(tree, package))


def _imports(node: ast.AST, package: str) -> list[str]:
    names: list[str] = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            names += [alias.name for alias in child.names]
        elif isinstance(child, ast.ImportFrom):
            base = child.module or ""
            if child.level:
                parents = package.split(".")[: len(package.split(".")) - child.level + 1]
                base = ".".join([*parents, base] if base else parents)
            names += [f"{base}.{alias.name}" for alias in child.names]
        elif isinstance(child, ast.If) and _is_type_checking(child.test):
            # Wrapped, because `_imports` visits only the children of its argument.
            names += _imports(ast.Module(body=child.orelse, type_ignores=[]), package)
        else:
            names += _imports(child, package)
    return names


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _normalise(node: object) -> str:
    """Returns the syntax tree as text, without docstrings and positions. `ast.dump` would include fields that newer
    Pythons add, and a store may outlive a Python."""
    if isinstance(node, ast.AST):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node = _without_docstring(node)
        fields = ",".join(
            f"{name}={_normalise(value)}"
            for name, value in ast.iter_fields(node)
            if value not in (None, []) and name not in ("type_params", "type_comment", "kind")
        )
        return f"{type(node).__name__}({fields})"
    if isinstance(node, list):
        return "[" + ",".join(_normalise(item) for item in node) + "]"
    return repr(node)


def _without_docstring(
    node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef,
) -> ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef:
    if ast.get_docstring(node, clean=False) is None:
        return node
    copy = type(node)(**dict(ast.iter_fields(node)))
    copy.body = node.body[1:]
    return copy
