"""One session: a task from the frame that brings it to the frame that ends it, and what is told of it between."""
