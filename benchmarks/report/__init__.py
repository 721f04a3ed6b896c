"""Tables and pictures from what is stored."""
