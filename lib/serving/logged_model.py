"""Logs a folder as an MLflow model: its files and the code that reads them, nothing pickled."""

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature

from lib.files.disk import copy_folder
from lib.files.jsonfile import load_json
from lib.files.listing import SHA256_TAG, write_listing
from lib.files.uploads import Sizes, missing_upload
from lib.inference.engines.engine import ONNXRUNTIME
from lib.inference.engines.saved import ENGINE, saved_engine
from lib.model.weights.saved import INFERENCE
from lib.store.fingerprint import PROJECT, code_fingerprint
from lib.text.gpt2 import is_own_file
from lib.text.tokenizer_files import TEMPLATE, TOKENIZER

CHECKING = "lib.files.listing"  # the module with which a served model checks its files
TORCH_NEEDS = ("safetensors", "torch")
NETWORKS: dict[str, tuple[str, ...]] = {"gpt2": (), "transformers": ("transformers",)}  # what a network needs besides


def log_model(
    folder: Path,
    *,
    run_id: str,
    tracking_uri: str,
    tags: Mapping[str, str],
    name: str,
    python_file: Path,
    code_of: str,
    signature: ModelSignature,
    example: Any,
    packages: Iterable[str],
) -> LoggedModel:
    """Logs `folder` as a model of the MLflow run, with copies of its files and of the code of `lib` that it runs, and
    the checksums of all that.

    These are the steps of MLflow's own `log_model`, which would also load the model, predict with it here, and use
    whichever run is active in this thread. If a step fails, no model is left behind.

    Args:
        tags: of the logged model, from its beginning.
        name: of the logged model, and of the folder in `context.artifacts`.
        python_file: the file that MLflow loads to serve the model ("models from code").
        code_of: the module of `lib` that the file needs; it is copied with all that it imports.
        signature: what the model takes and returns.
        example: an input, shown in MLflow's pages.
        packages: what file and code import, pinned to the installed versions.
    """
    # Parts of MLflow, such as the registry in a local file, use the process's tracking URI.
    mlflow.set_tracking_uri(tracking_uri)
    client = MlflowClient(tracking_uri)
    run = client.get_run(run_id)
    model = client.create_logged_model(
        run.info.experiment_id, name=name, source_run_id=run_id, params=run.data.params, tags=dict(tags)
    )
    try:
        with tempfile.TemporaryDirectory(prefix="finetune-model-") as temporary:
            saved = Path(temporary) / "model"
            mlflow.pyfunc.save_model(
                path=str(saved),
                mlflow_model=Model(artifact_path=model.artifact_location, run_id=run_id, model_id=model.model_id),
                python_model=str(python_file),
                artifacts={name: str(folder)},
                code_paths=[str(copy_code((code_of, CHECKING), Path(temporary)))],
                signature=signature,
                input_example=example,
                pip_requirements=pinned(packages),
            )
            client.set_logged_model_tags(model.model_id, {SHA256_TAG: write_listing(saved)})
            client.log_model_artifacts(model.model_id, str(saved))
            _require_files(client, model, saved)
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
        return client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    except BaseException:
        discard(client, model)
        raise


def _require_files(client: MlflowClient, model: LoggedModel, saved: Path) -> None:
    """Raises MlflowException unless a server that takes files has all of the model's, with their sizes: what a proxy
    answers in its place, MLflow's client takes for its answer."""
    if not model.artifact_location.startswith("mlflow-artifacts:"):
        return

    def sizes_in(place: str) -> Sizes:
        return {each.path: each.file_size for each in client.list_logged_model_artifacts(model.model_id, place or None)}

    missing = missing_upload(saved, "", sizes_in)
    if missing is not None:
        raise MlflowException(f"{missing} of the model {model.model_id} was taken, and is not there")


def discard(client: MlflowClient, model: LoggedModel) -> None:
    """Deletes a logged model: first its files, so that one whose files are there is never forgotten."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    with suppress(MlflowException, OSError):  # already gone, or a server that deletes no files
        files = get_artifact_repository(model.artifact_location, tracking_uri=client.tracking_uri)
        files.delete_artifacts()  # type: ignore[no-untyped-call]
    client.delete_logged_model(model.model_id)


def copy_code(modules: Iterable[str], folder: Path) -> Path:
    """Copies `modules` and all modules of `lib` that they import, at any depth, into `folder`/lib; returns that."""
    for name in {name for module in modules for name in code_fingerprint(module)}:
        source = PROJECT.joinpath(*name.split("."))
        file = source / "__init__.py" if source.is_dir() else source.with_suffix(".py")
        target = folder / file.relative_to(PROJECT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
        if source.is_dir() and (source / "assets").is_dir():
            copy_folder(source / "assets", target.parent / "assets")
    return folder / "lib"


def required(folder: Path, always: Iterable[str]) -> tuple[str, ...]:
    """Returns the packages that the model in `folder` is loaded and asked with: those that every model of its kind
    needs, and what its engine, its tokenizer, its network and its chat template need besides."""
    network = load_json(folder / INFERENCE)["network"]
    graph = (folder / ENGINE).is_file() and saved_engine(folder).graph is not None
    engine = (ONNXRUNTIME,) if graph else (*TORCH_NEEDS, *NETWORKS[network])
    own = is_own_file((folder / TOKENIZER).read_bytes())
    chat = (folder / TEMPLATE).is_file()
    more = (*engine, *(() if own else ("tokenizers",)), *(("jinja2",) if chat else ()))
    return tuple(sorted({*always, *more}))


def pinned(packages: Iterable[str]) -> list[str]:
    """Returns requirements with the installed versions, without a build's suffix ("+cpu")."""
    return [f"{package}=={metadata.version(package).partition('+')[0]}" for package in packages]
