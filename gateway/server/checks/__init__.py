"""`gateway check`: `check` walks the parts, and each other module looks at one of them."""
