"""Whether results are what they were, and how others can check them."""
