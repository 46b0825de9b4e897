"""How good a classifier is: metrics, baseline, figures, report, model card."""
