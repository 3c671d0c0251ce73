"""The bus of many instances, carried by Redis."""
