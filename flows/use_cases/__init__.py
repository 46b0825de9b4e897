"""What the flows are for: classifying texts, and following instructions."""
