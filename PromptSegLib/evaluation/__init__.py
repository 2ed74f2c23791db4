"""How good a predictor is: a simulated user, measures, and phantoms with a known answer."""
