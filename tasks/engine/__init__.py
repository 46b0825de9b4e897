"""Steps (cache key, artifact, Prefect task), and going through a flow's steps to run or to explain them."""
