"""Fetches, unpacks and parses source files."""
