"""Which steps run, in which order. The environment is set before any flow imports Prefect."""

import atexit
import gc

from tasks.environment import configure

configure()

# Prefect and MLflow make a million objects that stay. Python would look through all of them again and again while they
# are made, and once more at the end, for garbage that is not there: a third of the processor time of a cached run.
gc.set_threshold(50_000)
atexit.register(gc.freeze)
