"""Models in MLflow's registry: candidates, champions, and the decision between them."""
