"""The MLflow run around a flow run, and what its pages show."""
