"""How good answers to instructions are, as far as it shows without a judge."""
