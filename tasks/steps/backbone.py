"""Fetches the pretrained weights, or draws random ones, and looks at the network before it is used."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from lib.files.jsonfile import load_json, save_json
from lib.model.places import GPT2, SCRATCH, fetch_weights, model_config, weights_identity
from lib.model.weights.folder import CONFIG
from lib.model.weights.saved import StoredHead, stored_head
from tasks.engine.retries import RETRIES
from tasks.engine.step import Work, step
from tasks.environment import home
from tasks.steps.tokenizer import network_code

if TYPE_CHECKING:
    from pathlib import Path

    from lib.store.artifacts import Artifact
    from tasks.engine.step import AnyRecipe, Inputs

FACTS = "backbone.json"
HEAD = "head.safetensors"  # of our own GPT, whose other weights are those of a language model
# What a network of transformers is tried with: texts of different lengths.
TEXTS = (
    "Free entry in a weekly competition: text WIN to 80082 now!",
    "ok",
    "How many people live in the town where the first of these books was printed?",
)


def _identity(recipe: AnyRecipe, inputs: Inputs) -> dict[str, str]:  # noqa: ARG001 - what an identity is given
    """Identifies the weights by a seed, the files' hashes or a commit, never by their folder."""
    if recipe.model.weights == SCRATCH:
        return {"seed": str(recipe.model.seed)}
    return weights_identity(recipe.model.weights, recipe.model.revision)


@step(
    "backbone",
    reads=["model.size"],
    unkeyed=["model.weights", "model.revision", "model.seed"],
    identity=_identity,
    noted=["sanity.txt"],
    **RETRIES,
)
def backbone(work: Work[AnyRecipe], tokenizer: Artifact) -> None:
    """Loads weights or draws random ones, checks them, and saves them in Hugging Face layout; `backbone.json` says what
    the network is."""
    model = work.recipe.model
    place: Path | None = None
    if model.weights != SCRATCH:
        place = fetch_weights(
            model.size,
            model.weights,
            model.revision,
            commit=work.identity.get("commit"),
            folder=home() / "weights",
            progress=work.progress,
            warn=work.log.warning,
        )
    if network_code(tokenizer) == GPT2:
        facts = _gpt2(work, place)
    else:
        assert place is not None, "only our own GPT begins at random"
        facts = _transformer(work, place, tokenizer)
    save_json(facts, work.folder / FACTS)


def _gpt2(work: Work[AnyRecipe], place: Path | None) -> dict[str, Any]:
    """Saves our own GPT with `sanity.txt`, what it writes before any training; returns what it is."""
    from lib.model.gpt2.gpt import new_gpt
    from lib.model.gpt2.pretrained import load_pretrained
    from lib.model.gpt2.sanity import sanity_report
    from lib.model.gpt2.weights import read_head, save_gpt, save_head
    from lib.text.gpt2 import gpt2_tokenizer

    model = work.recipe.model
    if place is None:
        gpt = new_gpt(model_config(model.size, SCRATCH), seed=model.seed)
    else:
        gpt = load_pretrained(place, model_config(model.size, f"{place}"))
    save_gpt(gpt, work.folder)
    head = _head_in(place)
    if place is not None and head is not None:
        save_head(read_head(place, len(head.labels)), work.folder / HEAD)
    # Noted: another machine's rounding may choose another of two almost equally likely tokens.
    (work.folder / "sanity.txt").write_text(sanity_report(gpt, gpt2_tokenizer().encoding), encoding="utf-8")
    config = gpt.config
    return {
        "network": GPT2,
        "family": "gpt2",
        "width": config.emb_dim,
        "depth": config.n_layers,
        "heads": config.n_heads,
        "uncut": None,
        **_use(head, "last_token"),
    }


def _head_in(place: Path | None) -> StoredHead | None:
    """Returns what a folder of weights says of a head that came with them."""
    return stored_head(place) if place is not None and (place / CONFIG).is_file() else None


def _use(head: StoredHead | None, pooling: str) -> dict[str, Any]:
    """Returns what the network was trained for: the pooling of its head, if it has one that suits every batch; and the
    head."""
    if head is None:
        return {"pooling": pooling, "head": None}
    head = replace(head, pooling=head.pooling or pooling)
    return {"pooling": pooling if head.pooling == "padded_last" else head.pooling, "head": asdict(head)}


def _transformer(work: Work[AnyRecipe], place: Path, tokenizer: Artifact) -> dict[str, Any]:
    """Keeps a network of transformers as it came; returns what it is. Raises WeightsError if it cannot be used."""
    import shutil

    from lib.files.disk import disk_full_is_clear, require_space
    from lib.model.hugging_face.check import inspect_network
    from lib.model.places import TRANSFORMERS
    from lib.model.weights.folder import network_files
    from lib.text.tokenizer import load_tokenizer

    loaded = load_tokenizer(tokenizer.folder)
    texts = loaded.encode(TEXTS)
    files = network_files(place)
    network = inspect_network(place, texts, vocabulary=loaded.vocabulary, pad=loaded.pad)
    require_space(work.folder, sum(file.stat().st_size for file in files), "a copy of the weights")
    with disk_full_is_clear(work.folder):
        for file in files:
            shutil.copyfile(file, work.folder / file.name)
    if network.uncut:
        work.warn(f"the {network.family} trains whole: {network.uncut}")
    first = {tokens[0] for tokens in texts}
    pooling = "last_token" if network.causal else "cls" if len(first) == 1 else "mean"
    return {"network": TRANSFORMERS, **asdict(network), **_use(_head_in(place), pooling)}


def facts_of(made: Artifact) -> dict[str, Any]:
    """Returns what the step's artifact says of the network: network, family, width, depth, heads, pooling (what it was
    trained for), head (the fields of a `StoredHead`, or null), and uncut (why features cannot be kept; null: they
    can)."""
    facts: dict[str, Any] = load_json(made.file(FACTS))
    return facts
