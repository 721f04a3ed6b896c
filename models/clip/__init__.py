"""CLIP models: pictures and words in one space, behind one door."""
