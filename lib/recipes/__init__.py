"""Recipes: every field of a run, their files, and the sentences about wrong ones."""
