"""A fleet under faults: what can befall it, a seeded schedule of that, and a crowd whose streams must be whole."""
