"""Saved models at work: predictions, answers, explanations."""
