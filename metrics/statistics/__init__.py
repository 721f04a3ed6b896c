"""How sure one can be of a number, of a difference and of an order: of tidy tables alone, whatever is measured."""
