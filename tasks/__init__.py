"""One step a file: thin Prefect tasks over `lib`. The environment is set before any of them imports Prefect."""

from tasks.environment import configure
from tasks.secrets import guard

configure()
guard()
