"""Face recognisers: the contract, where their weights come from, and the networks in `networks/`."""
