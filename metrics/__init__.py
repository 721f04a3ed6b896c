"""What is measured: a score a file, its formulas as functions beside it."""
