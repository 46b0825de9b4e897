"""Processes that end with the one that started them, and signals that ask this one to stop."""
