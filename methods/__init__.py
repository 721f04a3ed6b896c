"""Protection methods: the contract, and one method a file."""
