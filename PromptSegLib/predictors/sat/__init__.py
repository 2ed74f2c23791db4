"""SAT: structures asked for in words."""
