"""Face recognisers: the contract, and one architecture a file."""
