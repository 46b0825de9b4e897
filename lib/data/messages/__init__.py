"""Labelled messages: read, balanced, split."""
