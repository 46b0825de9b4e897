"""Inference with saved models: predictions, answers, explanations."""
