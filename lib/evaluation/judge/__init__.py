"""Another model as the judge of answers."""
