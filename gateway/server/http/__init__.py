"""What is served over HTTP: each resource is a module of handlers, described by the routes that serve it."""
