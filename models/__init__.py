"""Networks, their weights, and the recipes that trained the shipped ones."""
