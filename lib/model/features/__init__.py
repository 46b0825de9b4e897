"""Activations of the frozen part of a backbone, stored once and trained on."""
