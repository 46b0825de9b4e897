"""The files that MLflow loads to serve a model, and how a model is logged."""
