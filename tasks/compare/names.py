"""What the parts of a comparison are called in MLflow and in the store."""

COMPARING = "compare-recipes"  # Prefect's name of the flow, and MLflow's of the experiment
VARIANT_TAG = "finetune.variant"  # of a training's run
COMPARISON_TAG = "finetune.comparison"  # of a training's run: the id of the comparison's record
OPENED_TAG = "finetune.opened_test"  # of the comparison's run, and of the chosen one's: which variant that is
REGISTERS_TAG = "finetune.registers"  # of the chosen one's run, if its model becomes a version
CHOSEN_TAG = "finetune.chosen"  # of the comparison's run: which variant is the best on what all were compared on
PRUNED_TAG = "finetune.pruned"  # of a training's run: why it was given up
PARENT_TAG = "mlflow.parentRunId"  # by which MLflow's pages show a run below another
MEASURES = frozenset({"validate", "validate_folds", "validate_baseline"})  # the steps whose artifacts are compared
