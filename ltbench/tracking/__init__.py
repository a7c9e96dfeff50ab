"""Records to MLflow and back."""
