"""Imports all that a training of a comparison needs, in the process that those of the trainings are forked from.

None of it starts threads or asks for a card. What is imported here is what a step would import before it computes.
"""

from __future__ import annotations

import gc
import importlib

from tasks.compare.job import BASELINE, TRAINS, TRAINS_ON_FOLDS, steps_of

LATE = ("prefect.context", "prefect.logging", "torch._dynamo")  # inside functions, the last by any optimizer

for _step in steps_of((*TRAINS, *TRAINS_ON_FOLDS, *BASELINE)):
    for _module in _step.code:
        importlib.import_module(_module)
for _module in LATE:
    importlib.import_module(_module)

# A fork leaves what was imported here out of its garbage collections.
gc.collect()
gc.freeze()
