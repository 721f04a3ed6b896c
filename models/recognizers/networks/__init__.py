"""Networks that embed faces, one a file; its name is the ``kind`` in a recogniser's config."""
