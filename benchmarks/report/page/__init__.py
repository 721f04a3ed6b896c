"""A comparison as one HTML file that needs nothing else: tables, charts, photos, and its numbers as data."""
