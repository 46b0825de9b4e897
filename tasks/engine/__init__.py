"""What makes a function a step: key, artifact, Prefect task, and the two ways to go through a flow's steps."""
