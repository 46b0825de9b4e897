"""Plain Python: no Prefect, no MLflow. See docs/architecture.md for what each folder holds."""
