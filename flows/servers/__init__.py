"""Processes that `make ui` and `make up` start, watch and stop."""
