"""From a suite to protections and scores in the store."""
