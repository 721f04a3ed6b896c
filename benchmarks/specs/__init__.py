"""What YAML may say, and the objects that it makes."""
