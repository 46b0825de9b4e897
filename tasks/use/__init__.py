"""Using registered models: single texts, whole files, drift."""
