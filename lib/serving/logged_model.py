"""How a folder becomes one of MLflow's models: its files, the code that reads them, and nothing pickled.

Here belongs what every kind of model has in common when it is logged. What a kind takes and returns is in the file that
MLflow loads to serve it, `serving` or `instruct_serving`; a logged model holds copies of that file and of the modules
of `lib` that it runs, and this one is not among them.
"""

import shutil
import tempfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, LoggedModelOutput, LoggedModelStatus
from mlflow.models import Model, ModelSignature

from lib.store.fingerprint import PROJECT, code_fingerprint


def log_model(
    folder: Path,
    *,
    run_id: str,
    tracking_uri: str,
    name: str,
    python_file: Path,
    code_of: str,
    signature: ModelSignature,
    example: Any,
    packages: Iterable[str],
) -> LoggedModel:
    """Log `folder` as a model of the MLflow run; its files and `lib`'s code are copied.

    MLflow's one call for this, `log_model`, would also load the model and predict with it here, and belongs to
    whichever run is active in this thread; these are the steps that it consists of. If one fails, no model is left
    behind.

    Args:
        name: what the logged model is called, and the name under which it finds the folder (`context.artifacts`).
        python_file: the file that MLflow loads to serve the model ("models from code").
        code_of: the module of `lib` that the file needs; it is copied with all that it imports.
        signature: what the model takes and returns.
        example: an input, shown in MLflow's pages.
        packages: what file and code import; they are pinned to the versions here.
    """
    # Parts of MLflow's own, such as the registry in a local file, look the model up at the process's address.
    mlflow.set_tracking_uri(tracking_uri)
    client = MlflowClient(tracking_uri)
    run = client.get_run(run_id)
    model = client.create_logged_model(run.info.experiment_id, name=name, source_run_id=run_id, params=run.data.params)
    try:
        with tempfile.TemporaryDirectory(prefix="finetune-model-") as temporary:
            saved = Path(temporary) / "model"
            mlflow.pyfunc.save_model(
                path=str(saved),
                mlflow_model=Model(artifact_path=model.artifact_location, run_id=run_id, model_id=model.model_id),
                python_model=str(python_file),
                artifacts={name: str(folder)},
                code_paths=[str(copy_code(code_of, Path(temporary)))],
                signature=signature,
                input_example=example,
                pip_requirements=pinned(packages),
            )
            client.log_model_artifacts(model.model_id, str(saved))
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
        return client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    except BaseException:
        client.delete_logged_model(model.model_id)
        raise


def copy_code(module: str, folder: Path) -> Path:
    """Copy `module` and every module of `lib` that it reaches into `folder`/lib, and return that."""
    for name in code_fingerprint(module):
        source = PROJECT.joinpath(*name.split("."))
        file = source / "__init__.py" if source.is_dir() else source.with_suffix(".py")
        target = folder / file.relative_to(PROJECT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
        if source.is_dir() and (source / "assets").is_dir():
            shutil.copytree(source / "assets", target.parent / "assets")
    return folder / "lib"


def pinned(packages: Iterable[str]) -> list[str]:
    """Requirements with the versions installed here; a build's own suffix ("+cpu") is left out."""
    return [f"{package}=={metadata.version(package).partition('+')[0]}" for package in packages]
