"""Serving with MLflow: logs models, and holds the files that MLflow loads to serve them."""
