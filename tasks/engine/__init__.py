"""Steps and how to run them: cache key, artifact, Prefect task; running a flow's steps, or explaining what would
run."""
