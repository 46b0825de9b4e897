"""Recipes: their fields, files and errors."""
