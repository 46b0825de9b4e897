"""Which steps run, in which order. The environment is set before any flow imports Prefect."""

from tasks.services import configure

configure()
