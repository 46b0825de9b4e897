"""Entries of instructions: read and split."""
