"""Registered models at work: single texts, whole files, drift."""
