"""Finding the parts of a face in a photo: masks where a data set has none of its own."""
