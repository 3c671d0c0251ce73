"""Within one instance: who watches what."""
