"""Evaluating answers to instructions without a judge."""
