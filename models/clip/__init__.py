"""CLIP models: images and texts in one space, behind one door."""
