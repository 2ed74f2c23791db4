"""How good a predictor is: a simulated user, metrics, rivals, benchmarks and their reports, and phantoms."""
