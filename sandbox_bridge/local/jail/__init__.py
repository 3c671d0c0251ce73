"""One jail: how it is made, what leads into it and out of it, its network, its end; `cages` bounds what it uses."""
