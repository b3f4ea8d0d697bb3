"""Item response theory: difficulties, adaptive choice, short forms."""
