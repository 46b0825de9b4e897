"""What a saved classifier says of itself: config.json in Hugging Face layout, and `inference.json` for its use; read
without the classes that wrote them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.errors import WeightsError
from lib.files.jsonfile import save_json
from lib.model.weights.folder import CONFIG, existing, read_fields

# The `model_type` of a classifier that no class of transformers computes: it refuses the folder, instead of putting a
# new head with random numbers on the backbone.
OWN_TYPE = "finetune-flows-classifier"
NETWORK = "network"  # the network's own fields, in the config.json of such a classifier

ONE_LABEL = "single_label_classification"  # transformers' `problem_type`

INFERENCE = "inference.json"  # what using the model needs besides its weights, shape and labels
COST = "cost.json"  # the seconds and the memory that its training took; no part of the model


class SavedFields:
    """The fields of a JSON file; raises `WeightsError` if there is no such file or object."""

    def __init__(self, file: Path) -> None:
        if not file.is_file():
            raise WeightsError(f"{file} does not exist: a model's folder must have it, so train the model again")
        self._file, self._fields = file, read_fields(file)

    def get(self, path: str, kind: Any) -> Any:
        """Returns the value at a dotted path, such as "prompt.before_input"; raises `WeightsError` if it is no `kind`.
        `kind` is as for `isinstance`, except that booleans are not numbers. A missing field is None."""
        value: Any = self._fields
        for name in path.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.wrong(path, value)
        return value

    def wrong(self, path: str, value: Any) -> WeightsError:
        """Returns the error for an invalid value at `path`."""
        return WeightsError(f"{self._file} has {path} = {value!r}: train the model again")


def save_classifier_config(
    folder: Path, network: Mapping[str, Any], labels: Sequence[str], *, standard: bool, pooling: str, causal_mask: bool
) -> None:
    """Writes config.json: the fields of the `network` with the labels, for the class of transformers that its
    `architectures` names if that class computes the same (`standard`), and otherwise for nobody but us, with `pooling`
    and `causal_mask`."""
    names = {
        "id2label": {str(index): label for index, label in enumerate(labels)},
        "label2id": {label: index for index, label in enumerate(labels)},
    }
    fields = {**network, **names, "problem_type": ONE_LABEL}
    if not standard:
        use = {"pooling": pooling, "causal_mask": causal_mask}
        fields = {"model_type": OWN_TYPE, **names, **use, NETWORK: dict(network)}
    save_json(fields, folder / CONFIG)


@dataclass(frozen=True)
class StoredHead:
    """What config.json says of the head that weights come with.

    labels: in the order of its rows. pooling: None means that of the family's classifier.
    """

    labels: tuple[str, ...]
    pooling: str | None
    causal_mask: bool


def stored_head(folder: Path) -> StoredHead | None:
    """Returns what a folder's config.json says of a head that gives one label to a text; None if there is none."""
    fields = read_fields(existing(folder, CONFIG))
    own = fields.get("model_type") == OWN_TYPE
    architectures = fields.get("architectures")
    names = architectures if isinstance(architectures, list) else []
    if not own and not any(str(name).endswith("ForSequenceClassification") for name in names):
        return None
    rows = fields.get("id2label")
    rows = rows if isinstance(rows, dict) else {}
    labels = tuple(str(rows.get(str(index))) for index in range(len(rows)))
    one_of_them = fields.get("problem_type", ONE_LABEL) in (ONE_LABEL, None)
    if len(set(labels)) < 2 or len(set(labels)) < len(labels) or not one_of_them:
        return None
    pooling = fields.get("pooling" if own else "classifier_pooling")
    return StoredHead(labels, pooling if isinstance(pooling, str) else None, fields.get("causal_mask", True) is True)


def network_fields(folder: Path) -> dict[str, Any]:
    """Returns the network's fields of a folder's config.json; raises `WeightsError` if there are none."""
    fields = read_fields(existing(folder, CONFIG))
    if fields.get("model_type") == OWN_TYPE:
        fields = fields.get(NETWORK)  # type: ignore[assignment]
    if not isinstance(fields, dict):
        raise WeightsError(f"{folder / CONFIG} has no {NETWORK}: train the classifier again")
    return fields
