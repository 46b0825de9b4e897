"""A flow run: its names, its MLflow run, the Prefect server it needs."""
