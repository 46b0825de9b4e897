"""Tokenizes messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib.data.parts import Parts
from lib.data.tables import MESSAGES, SPLIT, SPLITS
from lib.data.tokens import REPORT, write_tokens
from lib.files.jsonfile import save_json
from lib.text.long_texts import CUT_END, FIELDS, LongTexts
from tasks.engine.cluster import computing
from tasks.engine.step import Work, step
from tasks.steps.tokenizer import context_length

if TYPE_CHECKING:
    from lib.recipes.classify import ClassifyRecipe
    from lib.store.artifacts import Artifact
    from tasks.engine.step import Inputs


LONG_TEXTS = ("encoding.long_texts", *(f"encoding.{name}" for names in FIELDS.values() for name in names))


def _identity(recipe: ClassifyRecipe, inputs: Inputs) -> dict[str, str]:  # noqa: ARG001 - what an identity is given
    """Returns how long texts are read, if they are not just cut, by the fields that this needs."""
    chosen = long_texts(recipe)
    return {} if chosen == CUT_END else {name: f"{value}" for name, value in chosen.as_fields().items()}


def long_texts(recipe: ClassifyRecipe) -> LongTexts:
    """Returns a recipe's choice as a value."""
    encoding = recipe.encoding
    fields = {name: getattr(encoding, name) for name in FIELDS[encoding.long_texts]}
    return LongTexts(encoding.long_texts, **fields)


@step("tokenize", reads=["encoding.max_length"], unkeyed=[*LONG_TEXTS, "cluster"], identity=_identity)
def tokenize(work: Work[ClassifyRecipe], balance: Artifact, holdout: Artifact, tokenizer: Artifact) -> None:
    """Tokenizes, and cuts long texts or makes windows of them: the parts of each split and the reserve,
    `tokens.json` with lengths and what is not read."""
    splits = {name: Parts(holdout.file(name), SPLIT) for name in SPLITS}
    with computing(work, balance, holdout, tokenizer) as cluster:
        tokenized = write_tokens(
            {**splits, "reserve": Parts(balance.file("reserve"), MESSAGES)},
            work.folder,
            labels=splits["train"].labels,
            tokenizer=tokenizer.folder,
            max_length=work.recipe.encoding.max_length,
            context_length=context_length(tokenizer),
            long_texts=long_texts(work.recipe),
            scratch=work.scratch,
            cluster=cluster,
        )
    save_json(tokenized.report, work.folder / REPORT)
    for sentence in tokenized.warnings:
        work.warn(sentence)
