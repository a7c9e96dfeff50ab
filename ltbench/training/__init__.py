"""One trial: a TrialSpec in, a Record out. No Ray, no MLflow."""
