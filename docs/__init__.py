"""Pages, and what writes their parts that come from the code."""
