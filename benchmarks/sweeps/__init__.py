"""Many settings of one method."""
