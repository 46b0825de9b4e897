"""From a labelled text file to a registered classifier."""

from __future__ import annotations

from flows.use_cases.facts import classifier_facts
from flows.use_cases.use_case import Artifacts, UseCase
from lib.recipes.classify import ClassifyRecipe
from tasks.record.classify import classifier_pages
from tasks.record.track import Pages
from tasks.registry.candidates import classifier_candidate
from tasks.registry.decide import decide
from tasks.report.classify import classifier_conclusion
from tasks.steps.backbone import backbone
from tasks.steps.classify.balance import balance
from tasks.steps.classify.cross_validate import cross_validate
from tasks.steps.classify.engine import engine
from tasks.steps.classify.evaluate import evaluate
from tasks.steps.classify.features import choice, features
from tasks.steps.classify.finetune import finetune
from tasks.steps.classify.holdout import holdout
from tasks.steps.classify.messages import messages
from tasks.steps.classify.split import split
from tasks.steps.classify.tokenize import tokenize
from tasks.steps.download import download
from tasks.steps.tokenizer import tokenizer


def pages(recipe: ClassifyRecipe, made: Artifacts) -> Pages:
    """What the pages of a run show, whether its features were kept among it."""
    return classifier_pages(made, features=f"{choice(recipe, made)}")


CLASSIFY = UseCase(
    name="classify",
    flow="finetune-classifier",
    description="From a labelled text file to a registered classifier",
    recipe=ClassifyRecipe,
    steps=(
        *(download, messages, balance, split, holdout, tokenizer, tokenize, backbone),
        *(features, finetune, engine, cross_validate, evaluate),
    ),
    trains=finetune,
    final=(evaluate,),
    pages=pages,
    candidate=classifier_candidate,
    conclude=classifier_conclusion,
    facts=classifier_facts,
    decide=decide,
)
