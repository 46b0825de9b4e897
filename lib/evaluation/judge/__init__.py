"""Judging answers by another model."""
