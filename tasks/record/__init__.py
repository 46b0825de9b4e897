"""Recording a flow run: its MLflow run, and its pages in MLflow and Prefect."""
